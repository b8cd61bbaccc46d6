// Read cursors, and how much is unread: section 15 of docs/protocol.md.

import { counts, type Entry } from "./entry.js";

/** What is unread is the newest entry's `others` less a base, or what the server said until that is known. */
export type Base =
  | { readonly kind: "known"; readonly base: bigint }
  | { readonly kind: "told"; readonly head: bigint; readonly unread: bigint; readonly since: bigint };

export class Reading {
  readSeq = 0n;
  peerReadSeq = 0n;
  /** Of the position of the log; not known where entries were left out. */
  others: bigint | undefined = 0n;
  base: Base = { kind: "known", base: 0n };

  get unread(): bigint {
    if (this.base.kind === "told") return this.base.unread + this.base.since;
    const unread = (this.others ?? this.base.base) - this.base.base;
    return unread > 0n ? unread : 0n;
  }

  /** The next entry of the log; returns its `others`, which follows from the one before if it does not say. */
  took(entry: Entry, me: bigint): bigint | undefined {
    const before = this.others;
    this.others = entry.others ?? before;
    if (this.base.kind === "told") this.#tookWhileTold(this.base, entry, before, me);
    return this.others;
  }

  /** Entries were left out: nothing is known of them but what the server counts. */
  leftOut(): void {
    this.others = undefined;
  }

  /** `othersAtHead`: of the entry `head`, if this client has it; `since`: others' messages after it. */
  told(head: bigint, unread: bigint, othersAtHead: bigint | undefined, since: bigint): void {
    this.base =
      othersAtHead === undefined
        ? { kind: "told", head, unread, since }
        : { kind: "known", base: othersAtHead - unread };
  }

  /** A receipt of one's own cursor. Returns whether only a Sync can tell what is unread now. */
  ownReceipt(seq: bigint, othersCounted: bigint): boolean {
    if (seq < this.readSeq) return false;
    this.readSeq = seq;
    if (this.base.kind === "known") {
      if (othersCounted > this.base.base) this.base = { kind: "known", base: othersCounted };
      return false;
    }
    if (seq < this.base.head) return true;
    this.base = { kind: "known", base: othersCounted };
    return false;
  }

  /** What others have said up to so much is not there any more, and so not unread. */
  cleared(others: bigint): void {
    if (this.base.kind === "known" && others > this.base.base) this.base = { kind: "known", base: others };
  }

  peerReceipt(seq: bigint): void {
    if (seq > this.peerReadSeq) this.peerReadSeq = seq;
  }

  #tookWhileTold(told: Base & { kind: "told" }, entry: Entry, before: bigint | undefined, me: bigint): void {
    if (entry.seq === told.head && this.others !== undefined) {
      this.base = { kind: "known", base: this.others - told.unread };
    } else if (entry.seq > told.head && entry.sender !== me && counts(entry)) {
      // With counts on both sides it is exact; without, it is a message that somebody else has sent.
      const more = this.others !== undefined && before !== undefined ? this.others - before : 1n;
      this.base = { ...told, since: told.since + more };
    }
  }
}
