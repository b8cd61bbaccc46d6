// One connection: Hello and Welcome, requests and their responses, heartbeats, the end.

import { decode, encode, type Init } from "../wire/codec.js";
import { CloseReason, type Compressed, Frame, type GoAway, type Hello, type Welcome } from "../wire/messages.js";
import { openStream, type Endpoint, type FrameStream } from "./endpoint.js";
import { ConnectionEnded, Refused, TooLarge } from "./errors.js";
import { limitsOf, type KnownLimits } from "./limits.js";
import { Liveness } from "./liveness.js";
import { ANSWERS, type Answer, type AnswerOf, type Body, type BodyOf, type RequestName } from "./requests.js";

const PROTOCOL_VERSION = 1;
const CLIENT = "dunlin-typescript 0.1";
const TICK_MS = 1_000;
/** The name of the capability. */
const DEFLATE = "deflate";
const HEARTBEAT = new Uint8Array();

export interface Listener {
  /** Something that the server says of its own accord. */
  pushed(body: Body): void;
  /** The server asks us to leave: `Connection.leave` does it. */
  goingAway(message: GoAway): void;
}

interface Waiting {
  readonly expected: Answer;
  readonly sinceMs: number;
  resolve(value: unknown): void;
  reject(error: Error): void;
}

interface Queued {
  readonly body: Uint8Array;
  readonly requestId: bigint;
  readonly waiting: Omit<Waiting, "sinceMs">;
}

export class Connection {
  readonly welcome: Welcome;
  readonly limits: KnownLimits;
  /** Resolves, never rejects, when the connection is over. */
  readonly ended: Promise<ConnectionEnded>;
  readonly #stream: Stream;

  private constructor(stream: Stream, welcome: Welcome) {
    this.#stream = stream;
    this.welcome = welcome;
    this.limits = limitsOf(welcome.limits);
    this.ended = stream.ended;
    stream.begin(this.limits);
  }

  /** `login` goes with Hello in one write, which saves a round trip; its answer is `firstLogin`. */
  static async open(
    endpoint: Endpoint,
    listener: Listener,
    login?: Init<BodyOf<"login">>,
  ): Promise<{ connection: Connection; firstLogin: Promise<AnswerOf<"login">> | undefined }> {
    const frames = await openStream(endpoint);
    const stream = new Stream(frames, listener);
    const capabilities = frames.inflate === undefined ? [] : [DEFLATE];
    const hello: Init<Hello> = { protocolVersion: PROTOCOL_VERSION, client: CLIENT, capabilities };
    stream.cork();
    const welcome = stream.request("hello", hello);
    const firstLogin = login === undefined ? undefined : stream.request("login", login);
    firstLogin?.catch(() => {}); // Whoever awaits it hears of it; Welcome comes first.
    stream.uncork();
    try {
      return { connection: new Connection(stream, await welcome), firstLogin };
    } catch (error) {
      stream.end(new ConnectionEnded(CloseReason.PEER_CLOSED, "no Welcome", { cause: error }));
      throw error instanceof Refused ? await stream.ended : error;
    }
  }

  /**
   * Rejects with Refused, TooLarge or ConnectionEnded. `apply` gets the answer before anything that the
   * server said after it is looked at, which whoever awaits the promise can't be sure of.
   */
  request<N extends RequestName>(
    name: N,
    value: Init<BodyOf<N>>,
    apply?: (answer: AnswerOf<N>) => void,
  ): Promise<AnswerOf<N>> {
    return this.#stream.request(name, value, apply);
  }

  /** A signal that is not answered. */
  signal(value: Init<BodyOf<"signal">>): void {
    this.#stream.say({ body: { case: "signal", value } });
  }

  /** From now on larger frames are allowed. */
  loggedIn(): void {
    this.#stream.isLoggedIn = true;
  }

  /** Calls back once at the end, at once if it has come already; returns how to call that off. */
  onEnded(tell: (end: ConnectionEnded) => void): () => void {
    return this.#stream.onEnded(tell);
  }

