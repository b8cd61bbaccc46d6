// A client of Dunlin: keeps a connection, and on it everything in order, once, and complete.

import { randomBytes } from "node:crypto";
import { EventEmitter } from "node:events";
import type { Connection } from "../connection/connection.js";
import type { Endpoint } from "../connection/endpoint.js";
import { ConnectionEnded, Refused } from "../connection/errors.js";
import type { AnswerOf, Body, BodyOf, RequestName } from "../connection/requests.js";
import type { Conversation } from "../conversation/conversation.js";
import { entryOf, type Entry } from "../conversation/entry.js";
import { bytesOf, directConversation, type ConversationId } from "../conversation/id.js";
import { Book } from "../state/book.js";
import type { DurableState } from "../state/saved.js";
import { afterClose, isWorthRepeating } from "../wire/codes.js";
import type { Init } from "../wire/codec.js";
import { CloseReason, DeviceKind, type GoAway, type SessionInfo, type User } from "../wire/messages.js";
import { delayMs } from "./backoff.js";
import type { Credentials } from "./credentials.js";
import type { ClientEvents, Emit, Stopped } from "./events.js";
import { logIn, LoginImpossible, type Device } from "./login.js";
import { Session } from "./session.js";

export interface ClientOptions {
  readonly endpoint: Endpoint;
  readonly state: DurableState;
  readonly credentials?: Credentials;
  readonly device?: Device;
  /**
   * What to do about entries that lie between what this device has and what Sync brings: fetch them all
   * (a bot, an archive), or leave them out until somebody scrolls there (a chat with years of history).
   */
  readonly gaps?: "fetch" | "leave out";
  /** The first delay before another connection; it doubles from there. Only tests have a reason to change it. */
  readonly backoffBaseMs?: number;
}

export class Client {
  readonly events = new EventEmitter<ClientEvents>();
  readonly #options: ClientOptions;
  readonly #book: Book;
  #running: Promise<void> | undefined;
  #session: Session | undefined;
  #stopping: (() => void) | undefined;
  /** Server time less ours, for showing times. */
  #clockMs = 0n;

  private constructor(options: ClientOptions, book: Book) {
    this.#options = options;
    this.#book = book;
  }

  static async open(options: ClientOptions): Promise<Client> {
    return new Client(options, await Book.open(options.state));
  }

  /** Connects, and stays connected until `stop` or the event `stopped`. */
  start(): void {
    this.#running ??= this.#run().finally(() => (this.#running = undefined));
  }

  /** Leaves the connection; the session lives on, and so does the outbox. */
  async stop(): Promise<void> {
    this.#stopping?.();
    await this.#running;
    await this.#book.save();
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
    return this.#clockMs;
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
    { contentType = "text/plain", id = randomBytes(16).toString("hex") } = {},
  ): Promise<string> {
    const bytes = typeof content === "string" ? Buffer.from(content, "utf8") : Uint8Array.from(content);
    this.#book.enqueue({ id, conversation, contentType, content: bytes });
    await this.#book.save();
    this.#session?.kick();
    return id;
  }

  /** The user has read everything up to here. */
  markRead(id: ConversationId, seq: bigint): void {
    const conversation = this.#book.conversations.get(id);
    if (conversation === undefined || seq <= conversation.readSeq || seq <= conversation.markUpTo) return;
    conversation.markUpTo = seq;
    this.#session?.kick();
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
  async ask<N extends RequestName>(name: N, value: Init<BodyOf<N>>): Promise<AnswerOf<N>> {
    for (;;) {
      const session = this.#session ?? (await this.#online());
      try {
        return (await (session.connection.request(name, value) as Promise<unknown>)) as AnswerOf<N>;
      } catch (error) {
        const waits = error instanceof Refused && isWorthRepeating(error.code);
        if (!waits && !(error instanceof ConnectionEnded)) throw error;
        await new Promise((resolve) => setTimeout(resolve, waits ? error.retryAfterMs || 1_000 : 100));
      }
    }
  }

  readonly #emit: Emit = (event, ...values) => {
    (this.events.emit as (event: string, ...values: unknown[]) => boolean).call(this.events, event, ...values);
  };

  #online(): Promise<Session> {
    return new Promise((resolve, reject) => {
      const online = () => {
        this.events.removeListener("stopped", stopped);
        resolve(this.#session as Session);
      };
      const stopped = (why: Stopped) => {
        this.events.removeListener("online", online);
        reject(new Error(`not connected: ${why}`));
      };
      this.events.once("online", online).once("stopped", stopped);
      if (this.#running === undefined) stopped("by the program");
    });
  }

  async #run(): Promise<void> {
    let stop = false;
    const stopped = new Promise<void>((resolve) => {
      this.#stopping = () => {
        stop = true;
        this.#session?.connection.close();
        resolve();
      };
    });
    let attempts = 0;
    let endpoint = this.#options.endpoint;
    while (!stop) {
      const end = await this.#connection(endpoint, () => (attempts = 0), () => stop, stopped).catch((error: Error) => error);
      if (stop) break;
      const why = this.#whyStop(end);
      if (why !== undefined) return this.#emit("stopped", why, end);
      const told = end instanceof ConnectionEnded ? end.delayMs : 0;
      const delay = delayMs(told, attempts++, this.#options.backoffBaseMs);
      this.#emit("offline", end, delay);
      const address = end instanceof ConnectionEnded ? end.address : "";
      endpoint = address === "" ? this.#options.endpoint : { ...this.#options.endpoint, address };
      await pause(delay, stopped);
    }
    this.#emit("stopped", "by the program", undefined);
  }

  /** One connection, from its beginning to its end. */
  async #connection(endpoint: Endpoint, synced: () => void, isStopped: () => boolean, stopped: Promise<void>): Promise<Error> {
    let session: Session | undefined;
    let connection: Connection | undefined;
    const listener = {
      pushed: (body: Body) => session?.pushed(body),
      goingAway: (message: GoAway) => void connection?.leave(message),
    };
    const { credentials = {}, device = { kind: DeviceKind.DESKTOP, name: "" }, gaps = "fetch" } = this.#options;
    connection = await logIn(endpoint, this.#book, credentials, device, listener);
    void stopped.then(() => connection.close());
    if (isStopped()) connection.close();
    this.#clockMs = connection.welcome.serverTimeMs - BigInt(Date.now());
    session = new Session(connection, this.#book, gaps === "fetch", this.#emit);
    try {
      await session.begin();
      synced();
      this.#session = session;
      this.#emit("online");
      const end = await connection.ended;
      return session.problem ?? end;
    } finally {
      this.#session = undefined;
      connection.close();
    }
  }

  #whyStop(end: Error): Stopped | undefined {
    if (end instanceof LoginImpossible) return end.why;
    if (end instanceof Refused) return undefined;
    if (!(end instanceof ConnectionEnded)) return "gave up";
    switch (end.isDistrusted ? "give up" : afterClose(end.reason)) {
      case "reconnect":
        return undefined;
      case "ask the user":
        return end.reason === CloseReason.ACCOUNT_DISABLED ? "account disabled" : end.reason === CloseReason.LOGIN_FAILED ? "needs a login" : "replaced";
      case "forget the tokens":
        this.#book.tokens = {};
        return "logged out";
      case "give up":
        return "gave up";
    }
  }
}

async function pause(ms: number, stopped: Promise<void>): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await Promise.race([new Promise((resolve) => (timer = setTimeout(resolve, ms))), stopped]);
  clearTimeout(timer);
}
