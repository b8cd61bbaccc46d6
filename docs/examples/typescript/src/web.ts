// What a page uses of this client: nothing here, or loaded from here, needs more than a browser has.

export { Client, type ClientOptions } from "./client/client.js";
export type { Credentials } from "./client/credentials.js";
export type { ClientEvents, Stopped } from "./client/events.js";
export type { Device } from "./client/login.js";
export { register, rulesOf } from "./client/register.js";
export type { Endpoint, TcpEndpoint, TlsOptions, WebEndpoint } from "./connection/endpoint.js";
export { ConnectionEnded, Refused, TooLarge } from "./connection/errors.js";
export type { Conversation } from "./conversation/conversation.js";
export type { Entry, Message } from "./conversation/entry.js";
export { directConversation, otherMember, type ConversationId } from "./conversation/id.js";
export type { Membership } from "./conversation/membership.js";
export { LocalStorageState } from "./state/local_storage.js";
export { MemoryState, type DurableState, type Saved } from "./state/saved.js";
export { CloseReason, DeviceKind, ErrorCode, Notice, RequestState } from "./wire/messages.js";
