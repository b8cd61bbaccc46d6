// Ids of conversations: 16 bytes on the wire, their hex in this program, where they are keys of maps.

import { fromHex, toHex } from "../wire/bytes.js";

const KIND_DIRECT = 1;
const KIND_GROUP = 2;
const USER_MAX = (1n << 53n) - 1n;
const BYTES = 16;

export type ConversationId = string;

/** Of the direct conversation of two users, or of one with himself. */
export function directConversation(one: bigint, other: bigint): ConversationId {
  const [lower, higher] = one < other ? [one, other] : [other, one];
  const hex = (user: bigint) => user.toString(16).padStart(14, "0");
  return `0100${hex(lower)}${hex(higher)}`;
}

/** The members of a direct conversation, the lower first; of others the id does not tell. */
export function membersOf(id: ConversationId): readonly [bigint, bigint] | undefined {
  if (id.length !== 2 * BYTES || fromHex(id)[0] !== KIND_DIRECT) return undefined;
  return [BigInt(`0x${id.slice(4, 18)}`), BigInt(`0x${id.slice(18)}`)];
}

/** The other member of a direct conversation, which may be oneself. */
export function otherMember(id: ConversationId, me: bigint): bigint | undefined {
  const members = membersOf(id);
  return members === undefined ? undefined : members[0] === me ? members[1] : members[0];
}

export function idOf(bytes: Uint8Array): ConversationId {
  return toHex(bytes);
}

export function bytesOf(id: ConversationId): Uint8Array {
  return fromHex(id);
}

/** Whether a server would take these bytes for the id of a conversation. */
export function isConversationId(bytes: Uint8Array): boolean {
  if (bytes.length !== BYTES || bytes[1] !== 0) return false;
  if (bytes[0] === KIND_GROUP) return true;
  const members = membersOf(idOf(bytes));
  if (members === undefined) return false;
  const [lower, higher] = members;
  return lower >= 1n && lower <= higher && higher <= USER_MAX;
}
