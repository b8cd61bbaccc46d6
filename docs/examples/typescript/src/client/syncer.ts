// Sync: what this device has, and what it lacks. Section 11 of docs/protocol.md.

import { bytesOf, idOf, type ConversationId } from "../conversation/id.js";
import type { Init } from "../wire/codec.js";
import type { ConversationState, LogPosition, Sync, Synced } from "../wire/messages.js";
import type { Live } from "./live.js";
import { repeating } from "./repeat.js";

const ENTRIES_PER_CONVERSATION = 20;

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
        const moves = this.#cursorMoves();
        return connection.request("sync", this.#question(), (answer) => this.#apply(answer, moves));
      },
    );
    return synced.more;
  }

  #question(): Init<Sync> {
    const { book, connection } = this.#live;
    // What must be told is left out: the server is silent of a conversation of which it is told all that holds.
    const all = [...book.conversations.values()].filter((each) => !each.mustBeTold);
    const positions = all.slice(-connection.limits.syncPositionsMax).map((each): Init<LogPosition> => {
      const { position: seq, peerReadSeq, readSeq } = each;
      return { conversationId: bytesOf(each.id), seq, peerReadSeq, readSeq };
    });
    return { epoch: book.epoch, positions, entriesPerConversation: ENTRIES_PER_CONVERSATION };
  }

  #cursorMoves(): ReadonlyMap<ConversationId, number> {
    const all = [...this.#live.book.conversations.values()];
    return new Map(all.map((each) => [each.id, each.cursorMoves]));
  }

  #apply(synced: Synced, moves: ReadonlyMap<ConversationId, number>): void {
    const { book } = this.#live;
    if (synced.epoch !== book.epoch) {
      if (book.epoch !== 0n) this.#live.emit("forgotten", undefined);
      book.forgetLogs(synced.epoch);
    }
    for (const state of synced.conversations) this.#applyState(state, moves);
  }

  #applyState(state: ConversationState, moves: ReadonlyMap<ConversationId, number>): void {
    const { book, emit, fetchesAll } = this.#live;
    const conversation = book.conversation(idOf(state.conversationId));
    if (state.forget) emit("forgotten", conversation.id);
    const change = conversation.synced(state, moves.get(conversation.id) ?? 0, fetchesAll);
    this.#live.changed(conversation, change);
  }
}
