// When to send a heartbeat, and when a connection is dead although nobody said so. No clock in here:
// whoever asks says what time it is.

/** For how long a request may wait until the connection is doubted. */
const PATIENCE_MS = 10_000;
/** How long a doubted connection has to show one byte. */
const PROOF_MS = 5_000;

export type Advice = "nothing" | "heartbeat" | "dead";

export class Liveness {
  readonly #intervalMs: number;
  #sentMs: number;
  #heardMs: number;
  /** Since when a proof of life is awaited. */
  #doubtMs: number | undefined;

  constructor(intervalMs: number, nowMs: number) {
    this.#intervalMs = intervalMs;
    this.#sentMs = nowMs;
    this.#heardMs = nowMs;
  }

  sent(nowMs: number): void {
    this.#sentMs = nowMs;
  }

  heard(nowMs: number): void {
    this.#heardMs = nowMs;
    this.#doubtMs = undefined;
  }

  /** `waitingSinceMs`: when the oldest request was sent that is not answered yet. */
  advise(nowMs: number, waitingSinceMs: number | undefined): Advice {
    if (this.#doubtMs !== undefined && nowMs - this.#doubtMs >= PROOF_MS) return "dead";
    if (nowMs - this.#heardMs >= this.#intervalMs * 1.5) return "dead";
    if (this.#doubtMs === undefined && this.#isDoubtful(nowMs, waitingSinceMs)) return this.doubt(nowMs);
    return nowMs - this.#sentMs >= this.#intervalMs ? "heartbeat" : "nothing";
  }

  /** Asks for a proof of life, as when a program comes to the foreground or the network has changed. */
  doubt(nowMs: number): Advice {
    this.#doubtMs ??= nowMs;
    return "heartbeat";
  }

  /** A server that says other things answers the request when it gets to it. */
  #isDoubtful(nowMs: number, waitingSinceMs: number | undefined): boolean {
    return waitingSinceMs !== undefined && nowMs - Math.max(waitingSinceMs, this.#heardMs) >= PATIENCE_MS;
  }
}
