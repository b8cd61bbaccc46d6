// All that a client knows, in memory, and its way to the durable state.

import { Conversation } from "../conversation/conversation.js";
import type { Draft } from "../conversation/entry.js";
import type { ConversationId } from "../conversation/id.js";
import { randomHex, toBase64 } from "../wire/bytes.js";
import type { LoggedIn, Setting, Tokens } from "../wire/messages.js";
import type { DurableState, Saved, SavedSetting, SavedToken, SavedTokens, SavedUser } from "./saved.js";

export interface Listing {
  readonly conversations: Set<ConversationId>;
  readonly settings: Set<string>;
}

export class Book {
  readonly deviceId: string;
  account: Saved["account"];
  tokens: SavedTokens;
  epoch: bigint;
  /** Of the last Synced: it stands for all that is in this book. */
  syncToken: Uint8Array;
  /** While the server tells everything anew: what it has named. */
  listing: Listing | undefined;
  readonly conversations = new Map<ConversationId, Conversation>();
  readonly users = new Map<bigint, SavedUser>();
  readonly settings = new Map<string, SavedSetting>();
  #outbox: Draft[];
  readonly #state: DurableState;
  #saving: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  private constructor(state: DurableState, saved: Saved | undefined) {
    this.#state = state;
    this.deviceId = saved?.deviceId ?? randomHex(16);
    this.account = saved?.account;
    this.tokens = saved?.tokens ?? {};
    this.epoch = saved?.epoch ?? 0n;
    this.syncToken = saved?.syncToken ?? new Uint8Array();
    const listing = saved?.listing;
    this.listing = listing && {
      conversations: new Set(listing.conversations),
      settings: new Set(listing.settings),
    };
    this.#outbox = [...(saved?.outbox ?? [])];
    for (const each of saved?.conversations ?? []) {
      this.conversations.set(each.id, new Conversation(each.id, this.me, each));
    }
    for (const user of saved?.users ?? []) this.users.set(user.userId, user);
    for (const setting of saved?.settings ?? []) this.settings.set(setting.key, setting);
  }

  static async open(state: DurableState): Promise<Book> {
    const saved = await state.load();
    const book = new Book(state, saved);
    // The device id is chosen once, also if the first login does not succeed.
    if (saved === undefined) await book.save();
    return book;
  }

  /** Of who is logged in, or was last. */
  get me(): bigint {
    return this.account?.userId ?? 0n;
  }

  get outbox(): readonly Draft[] {
    return this.#outbox;
  }

  /** One that is not known begins here: somebody writes for the first time. */
  conversation(id: ConversationId): Conversation {
    const known = this.conversations.get(id);
    if (known !== undefined) return known;
    const conversation = new Conversation(id, this.me);
    this.conversations.set(id, conversation);
    return conversation;
  }

  /** The same id again is the same message. */
  enqueue(draft: Draft): void {
    if (!this.#outbox.some((each) => each.id === draft.id)) this.#outbox.push(draft);
  }

  /** To be sent before what is newer. What the server still has is answered as at the first time. */
  enqueueAgain(drafts: readonly Draft[]): void {
    const waiting = new Set(this.#outbox.map(({ id }) => id));
    this.#outbox = [...drafts.filter(({ id }) => !waiting.has(id)), ...this.#outbox];
  }

  /** Returns whether it was there. */
  dequeue(id: string): boolean {
    const before = this.#outbox.length;
    this.#outbox = this.#outbox.filter((draft) => draft.id !== id);
    return this.#outbox.length < before;
  }

  /**
   * Another epoch: sequences may name other entries, versions other values. What is not acknowledged stays.
   * Returns the messages of this user that were among what is forgotten.
   */
  forgetLogs(epoch: bigint): Draft[] {
    const lost = [...this.conversations.values()].flatMap((each) => each.own);
    this.epoch = epoch;
    this.syncToken = new Uint8Array();
    this.listing = undefined;
    this.conversations.clear();
    this.settings.clear();
    return lost;
  }

  /** Returns whether it is news: of two of a key the one with the higher version holds. */
  set({ key, value, version }: Setting): boolean {
    if (version <= (this.settings.get(key)?.version ?? 0n)) return false;
    this.settings.set(key, { key, value: Uint8Array.from(value), version });
    return true;
  }

  loggedIn(answer: LoggedIn, nowMs: number): void {
    const { userId, username } = answer;
    if (this.account !== undefined && this.account.userId !== userId) {
      throw new Error(`this state is that of ${this.account.username}, not of ${username}`);
    }
    this.account = { userId, username };
    const resume = token(toBase64(answer.resumeToken), answer.resumeExpiresInS, nowMs);
    this.tokens = { ...this.tokens, resume };
    if (answer.tokens !== undefined) this.renewed(answer.tokens, nowMs);
  }

  renewed(tokens: Tokens, nowMs: number): void {
    this.tokens = {
      ...this.tokens,
      access: token(tokens.accessToken, tokens.accessExpiresInS, nowMs),
      refresh: token(tokens.refreshToken, tokens.refreshExpiresInS, nowMs),
      renewMs: nowMs + (tokens.refreshExpiresInS * 1000) / 2,
    };
  }

  /** Resolves when all that is in the book now is durable. Many callers share a write. */
  save(): Promise<void> {
    if (this.#saving === undefined) {
      this.#saving = this.#write().finally(() => (this.#saving = undefined));
      return this.#saving;
    }
    // One is under way, and does not have the latest: all who come meanwhile wait for one more.
    this.#next ??= this.#saving
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.save();
      });
    return this.#next;
  }

  async #write(): Promise<void> {
    const { deviceId, account, tokens, epoch, syncToken } = this;
    const listing = this.listing && {
      conversations: [...this.listing.conversations],
      settings: [...this.listing.settings],
    };
    const conversations = [...this.conversations.values()].map((each) => each.save());
    const outbox = [...this.#outbox];
    const users = [...this.users.values()];
    const settings = [...this.settings.values()];
    const sync = { epoch, syncToken, listing };
    await this.#state.save({ deviceId, account, tokens, ...sync, conversations, outbox, users, settings });
  }
}

function token(text: string, expiresInS: number, nowMs: number): SavedToken {
  return { token: text, expiresMs: nowMs + expiresInS * 1000 };
}
