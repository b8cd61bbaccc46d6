// Tells the server what was read: not for each message that scrolls by, and again until it knows.

import { Refused } from "../connection/errors.js";
import type { Conversation } from "../conversation/conversation.js";
import { bytesOf, type ConversationId } from "../conversation/id.js";
import type { Live } from "./live.js";
import { repeating } from "./repeat.js";

/** Between two marks of a conversation. */
const PAUSE_MS = 1_000;

export class Marker {
  readonly #live: Live;
  readonly #busy = new Set<ConversationId>();

  constructor(live: Live) {
    this.#live = live;
  }

  kick(conversation: Conversation): void {
    if (conversation.markUpTo === 0n || this.#busy.has(conversation.id)) return;
    this.#busy.add(conversation.id);
    this.#live.background(this.#tell(conversation).finally(() => this.#busy.delete(conversation.id)));
  }

  async #tell(conversation: Conversation): Promise<void> {
    while (conversation.markUpTo !== 0n) {
      const seq = conversation.markUpTo;
      await this.#mark(conversation, seq);
      // Whatever the answer was, it is the answer to this one.
      if (conversation.markUpTo === seq) conversation.markUpTo = 0n;
      await this.#live.pause(PAUSE_MS);
    }
  }

  async #mark(conversation: Conversation, seq: bigint): Promise<void> {
    const { connection } = this.#live;
    try {
      await repeating(
        (ms) => this.#live.pause(ms),
        () =>
          connection.request("markRead", { conversationId: bytesOf(conversation.id), seq }, (receipt) =>
            this.#live.changed(conversation, conversation.receipt(receipt)),
          ),
      );
    } catch (error) {
      // A damaged entry, a conversation that is no more: a later mark says the same and more.
      if (!(error instanceof Refused)) throw error;
    }
  }
}
