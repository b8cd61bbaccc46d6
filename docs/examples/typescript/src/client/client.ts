// A client of Dunlin: keeps a connection, and on it everything in order, once, and complete.

import { ConnectionEnded, Refused } from "../connection/errors.js";
import type { AnswerOf, BodyOf, RequestName } from "../connection/requests.js";
import type { Conversation } from "../conversation/conversation.js";
import { entryOf, type Entry } from "../conversation/entry.js";
import { bytesOf, directConversation, type ConversationId } from "../conversation/id.js";
import { Book } from "../state/book.js";
import type { DurableState } from "../state/saved.js";
import { isWorthRepeating } from "../wire/codes.js";
import { fromHex, isEqual, randomHex, utf8 } from "../wire/bytes.js";
import type { Init } from "../wire/codec.js";
import {
  ErrorCode,
  Notice,
  RequestState,
  type Membership,
  type SessionInfo,
  type UpdateConversation,
  type User,
} from "../wire/messages.js";
import { Emitter } from "./emitter.js";
import type { ClientEvents, Emit, Stopped } from "./events.js";
import { Runner, type RunnerOptions } from "./runner.js";
import type { Session } from "./session.js";

export interface ClientOptions extends RunnerOptions {
  readonly state: DurableState;
}

export class Client {
  readonly events = new Emitter<ClientEvents>();
  readonly #options: ClientOptions;
  readonly #book: Book;
  #runner: Runner | undefined;
  #running: Promise<void> | undefined;

  private constructor(options: ClientOptions, book: Book) {
    this.#options = options;
    this.#book = book;
  }

  static async open(options: ClientOptions): Promise<Client> {
    return new Client(options, await Book.open(options.state));
  }

  /** Connects, and stays connected until `stop` or the event `stopped`. */
  start(): void {
    if (this.#runner !== undefined) return;
    const runner = new Runner(this.#options, this.#book, this.#emit);
    this.#runner = runner;
    this.#running = runner.run().then(([why, error]) => {
      this.#runner = undefined;
      this.#emit("stopped", why, error);
    });
  }

  /** Leaves the connection; the session lives on, and so does the outbox. */
  async stop(): Promise<void> {
    this.#runner?.stop();
    await this.#running;
    await this.#book.save();
  }

  /** The program came to the foreground, or the network changed: a dead connection shows within seconds. */
  probe(): void {
    this.#session?.connection.probe();
  }

  /** Asks for what is new, although everything is pushed: for a user who pulls at the list. */
  resync(): void {
    this.#session?.resync();
  }

  get isOnline(): boolean {
    return this.#session !== undefined;
  }

  get userId(): bigint {
    return this.#book.me;
  }

  get username(): string | undefined {
    return this.#book.account?.username;
  }

  /** For showing the times of entries: add it to the clock of this machine. */
  get serverClockOffsetMs(): bigint {
    return this.#runner?.clockOffsetMs ?? 0n;
  }

  get conversations(): ReadonlyMap<ConversationId, Conversation> {
    return this.#book.conversations;
  }

  /** Messages that are not acknowledged. */
  get unsent(): readonly { readonly id: string; readonly conversation: ConversationId }[] {
    return this.#book.outbox;
  }

