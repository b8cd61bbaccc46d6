// An entry of a log as this client keeps it.

import { toHex } from "../wire/bytes.js";
import { Notice, type Entry as WireEntry, type Sent } from "../wire/messages.js";
import { otherMember, type ConversationId } from "./id.js";

export interface Message {
  /** The client_message_id, in hex. */
  readonly id: string;
  readonly contentType: string;
  readonly content: Uint8Array;
}

export interface Entry {
  readonly seq: bigint;
  /** The server's clock; for showing, never for sorting. */
  readonly timeMs: bigint;
  /** 0 for the server itself, and of an entry that is damaged. */
  readonly sender: bigint;
  /** How much that counts the others have said up to here; not known of what does not say. */
  readonly others: bigint | undefined;
  /** Absent where there is nothing to show: a void, a kind of entry of a later version, a damaged one. */
  readonly message: Message | undefined;
  /** What it does to those who have not seen it; a number that is not known is as good as LOUD. */
  readonly notice: Notice;
  /** The server can't read it any more: say that a message is missing here. */
  readonly isDamaged: boolean;
}

/** What a message is made of before it has its place. */
export interface Draft {
  readonly id: string;
  readonly conversation: ConversationId;
  readonly contentType: string;
  readonly content: Uint8Array;
  readonly notice: Notice;
}

/** Whether it is something that others have to read. */
export function counts({ message, notice }: Entry): boolean {
  return message !== undefined && notice !== Notice.UNCOUNTED;
}

export function entryOf(wire: WireEntry, conversation: ConversationId, me: bigint): Entry {
  const { seq, timeMs, sender, notice, body } = wire;
  const message = body?.case === "message" ? body.value : undefined;
  return {
    seq,
    timeMs,
    sender,
    notice,
    others: othersOf(wire, conversation, me),
    // Copies: what was decoded is a view of bytes that hold much more.
    message: message && {
      id: toHex(message.clientMessageId),
      contentType: message.contentType || "text/plain",
      content: Uint8Array.from(message.content),
    },
    isDamaged: false,
  };
}

/** Own messages never count; an entry of neither member does not tell, the nearest one before it does. */
function othersOf(wire: WireEntry, conversation: ConversationId, me: bigint): bigint | undefined {
  const other = otherMember(conversation, me);
  if (other === me) return 0n;
  if (wire.sender === me) return wire.counted - wire.senderCounted;
  return wire.sender === other ? wire.senderCounted : undefined;
}

/** A message of one's own, as Sent tells of it. */
export function ownEntry(draft: Draft, sent: Sent, me: bigint): Entry {
  const { id, contentType, content, notice } = draft;
  const message = { id, contentType, content };
  return {
    seq: sent.seq,
    timeMs: sent.timeMs,
    sender: me,
    others: undefined,
    message,
    notice,
    isDamaged: false,
  };
}

export function damagedEntry(seq: bigint): Entry {
  return {
    seq,
    timeMs: 0n,
    sender: 0n,
    others: undefined,
    message: undefined,
    notice: Notice.LOUD,
    isDamaged: true,
  };
}
