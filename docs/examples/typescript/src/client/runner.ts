// Keeps a connection: connects, logs in, waits, comes back, and knows when not to.

import type { Connection } from "../connection/connection.js";
import { movedTo, type Endpoint } from "../connection/endpoint.js";
import { ConnectionEnded, Refused } from "../connection/errors.js";
import type { Body } from "../connection/requests.js";
import type { Book } from "../state/book.js";
import { afterClose } from "../wire/codes.js";
import { CloseReason, DeviceKind, type GoAway } from "../wire/messages.js";
import { delayMs } from "./backoff.js";
import type { Credentials } from "./credentials.js";
import type { Emit, Stopped } from "./events.js";
import { logIn, LoginImpossible, type Device } from "./login.js";
import { Session } from "./session.js";

export interface RunnerOptions {
  readonly endpoint: Endpoint;
  readonly credentials?: Credentials;
  readonly device?: Device;
  /**
   * What to do about entries that lie between what this device has and what Sync brings: fetch them all
   * (a bot, an archive), or leave them out until somebody scrolls there (a chat with years of history).
   */
  readonly gaps?: "fetch" | "leave out";
  /**
   * Whether this user's newest messages (200 of a conversation at most) are sent again to a server that was put
   * back to an earlier state and lacks them. A chat wants it; what was meant for one moment does not.
   */
  readonly resendsAfterRestore?: boolean;
  /** The first delay before another connection; it doubles from there. Only tests have a reason to change it. */
  readonly backoffBaseMs?: number;
}

export class Runner {
  /** While it is live, from Synced on. */
  session: Session | undefined;
  /** Server time less ours, as the last Welcome told it. */
  clockOffsetMs = 0n;
  readonly #options: RunnerOptions;
  readonly #book: Book;
  readonly #emit: Emit;
  #isStopped = false;
  /** Ends what is waited for now. */
  #interrupt = () => {};
  #attempts = 0;

  constructor(options: RunnerOptions, book: Book, emit: Emit) {
    this.#options = options;
    this.#book = book;
    this.#emit = emit;
  }

  stop(): void {
    this.#isStopped = true;
    this.#interrupt();
  }

  /** Resolves with why it does not go on. */
  async run(): Promise<[why: Stopped, error: Error | undefined]> {
    let endpoint = this.#options.endpoint;
    for (;;) {
      const end = await this.#connection(endpoint).catch((error: Error) => error);
      if (this.#isStopped) return ["by the program", undefined];
      const why = this.#whyStop(end);
      if (why !== undefined) return [why, end];
      const { delayMs: told, address } = end instanceof ConnectionEnded ? end : NOTHING_TOLD;
      const delay = delayMs(told, this.#attempts++, this.#options.backoffBaseMs);
      this.#emit("offline", end, delay);
      await this.#pause(delay);
      // Another place is for once; if it does not work, the usual one will know a better.
      endpoint = address === "" ? this.#options.endpoint : movedTo(this.#options.endpoint, address);
    }
  }

  /** One connection, from its beginning to its end. */
  async #connection(endpoint: Endpoint): Promise<Error> {
    let session: Session | undefined;
    let connection: Connection | undefined;
    const listener = {
      pushed: (body: Body) => session?.pushed(body),
      goingAway: (message: GoAway) => void connection?.leave(message),
    };
    const { credentials = {}, device = UNNAMED, gaps = "fetch", resendsAfterRestore = false } = this.#options;
    connection = await logIn(endpoint, this.#book, credentials, device, listener);
    const close = () => connection.close();
    this.#interrupt = close;
    if (this.#isStopped) close();
    this.clockOffsetMs = connection.welcome.serverTimeMs - BigInt(Date.now());
    const wishes = { fetchesAll: gaps === "fetch", resends: resendsAfterRestore };
    session = new Session(connection, this.#book, wishes, this.#emit);
    try {
      await session.begin();
      this.#attempts = 0;
      this.session = session;
      this.#emit("online");
      const end = await connection.ended;
      return session.problem ?? end;
    } finally {
      this.session = undefined;
      close();
    }
  }

  #whyStop(end: Error): Stopped | undefined {
    if (end instanceof LoginImpossible) return end.why;
    // A request that a session depends on was refused: another connection may fare better.
    if (end instanceof Refused) return undefined;
    if (!(end instanceof ConnectionEnded)) return "gave up";
    switch (end.isDistrusted ? "give up" : afterClose(end.reason)) {
      case "reconnect":
        return undefined;
      case "ask the user":
        return ASKS_FOR.get(end.reason) ?? "replaced";
      case "forget the tokens":
        this.#book.tokens = {};
        return "logged out";
      case "give up":
        return "gave up";
    }
  }

  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#interrupt = () => {
        clearTimeout(timer);
        resolve();
      };
      if (this.#isStopped) this.#interrupt();
    });
  }
}

const NOTHING_TOLD = { delayMs: 0, address: "" };
const UNNAMED: Device = { kind: DeviceKind.DESKTOP, name: "" };
const ASKS_FOR: ReadonlyMap<number, Stopped> = new Map([
  [CloseReason.ACCOUNT_DISABLED, "account disabled"],
  [CloseReason.LOGIN_FAILED, "needs a login"],
]);
