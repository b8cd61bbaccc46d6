// The order of a log: what arrives in any order, twice or not at all, leaves in order and once.

import type { Entry } from "./entry.js";

/** What waits behind a gap. Beyond it the newest are dropped, and fetched when their turn comes. */
const ASIDE_MAX = 1_000;

export interface Range {
  readonly from: bigint;
  readonly to: bigint;
}

export class Log {
  /** Everything up to here was given out, or left out on purpose. */
  #position: bigint;
  /** The newest sequence that is known of. */
  #head: bigint;
  #expiredBelow: bigint;
  readonly #aside = new Map<bigint, Entry>();

  constructor(position = 0n, head = position, expiredBelow = 0n) {
    this.#position = position;
    this.#head = head;
    this.#expiredBelow = expiredBelow;
  }

  get position(): bigint {
    return this.#position;
  }

  get head(): bigint {
    return this.#head;
  }

  get expiredBelow(): bigint {
    return this.#expiredBelow;
  }

  /** Returns what is next now, in order: nothing if it is known or there is a gap before it. */
  offer(entry: Entry): Entry[] {
    this.know(entry.seq);
    if (entry.seq <= this.#position) return [];
    this.#aside.set(entry.seq, entry);
    if (this.#aside.size > ASIDE_MAX) this.#dropNewest();
    return this.#continued();
  }

  know(head: bigint): void {
    if (head > this.#head) this.#head = head;
  }

  /** There is no more than this after all, whatever a push or a page had told. */
  settle(head: bigint): void {
    const aside = [...this.#aside.keys()].reduce((most, seq) => (seq > most ? seq : most), this.#position);
    this.#head = head > aside ? head : aside;
  }

  /** What lies between the position and the next that is known. */
  gap(): Range | undefined {
    const from = this.#position + 1n;
    const next = [...this.#aside.keys()].reduce((least, seq) => (seq < least ? seq : least), this.#head + 1n);
    return from < next ? { from, to: next - 1n } : undefined;
  }

  /** Moves the position up to `to` without what lies below; returns what continues it. */
  leaveOut(to: bigint): Entry[] {
    this.know(to);
    if (to > this.#position) this.#position = to;
    for (const seq of this.#aside.keys()) if (seq <= to) this.#aside.delete(seq);
    return this.#continued();
  }

  /** What is below has expired: that it is missing is no gap. */
  expire(below: bigint): Entry[] {
    if (below <= this.#expiredBelow) return [];
    this.#expiredBelow = below;
    return this.leaveOut(below - 1n);
  }

  #continued(): Entry[] {
    const entries: Entry[] = [];
    for (;;) {
      const next = this.#aside.get(this.#position + 1n);
      if (next === undefined) return entries;
      this.#aside.delete(next.seq);
      this.#position = next.seq;
      entries.push(next);
    }
  }

  #dropNewest(): void {
    const newest = [...this.#aside.keys()].reduce((most, seq) => (seq > most ? seq : most), 0n);
    this.#aside.delete(newest);
  }
}