  conversationWith(user: bigint): ConversationId {
    return directConversation(this.#book.me, user);
  }

  /**
   * Resolves with the id of the message when it is in the outbox, durably: from then on it will be sent,
   * once, whatever happens. An id of one's own makes that true for whoever calls this a second time.
   */
  async send(
    conversation: ConversationId,
    content: string | Uint8Array,
    { contentType = "text/plain", notice = Notice.LOUD as Notice, id = randomHex(16) } = {},
  ): Promise<string> {
    const bytes = typeof content === "string" ? utf8(content) : Uint8Array.from(content);
    this.#book.enqueue({ id, conversation, contentType, content: bytes, notice });
    await this.#book.save();
    this.#session?.kick();
    return id;
  }

  /** The user has read everything up to here; with `isPrivate` the other member does not learn of it. */
  markRead(id: ConversationId, seq: bigint, isPrivate = false): void {
    if (this.#book.conversations.get(id)?.mark(seq, isPrivate) === true) this.#session?.kick();
  }

  /** Hides a conversation from the list until something newer comes. */
  async hide(id: ConversationId): Promise<void> {
    await this.#update(id, { case: "hideUpTo", value: this.#book.conversation(id).head });
  }

  async show(id: ConversationId): Promise<void> {
    await this.#update(id, { case: "hideUpTo", value: 0n });
  }

  /** A mark to come back to it. Reading does not take it off: that is for who opens the conversation. */
  async markUnread(id: ConversationId, isMarked: boolean): Promise<void> {
    await this.#update(id, { case: "markedUnread", value: isMarked });
  }

  /** What becomes of a stranger's request. */
  async accept(id: ConversationId): Promise<void> {
    await this.#update(id, { case: "request", value: RequestState.NONE });
  }

  async ignore(id: ConversationId): Promise<void> {
    await this.#update(id, { case: "request", value: RequestState.IGNORED });
  }

  /** Removes what is there from this user's view, for good; the other member keeps it. */
  async clear(id: ConversationId): Promise<void> {
    await this.#update(id, { case: "clearUpTo", value: this.#book.conversation(id).head });
  }

  async #update(id: ConversationId, change: NonNullable<UpdateConversation["change"]>): Promise<void> {
    const apply = (answer: Membership) => this.#session?.isNow(answer);
    await this.ask("updateConversation", { conversationId: bytesOf(id), change }, apply);
  }

  /** What the devices of this user share. */
  setting(key: string): Uint8Array | undefined {
    const value = this.#book.settings.get(key)?.value;
    return value === undefined || value.length === 0 ? undefined : value;
  }

  /**
   * Sets one of them; an empty value removes it. With `ifVersion` (0: there is none) only if nobody else has
   * changed it: else it rejects with Refused, VERSION_CONFLICT, and `setting` is here what is there.
   */
  async setSetting(key: string, value: Uint8Array, ifVersion?: bigint): Promise<void> {
    try {
      await this.ask("setSetting", { key, value, ifVersion }, (setting) => this.#session?.set(setting));
    } catch (error) {
      if (!(error instanceof Refused) || error.code !== ErrorCode.VERSION_CONFLICT) throw error;
      if (error.setting !== undefined) this.#session?.set(error.setting);
      // It may be our own first try, whose answer was lost.
      if (!isEqual(error.setting?.value ?? new Uint8Array(), value)) throw error;
    }
  }

  settingVersion(key: string): bigint {
    return this.#book.settings.get(key)?.version ?? 0n;
  }

  /** Something momentary; lost if there is no connection. */
  signal(conversation: ConversationId, kind: string, payload: Uint8Array = new Uint8Array()): void {
    this.#session?.connection.signal({ conversationId: bytesOf(conversation), kind, payload });
  }

  /** A page of older entries, for scrolling: those before `before` (0: the newest), ascending. */
  async history(conversation: ConversationId, before = 0n, limit = 50): Promise<Entry[]> {
    if (before === 1n) return [];
    const fromSeq = before === 0n ? 0n : before - 1n;
    const history = { conversationId: bytesOf(conversation), fromSeq, limit, backwards: true };
    const page = await this.ask("history", history);
    return page.entries.map((wire) => entryOf(wire, conversation, this.#book.me)).reverse();
  }

  /** A page that begins at the first entry of this time (of the server's clock) or later. */
  async historySince(conversation: ConversationId, timeMs: bigint, limit = 50): Promise<Entry[]> {
    const history = { conversationId: bytesOf(conversation), fromTimeMs: timeMs, limit };
    const page = await this.ask("history", history);
    return page.entries.map((wire) => entryOf(wire, conversation, this.#book.me));
  }

  /** Where a message of this user is that was sent under this id; nothing if it is not stored (yet). */
  async findMessage(conversation: ConversationId, id: string): Promise<Entry | undefined> {
    const wanted = { conversationId: bytesOf(conversation), clientMessageId: fromHex(id) };
    try {
      const { entry } = await this.ask("findMessage", wanted);
      return entry && entryOf(entry, conversation, this.#book.me);
    } catch (error) {
      if (error instanceof Refused && error.code === ErrorCode.NO_SUCH_ENTRY) return undefined;
      throw error;
    }
  }

  async findUsers(wanted: { usernames?: string[]; userIds?: bigint[] }): Promise<User[]> {
    const { users } = await this.ask("findUsers", wanted);
    for (const { userId, username, displayName } of users) {
      this.#book.users.set(userId, { userId, username, displayName });
    }
    return users;
  }

  /** The name of a user, from what is known already or from the server. */
  async nameOf(userId: bigint): Promise<string> {
    const known = this.#book.users.get(userId);
    if (known !== undefined) return known.displayName;
    const [found] = await this.findUsers({ userIds: [userId] });
    return found?.displayName ?? String(userId);
  }

  async sessions(): Promise<SessionInfo[]> {
    return (await this.ask("listSessions", {})).sessions;
  }

  /** Ends this session (0), another, or all; ends this client as well if it is of them. */
  async logOut(sessionId = 0n, all = false): Promise<void> {
    await this.ask("logout", { sessionId, all });
  }

  /** Not repeated by itself: after ConnectionEnded, log in with the new password to see. */
  async changePassword(oldPassword: string, newPassword: string): Promise<void> {
    const session = this.#session ?? (await this.#online());
    await session.connection.request("changePassword", { oldPassword, newPassword });
  }

  /** A request that may be repeated: it is, until it is answered. Rejects with Refused, or when stopped. */
  async ask<N extends RequestName>(
    name: N,
    value: Init<BodyOf<N>>,
    apply?: (answer: AnswerOf<N>) => void,
  ): Promise<AnswerOf<N>> {
    for (;;) {
      const session = this.#session ?? (await this.#online());
      try {
        return (await (session.connection.request(name, value, apply) as Promise<unknown>)) as AnswerOf<N>;
      } catch (error) {
        const waits = error instanceof Refused && isWorthRepeating(error.code);
        if (!waits && !(error instanceof ConnectionEnded)) throw error;
        await new Promise((resolve) => setTimeout(resolve, waits ? error.retryAfterMs || 1_000 : 100));
      }
    }
  }

  get #session(): Session | undefined {
    return this.#runner?.session;
  }

  readonly #emit: Emit = (event, ...values) => {
    try {
      this.events.emit(event, ...values);
    } catch (error) {
      // A fault of who listens is theirs to hear of, and none of the connection.
      setTimeout(() => {
        throw error;
      }, 0);
    }
  };

  #online(): Promise<Session> {
    return new Promise((resolve, reject) => {
      const callOff = () => this.events.off("stopped", stopped).off("online", online);
      const online = () => {
        callOff();
        resolve(this.#runner?.session as Session);
      };
      const stopped = (why: Stopped) => {
        callOff();
        reject(new Error(`not connected: ${why}`));
      };
      this.events.on("online", online).on("stopped", stopped);
      if (this.#runner === undefined) stopped("by the program");
    });
  }
}
