// What a client tells the program around it.

import type { Entry } from "../conversation/entry.js";
import type { ConversationId } from "../conversation/id.js";
import type { Signal } from "../wire/messages.js";

/** Why a client does not come back by itself. */
export type Stopped =
  | "by the program"
  /** No credential is left: start again when the user wants to log in. */
  | "needs a login"
  /** Another login took this session's place: ask the user before starting again. */
  | "replaced"
  | "logged out"
  | "account disabled"
  /** This program, its settings or its state are wrong: see the error. */
  | "gave up";

export interface ClientEvents {
  /** Logged in and synced. */
  online: [];
  /** The connection is gone, the next try comes after so long. */
  offline: [end: Error, delayMs: number];
  stopped: [why: Stopped, error: Error | undefined];
  /** Each entry of each conversation once, in order; also those without a message to show. */
  entry: [conversation: ConversationId, entry: Entry];
  /** Entries that were not fetched: `history` gets them when somebody scrolls there. */
  leftOut: [conversation: ConversationId, from: bigint, to: bigint];
  /** Cursors, counts of unread messages, the head of a conversation or what it is to the user are different now. */
  changed: [conversation: ConversationId];
  /** What this client has of this conversation, or of all, is void; what is right comes anew. */
  forgotten: [conversation: ConversationId | undefined];
  /** A message of the outbox is durable at the server. */
  sent: [id: string, conversation: ConversationId, seq: bigint];
  /** A message of the outbox will not be sent: tell the user. */
  failed: [id: string, conversation: ConversationId, error: Error];
  /** One of the user's settings was changed, here or on another device; no value: it was removed. */
  setting: [key: string, value: Uint8Array | undefined];
  signal: [signal: Signal];
}

export type Emit = <E extends keyof ClientEvents>(event: E, ...values: ClientEvents[E]) => void;