  /** Asks whether the server is still there. If not, the connection ends within seconds. */
  probe(): void {
    this.#stream.probe();
  }

  /** Takes no more requests, waits for those that are under way, and closes. */
  async leave(goAway: GoAway): Promise<void> {
    this.#stream.isLeaving = true;
    await this.#stream.idle();
    const { reconnectDelayMs: delayMs, address } = goAway;
    this.#stream.end(
      new ConnectionEnded(CloseReason.SERVER_DRAINING, "asked to leave", { delayMs, address }),
    );
  }

  close(): void {
    this.#stream.end(new ConnectionEnded(CloseReason.PEER_CLOSED, "closed by this client"));
  }
}

/** The moving parts behind a Connection, which has a Welcome already. */
class Stream {
  readonly ended: Promise<ConnectionEnded>;
  isLoggedIn = false;
  isLeaving = false;
  readonly #frames: FrameStream;
  readonly #listener: Listener;
  /** In the order in which they were sent. */
  readonly #waiting = new Map<bigint, Waiting>();
  #queue: Queued[] = [];
  #limits: KnownLimits = limitsOf(undefined);
  #lastRequestId = 0n;
  #liveness = new Liveness(this.#limits.heartbeatIntervalMs, Date.now());
  readonly #ticking: ReturnType<typeof setInterval>;
  #end: ConnectionEnded | undefined;
  readonly #listeners = new Set<(end: ConnectionEnded) => void>();
  #whenIdle: (() => void)[] = [];

  constructor(frames: FrameStream, listener: Listener) {
    this.#frames = frames;
    this.#listener = listener;
    this.ended = new Promise((resolve) => this.onEnded(resolve));
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    frames.listen({
      heard: () => this.#liveness.heard(Date.now()),
      frame: (body) => this.#arrived(body),
      broken: (error) => this.#fault(error.message, error),
      ended: (end) => this.end(end),
    });
  }

  begin(limits: KnownLimits): void {
    this.#limits = limits;
    this.#liveness = new Liveness(limits.heartbeatIntervalMs, Date.now());
  }

  cork(): void {
    this.#frames.cork();
  }

  uncork(): void {
    this.#frames.uncork();
  }

