// Fetches what lies in gaps, by History, and goes around what is damaged.

import { Refused } from "../connection/errors.js";
import type { Conversation } from "../conversation/conversation.js";
import { damagedEntry, entryOf, type Entry } from "../conversation/entry.js";
import { bytesOf, type ConversationId } from "../conversation/id.js";
import { ErrorCode, type HistoryPage } from "../wire/messages.js";
import type { Live } from "./live.js";
import { repeating } from "./repeat.js";

/** What waits for a connection is limited: so few pages at a time. */
const PAGES_MAX = 4;
const PAGE_ENTRIES = 500;
/** A page gets through a bad network sooner than a large one; what it brings counts. */
const PAGE_BYTES = 64 * 1024;
/** An answer to a Send may be what fills the gap. */
const SENT_WAIT_MS = 1_000;
/** A page may be older than what told of the head: how often to ask again, with growing pauses. */
const STALE_MAX = 5;
const STALE_PAUSE_MS = 200;

export class Fetcher {
  readonly #live: Live;
  readonly #isSending: (id: ConversationId) => boolean;
  readonly #busy = new Set<ConversationId>();
  #pages = 0;
  readonly #turns: (() => void)[] = [];

  constructor(live: Live, isSending: (id: ConversationId) => boolean) {
    this.#live = live;
    this.#isSending = isSending;
  }

  /** Begins to close the gap of a conversation, if it has one and nobody does already. */
  kick(conversation: Conversation): void {
    if (this.#busy.has(conversation.id) || conversation.gap() === undefined) return;
    this.#busy.add(conversation.id);
    this.#live.background(this.#close(conversation).finally(() => this.#busy.delete(conversation.id)));
  }

  async #close(conversation: Conversation): Promise<void> {
    if (this.#isSending(conversation.id)) await this.#live.pause(SENT_WAIT_MS);
    let limit = PAGE_ENTRIES;
    let stale = 0;
    for (let gap = conversation.gap(); gap !== undefined; gap = conversation.gap()) {
      // Another epoch has come meanwhile, and with it another conversation.
      if (this.#live.book.conversations.get(conversation.id) !== conversation) return;
      const before = conversation.position;
      const missing = gap.to - gap.from + 1n;
      if (missing < limit) limit = Number(missing);
      const page = await this.#page(conversation, gap.from, gap.to, limit);
      if (page === "damaged") {
        if (limit === 1) this.#offer(conversation, damagedEntry(gap.from));
        limit = Math.ceil(limit / 2);
      } else if (conversation.position > before) {
        limit = Math.min(limit * 2, PAGE_ENTRIES);
        stale = 0;
      } else if (stale++ < STALE_MAX) {
        await this.#live.pause(STALE_PAUSE_MS * 2 ** stale);
      } else {
        return conversation.settle(page.head);
      }
    }
  }

  async #page(
    conversation: Conversation,
    fromSeq: bigint,
    toSeq: bigint,
    limit: number,
  ): Promise<HistoryPage | "damaged"> {
    const { connection } = this.#live;
    const history = { conversationId: bytesOf(conversation.id), fromSeq, toSeq, limit, bytesMax: PAGE_BYTES };
    await this.#turn();
    try {
      return await repeating(
        (ms) => this.#live.pause(ms),
        () => connection.request("history", history, (page) => this.#apply(conversation, page)),
      );
    } catch (error) {
      if (error instanceof Refused && error.code === ErrorCode.DATA_CORRUPT) return "damaged";
      throw error;
    } finally {
      this.#pages--;
      this.#turns.shift()?.();
    }
  }

  async #turn(): Promise<void> {
    while (this.#pages >= PAGES_MAX) await new Promise<void>((resolve) => this.#turns.push(resolve));
    this.#pages++;
  }

  #apply(conversation: Conversation, page: HistoryPage): void {
    const { book } = this.#live;
    if (page.epoch !== book.epoch) return this.#live.epochChanged(page.epoch);
    conversation.know(page.head);
    const taken = [...conversation.expire(page.expiredBelow).taken];
    for (const wire of page.entries) {
      taken.push(...conversation.offer(entryOf(wire, conversation.id, book.me)).taken);
    }
    this.#live.changed(conversation, { taken });
  }

  #offer(conversation: Conversation, entry: Entry): void {
    this.#live.changed(conversation, conversation.offer(entry));
  }
}
