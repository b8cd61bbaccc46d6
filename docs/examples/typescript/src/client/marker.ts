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
    if (conversation.nextMark === undefined || this.#busy.has(conversation.id)) return;
    this.#busy.add(conversation.id);
    this.#live.background(this.#tell(conversation).finally(() => this.#busy.delete(conversation.id)));
  }

  async #tell(conversation: Conversation): Promise<void> {
    for (let mark = conversation.nextMark; mark !== undefined; mark = conversation.nextMark) {
      await this.#mark(conversation, mark.seq, mark.isPrivate);
      conversation.marked(mark);
      await this.#live.pause(PAUSE_MS);
    }
  }

  async #mark(conversation: Conversation, seq: bigint, isPrivate: boolean): Promise<void> {
    const { connection } = this.#live;
    try {
      await repeating(
        (ms) => this.#live.pause(ms),
        () =>
          connection.request(
            "markRead",
            { conversationId: bytesOf(conversation.id), seq, private: isPrivate },
            (receipt) => this.#live.changed(conversation, conversation.receipt(receipt)),
          ),
      );
    } catch (error) {
      // A damaged entry, a conversation that is no more: a later mark says the same and more.
      if (!(error instanceof Refused)) throw error;
    }
  }
}
