// Sync: what this device has, as a token, and what it lacks. Section 11 of docs/protocol.md.

import type { Asked, Conversation } from "../conversation/conversation.js";
import { bytesOf, idOf, type ConversationId } from "../conversation/id.js";
import type { Init } from "../wire/codec.js";
import type { ConversationState, LogPosition, Sync, Synced } from "../wire/messages.js";
import type { Live } from "./live.js";
import { repeating } from "./repeat.js";

const ENTRIES_PER_CONVERSATION = 20;
/** A page gets through a bad network sooner than all at once; what it brings counts. */
const PAGE_BYTES = 64 * 1024;

type AllAsked = ReadonlyMap<ConversationId, Asked>;

export class Syncer {
  readonly #live: Live;
  #running: Promise<void> | undefined;
  #again = false;

  constructor(live: Live) {
    this.#live = live;
  }

  /** Resolves when everything up to now is known; whoever asks while one is under way gets another one. */
  run(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#rounds().finally(() => (this.#running = undefined));
    return this.#running;
  }

  async #rounds(): Promise<void> {
    do {
      this.#again = false;
      while (await this.#page());
    } while (this.#again);
  }

  /** Returns whether there is more. */
  async #page(): Promise<boolean> {
    const { connection } = this.#live;
    const synced = await repeating(
      (ms) => this.#live.pause(ms),
      () => {
        const asked = this.#asked();
        return connection.request("sync", this.#question(), (answer) => this.#apply(answer, asked));
      },
    );
    return synced.more;
  }

  #question(): Init<Sync> {
    const { book, connection } = this.#live;
    const { epoch, syncToken: token } = book;
    // What must be told is left out: the server need not speak of what this client has.
    const moved = [...book.conversations.values()].filter((each) => each.hasMoved && !each.mustBeTold);
    const positions = moved.slice(-connection.limits.syncPositionsMax).map((each): Init<LogPosition> => {
      const { position: seq, peerReadSeq, readSeq } = each;
      return { conversationId: bytesOf(each.id), seq, peerReadSeq, readSeq };
    });
    return {
      epoch,
      token,
      positions,
      entriesPerConversation: ENTRIES_PER_CONVERSATION,
      bytesMax: PAGE_BYTES,
    };
  }

  #asked(): AllAsked {
    return new Map([...this.#live.book.conversations.values()].map((each) => [each.id, each.asked]));
  }

  #apply(synced: Synced, asked: AllAsked): void {
    const { book } = this.#live;
    const isOtherEpoch = synced.epoch !== book.epoch;
    if (isOtherEpoch && book.epoch !== 0n) this.#live.emit("forgotten", undefined);
    if (isOtherEpoch) this.#live.lost(book.forgetLogs(synced.epoch));
    // Once it has begun it goes on, over connections and restarts, until there is no more.
    if (isOtherEpoch || synced.afresh) book.listing ??= { conversations: new Set(), settings: new Set() };
    for (const setting of synced.settings) this.#live.set(setting);
    for (const state of synced.conversations) this.#applyState(state, asked);
    if (!synced.more) this.#complete(asked);
    book.syncToken = Uint8Array.from(synced.token);
    this.#live.background(book.save());
  }

  #applyState(state: ConversationState, asked: AllAsked): void {
    const { book, fetchesAll } = this.#live;
    const conversation = book.conversation(idOf(state.conversationId));
    if (state.peer !== undefined) {
      const { userId, username, displayName } = state.peer;
      book.users.set(userId, { userId, username, displayName });
    }
    this.#live.changed(conversation, conversation.synced(state, asked.get(conversation.id), fetchesAll));
  }

  /** Whoever has this answer has everything; what no answer has named is gone. */
  #complete(asked: AllAsked): void {
    const { book, emit } = this.#live;
    for (const conversation of book.conversations.values()) {
      if (asked.get(conversation.id)?.moves === conversation.moves) conversation.hasMoved = false;
    }
    const { listing } = book;
    if (listing === undefined) return;
    book.listing = undefined;
    for (const { id } of [...book.conversations.values()].filter(isNotIn(listing.conversations))) {
      book.conversations.delete(id);
      emit("forgotten", id);
    }
    for (const key of [...book.settings.keys()].filter((each) => !listing.settings.has(each))) {
      book.settings.delete(key);
      emit("setting", key, undefined);
    }
  }
}

function isNotIn(named: ReadonlySet<ConversationId>): (conversation: Conversation) => boolean {
  return ({ id }) => !named.has(id);
}