  request<N extends RequestName>(
    name: N,
    value: Init<BodyOf<N>>,
    apply?: (answer: AnswerOf<N>) => void,
  ): Promise<AnswerOf<N>> {
    return new Promise<AnswerOf<N>>((resolve, reject) => {
      if (this.#end !== undefined) return reject(this.#end);
      if (this.isLeaving) return reject(new ConnectionEnded(CloseReason.SERVER_DRAINING, "asked to leave"));
      const requestId = ++this.#lastRequestId;
      const body = { case: name, value } as Init<Frame>["body"];
      const encoded = encode(Frame, { requestId, body });
      const bytesMax = this.#limits.requestBytesMax(name, this.isLoggedIn);
      if (encoded.length > bytesMax)
        return reject(new TooLarge(`${name}: ${encoded.length} bytes of at most ${bytesMax}`));
      const answered = (value: unknown) => {
        const answer = value as AnswerOf<N>;
        apply?.(answer);
        (resolve as (answer: AnswerOf<N>) => void)(answer);
      };
      const waiting = { expected: ANSWERS[name], resolve: answered, reject };
      this.#queue.push({ body: encoded, requestId, waiting });
      this.#sendQueued();
    });
  }

  say(message: Init<Frame>): void {
    if (this.#end === undefined) this.#write(encode(Frame, message));
  }

  probe(): void {
    this.#liveness.doubt(Date.now());
    if (this.#end === undefined) this.#write(HEARTBEAT);
  }

  /** Resolves when nothing is under way, at the end at the latest. */
  idle(): Promise<void> {
    if (this.#waiting.size === 0 || this.#end !== undefined) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  end(end: ConnectionEnded): void {
    if (this.#end !== undefined) return;
    this.#end = end;
    clearInterval(this.#ticking);
    this.#frames.destroy();
    const waiting = [...this.#waiting.values(), ...this.#queue.map((queued) => queued.waiting)];
    this.#waiting.clear();
    this.#queue = [];
    for (const each of waiting) each.reject(end);
    this.#settleIdle();
    for (const tell of this.#listeners) tell(end);
    this.#listeners.clear();
  }

  onEnded(tell: (end: ConnectionEnded) => void): () => void {
    if (this.#end === undefined) this.#listeners.add(tell);
    else tell(this.#end);
    return () => this.#listeners.delete(tell);
  }

  /** The server stops reading beyond this many requests, so that a heartbeat would not get through. */
  #sendQueued(): void {
    while (this.#waiting.size < this.#limits.requestsOutstandingMax) {
      const queued = this.#queue.shift();
      if (queued === undefined) return;
      this.#waiting.set(queued.requestId, { ...queued.waiting, sinceMs: Date.now() });
      this.#write(queued.body);
    }
  }

  #write(body: Uint8Array): void {
    this.#liveness.sent(Date.now());
    this.#frames.send(body);
  }

  #tick(): void {
    const oldest = this.#waiting.values().next().value;
    switch (this.#liveness.advise(Date.now(), oldest?.sinceMs)) {
      case "nothing":
        return;
      case "heartbeat":
        this.#write(HEARTBEAT);
        return;
      case "dead":
        this.end(new ConnectionEnded(CloseReason.PEER_RESET, "nothing was heard for too long"));
        return;
    }
  }

  #arrived(body: Uint8Array): void {
    try {
      // The answer of the server to a heartbeat is not answered, or the two would never stop.
      if (body.length > 0 && this.#end === undefined) this.#take(decode(Frame, body));
    } catch (error) {
      this.#fault((error as Error).message, error);
    }
  }

  #take({ requestId, body }: Frame): void {
    if (body?.case === "compressed") return this.#take(this.#inflated(body.value, requestId));
    if (body?.case === "close") {
      const { reason, detail, reconnectDelayMs: delayMs } = body.value;
      this.end(new ConnectionEnded(reason, detail, { delayMs }));
    } else if (requestId !== 0n) {
      this.#answered(requestId, body);
    } else if (body?.case === "goAway") {
      this.#listener.goingAway(body.value);
    } else if (body !== undefined) {
      this.#listener.pushed(body);
    }
  }

  #inflated(compressed: Compressed, requestId: bigint): Frame {
    if (this.#frames.inflate === undefined) throw new Error("compressed, though nobody asked for it");
    return this.#frames.inflate(compressed, requestId);
  }

  #answered(requestId: bigint, body: Body | undefined): void {
    const waiting = this.#waiting.get(requestId);
    if (waiting === undefined) return this.#fault(`an answer to ${requestId}, which nobody asked`);
    this.#waiting.delete(requestId);
    if (body?.case === "error") waiting.reject(new Refused(body.value));
    else if (body?.case === waiting.expected) this.#resolve(waiting, body.value);
    else this.#faultOf(waiting, `${body?.case ?? "something unknown"} instead of ${waiting.expected}`);
    this.#sendQueued();
    if (this.#waiting.size === 0) this.#settleIdle();
  }

  #resolve(waiting: Waiting, answer: unknown): void {
    try {
      waiting.resolve(answer);
    } catch (error) {
      waiting.reject(error as Error);
    }
  }

  #faultOf(waiting: Waiting, detail: string): void {
    this.#fault(detail);
    waiting.reject(this.#end ?? new Error(detail));
  }

  /** The server said what it never should. */
  #fault(detail: string, cause?: unknown): void {
    this.end(new ConnectionEnded(CloseReason.SERVER_ERROR, detail, { cause }));
  }

  #settleIdle(): void {
    for (const resolve of this.#whenIdle.splice(0)) resolve();
  }
}
