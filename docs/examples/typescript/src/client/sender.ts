// The outbox: each message is sent until it is answered, and those of a conversation one at a time.

import { fromHex } from "../wire/bytes.js";
import { Refused, TooLarge } from "../connection/errors.js";
import { ownEntry, type Draft } from "../conversation/entry.js";
import { bytesOf, type ConversationId } from "../conversation/id.js";
import { classOf } from "../wire/codes.js";
import { ErrorCode, type Sent } from "../wire/messages.js";
import type { Live } from "./live.js";
import { repeating } from "./repeat.js";

export class Sender {
  readonly #live: Live;
  readonly #busy = new Set<ConversationId>();

  constructor(live: Live) {
    this.#live = live;
  }

  isSending(id: ConversationId): boolean {
    return this.#busy.has(id);
  }

  /** Sends what waits, oldest first. */
  kick(): void {
    for (const { conversation } of this.#live.book.outbox) {
      if (this.#busy.has(conversation)) continue;
      this.#busy.add(conversation);
      this.#live.background(this.#drain(conversation).finally(() => this.#busy.delete(conversation)));
    }
  }

  /** One at a time: if one has to be sent again, those behind it have not overtaken it. */
  async #drain(conversation: ConversationId): Promise<void> {
    const { book } = this.#live;
    const first = () => book.outbox.find((draft) => draft.conversation === conversation);
    for (let draft = first(); draft !== undefined; draft = first()) {
      // A message goes out when it can't be lost any more, its id with it.
      await book.save();
      await this.#send(draft);
    }
  }

  async #send(draft: Draft): Promise<void> {
    const { connection } = this.#live;
    const send = {
      conversationId: bytesOf(draft.conversation),
      clientMessageId: fromHex(draft.id),
      contentType: draft.contentType,
      content: draft.content,
      notice: draft.notice,
    };
    try {
      await repeating(
        (ms) => this.#live.pause(ms),
        () => connection.request("send", send, (sent) => this.#sent(draft, sent)),
      );
    } catch (error) {
      if (error instanceof TooLarge || (error instanceof Refused && isFinal(error.code)))
        this.#failed(draft, error);
      else throw error;
    }
  }

  #sent(draft: Draft, sent: Sent): void {
    const { book, emit } = this.#live;
    if (book.dequeue(draft.id)) emit("sent", draft.id, draft.conversation, sent.seq);
    const conversation = book.conversation(draft.conversation);
    this.#live.changed(conversation, conversation.offer(ownEntry(draft, sent, book.me)));
  }

  #failed(draft: Draft, error: Error): void {
    const { book, emit } = this.#live;
    if (book.dequeue(draft.id)) emit("failed", draft.id, draft.conversation, error);
    this.#live.background(book.save());
  }
}

/** Whether the message is not to be sent again: everything else is settled by another connection. */
function isFinal(code: number): boolean {
  return classOf(code) !== "credentials" && code !== ErrorCode.NOT_LOGGED_IN;
}
