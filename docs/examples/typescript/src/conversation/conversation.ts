// A conversation as this client has it: the log, the cursors, the newest entries.

import { RequestState, type ConversationState, type ReadReceipt } from "../wire/messages.js";
import { counts, entryOf, type Draft, type Entry } from "./entry.js";
import { otherMember, type ConversationId } from "./id.js";
import { Log, type Range } from "./log.js";
import { membershipOf, PLAIN, type Membership } from "./membership.js";
import { Reading, type Base } from "./reading.js";

/** The newest entries are kept for showing; older ones come by History. */
const RECENT_MAX = 200;

/** What has changed by something that was learnt. */
export interface Change {
  /** New entries, in order, each once. */
  readonly taken: readonly Entry[];
  /** What was left out below them, to be fetched when somebody scrolls there. */
  readonly leftOut?: Range;
  /** What this client had of it is void: this is all there is. */
  readonly forgot?: boolean;
  /** Messages of one's own that were there, and may not be any more. */
  readonly lost?: readonly Draft[];
  /** Only another Sync tells what is unread. */
  readonly needsSync?: boolean;
}

/** What a conversation was when a Sync was sent: an answer may be older than what is learnt meanwhile. */
export interface Asked {
  readonly moves: number;
  readonly cursorMoves: number;
  readonly membership: Membership;
}

/** What the user has read and the server has not heard of yet; 0 if there is nothing. */
export interface Marks {
  /** For everybody to know. */
  readonly openly: bigint;
  /** Not for the other member. */
  readonly privately: bigint;
  /** Up to where this device has told openly already. */
  readonly told: bigint;
}

const NO_MARKS: Marks = { openly: 0n, privately: 0n, told: 0n };

export interface SavedConversation {
  readonly id: ConversationId;
  readonly position: bigint;
  readonly head: bigint;
  readonly expiredBelow: bigint;
  readonly readSeq: bigint;
  readonly peerReadSeq: bigint;
  readonly others: bigint | undefined;
  readonly base: Base;
  readonly recent: readonly Entry[];
  readonly marks: Marks;
  readonly hasMoved: boolean;
  readonly mustBeTold: boolean;
  readonly membership: Membership;
}

export class Conversation {
  readonly id: ConversationId;
  readonly #me: bigint;
  #log = new Log();
  #reading = new Reading();
  #recent: Entry[] = [];
  #marks = NO_MARKS;
  /** Something was learnt since the last Sync, by pushes say: the next one names this conversation. */
  hasMoved = false;
  /** Goes up with each thing that is learnt. */
  moves = 0;
  /** Only the server knows what is unread: the next Sync must not say that all of it is known. */
  mustBeTold = false;
  #membership: Membership = PLAIN;
  /** Goes up when the own cursor moves, so that an older answer is known for one. */
  cursorMoves = 0;

  constructor(id: ConversationId, me: bigint, saved?: SavedConversation) {
    this.id = id;
    this.#me = me;
    if (saved === undefined) return;
    this.#log = new Log(saved.position, saved.head, saved.expiredBelow);
    this.#recent = [...saved.recent];
    this.#marks = saved.marks;
    this.hasMoved = saved.hasMoved;
    this.mustBeTold = saved.mustBeTold;
    this.#membership = saved.membership;
    const { readSeq, peerReadSeq, others, base } = saved;
    Object.assign(this.#reading, { readSeq, peerReadSeq, others, base });
  }

  save(): SavedConversation {
    const { id, hasMoved, mustBeTold, membership } = this;
    const { position, head, expiredBelow } = this.#log;
    const { readSeq, peerReadSeq, others, base } = this.#reading;
    const recent = [...this.#recent];
    const counts = { readSeq, peerReadSeq, others, base };
    return {
      id,
      position,
      head,
      expiredBelow,
      ...counts,
      recent,
      marks: this.#marks,
      hasMoved,
      mustBeTold,
      membership,
    };
  }

  get other(): bigint | undefined {
    return otherMember(this.id, this.#me);
  }

  get position(): bigint {
    return this.#log.position;
  }

  get head(): bigint {
    return this.#log.head;
  }

  get expiredBelow(): bigint {
    return this.#log.expiredBelow;
  }

  get readSeq(): bigint {
    return this.#reading.readSeq;
  }

  get peerReadSeq(): bigint {
    return this.#reading.peerReadSeq;
  }

  get unread(): bigint {
    return this.isIgnored ? 0n : this.#reading.unread;
  }

  get membership(): Membership {
    return this.#membership;
  }

  /** A stranger's request that waits for a decision: shown and counted apart. */
  get isRequest(): boolean {
    return this.#membership.request === RequestState.PENDING;
  }

  get isIgnored(): boolean {
    return this.#membership.request === RequestState.IGNORED;
  }

  /** Not to be shown in a list; something newer brings it back. */
  get isHidden(): boolean {
    return this.head <= this.#membership.hiddenUpTo;
  }

  /** The newest entries, ascending. */
  get recent(): readonly Entry[] {
    return this.#recent;
  }

  /** The newest messages of this user, as they would be sent again, oldest first. */
  get own(): Draft[] {
    return this.#recent.flatMap(({ sender, message, notice }) =>
      sender === this.#me && message !== undefined ? [{ ...message, notice, conversation: this.id }] : [],
    );
  }

  gap(): Range | undefined {
    return this.#log.gap();
  }

  /** An entry, wherever it came from. */
  offer(entry: Entry): Change {
    return { taken: this.#take(this.#log.offer(entry)) };
  }

  know(head: bigint): void {
    this.#moved();
    this.#log.know(head);
  }

  settle(head: bigint): void {
    this.#log.settle(head);
  }

  expire(below: bigint): Change {
    return { taken: this.#dropBelow(below) };
  }

  receipt(receipt: ReadReceipt): Change {
    this.#moved();
    if (receipt.userId !== this.#me) {
      this.#reading.peerReceipt(receipt.seq);
      return { taken: [] };
    }
    this.cursorMoves++;
    const needsSync = this.#reading.ownReceipt(receipt.seq, receipt.othersCounted);
    this.mustBeTold ||= needsSync;
    return { taken: [], needsSync };
  }

  /** The user has read up to here. Returns whether there is something to tell the server. */
  mark(seq: bigint, isPrivate: boolean): boolean {
    const { openly, privately, told } = this.#marks;
    const isKnown = isPrivate
      ? seq <= this.readSeq || seq <= privately || seq <= openly
      : seq <= told || seq <= openly;
    if (isKnown) return false;
    // What is told openly says the same as a private mark, and more.
    this.#marks = isPrivate
      ? { openly, privately: seq, told }
      : { openly: seq, privately: seq < privately ? privately : 0n, told };
    return true;
  }

  /** The next thing to tell the server. */
  get nextMark(): { readonly seq: bigint; readonly isPrivate: boolean } | undefined {
    const { openly, privately } = this.#marks;
    if (openly !== 0n) return { seq: openly, isPrivate: false };
    return privately === 0n ? undefined : { seq: privately, isPrivate: true };
  }

  /** The server has answered that mark, one way or another. */
  marked({ seq, isPrivate }: { readonly seq: bigint; readonly isPrivate: boolean }): void {
    const { openly, privately, told } = this.#marks;
    if (isPrivate) this.#marks = { openly, privately: privately === seq ? 0n : privately, told };
    else this.#marks = { openly: openly === seq ? 0n : openly, privately, told: seq };
  }

  /** Nothing tells that a conversation which begins by a push is a request: that somebody else began it does. */
  begins(): void {
    if (this.other !== this.#me) this.#membership = { ...PLAIN, request: RequestState.PENDING };
  }

  /** Of two the one with the higher version holds, whichever came first. */
  isNow(membership: Membership): Change {
    if (membership.version <= this.#membership.version) return { taken: [] };
    const wasIgnored = this.isIgnored;
    this.#membership = membership;
    this.#reading.cleared(membership.othersCleared);
    const taken = this.#dropBelow(membership.visibleFrom);
    // Nothing of it was pushed, and its unread count was none.
    const needsSync = wasIgnored && !this.isIgnored;
    this.mustBeTold ||= needsSync;
    return { taken, needsSync };
  }

  /** For the answer to a Sync that is sent now. */
  get asked(): Asked {
    return { moves: this.moves, cursorMoves: this.cursorMoves, membership: this.#membership };
  }

  /** `asked`: none if it was not known then; `fetchesAll`: gaps are fetched, not left out. */
  synced(state: ConversationState, asked: Asked | undefined, fetchesAll: boolean): Change {
    const moves = asked?.moves ?? 0;
    const isTheLatest = this.moves === moves;
    // Nothing but an earlier state of the server has less than this client had when it asked.
    const forgot = state.forget || (isTheLatest && state.head < this.position);
    const lost = forgot ? this.own : [];
    if (forgot) this.#forget();
    // One that is left out says that nothing was decided, so only a change meanwhile keeps what is here.
    const isNewer = asked !== undefined && asked.membership !== this.#membership;
    if (!isNewer || state.membership !== undefined) this.#isToldMembership(state);
    const moved = this.cursorMoves !== (asked?.cursorMoves ?? 0) && state.readSeq < this.readSeq;
    if (!moved) this.#reading.readSeq = state.readSeq;
    this.#reading.peerReadSeq = state.peerReadSeq;
    const taken: Entry[] = this.#dropBelow(state.expiredBelow);
    taken.push(...this.#dropBelow(this.#membership.visibleFrom));
    const entries = state.entries.map((wire) => entryOf(wire, this.id, this.#me));
    const leftOut = fetchesAll ? undefined : this.#leaveOutBefore(entries[0]?.seq ?? state.head + 1n, taken);
    for (const entry of entries) taken.push(...this.offer(entry).taken);
    this.#log.know(state.head);
    if (!moved) this.#toldUnread(state);
    this.mustBeTold = moved;
    if (isTheLatest) this.#isTold(moves);
    return { taken, forgot, lost, needsSync: moved || forgot, ...(leftOut === undefined ? {} : { leftOut }) };
  }

  #isToldMembership({ membership, forget }: ConversationState): void {
    const told = membership === undefined ? PLAIN : membershipOf(membership);
    const isOlder = told !== PLAIN && told.version < this.#membership.version && !forget;
    if (!isOlder) this.#membership = told;
  }

  /** What has expired and what was cleared is gone alike: that it is missing is no gap. */
  #dropBelow(below: bigint): Entry[] {
    if (below <= this.#log.expiredBelow) return [];
    this.#recent = this.#recent.filter((entry) => entry.seq >= below);
    if (this.position < below - 1n) this.#reading.leftOut();
    return this.#take(this.#log.expire(below));
  }

  /** What this client has may be something else now. (What is not acknowledged is in the outbox, and stays.) */
  #forget(): void {
    this.#log = new Log();
    this.#reading = new Reading();
    this.#recent = [];
    this.#membership = PLAIN;
    this.#marks = NO_MARKS;
  }

  #leaveOutBefore(next: bigint, taken: Entry[]): Range | undefined {
    const from = this.position + 1n;
    if (next <= from) return undefined;
    this.#reading.leftOut();
    taken.push(...this.#take(this.#log.leaveOut(next - 1n)));
    return { from, to: next - 1n };
  }

  /** The others of the head are known if the head is, or if it is the position. */
  #toldUnread({ head, unread }: ConversationState): void {
    const atHead = this.#recent.find((entry) => entry.seq === head);
    const others = this.position === head ? this.#reading.others : atHead?.others;
    const later = this.#recent.filter(
      (entry) => entry.seq > head && entry.sender !== this.#me && counts(entry),
    );
    this.#reading.told(head, unread, others, BigInt(later.length));
  }

  #take(entries: readonly Entry[]): Entry[] {
    const taken = entries.map((entry) => ({ ...entry, others: this.#reading.took(entry, this.#me) }));
    if (taken.length > 0) this.#moved();
    // Whoever answers has accepted, without a word of the server.
    if (taken.some((entry) => entry.sender === this.#me && counts(entry))) this.#accepted();
    this.#recent.push(...taken);
    if (this.#recent.length > RECENT_MAX) this.#recent.splice(0, this.#recent.length - RECENT_MAX);
    return taken;
  }

  /** What Sync itself has told is nothing to tell the server. */
  #isTold(moves: number): void {
    this.hasMoved = false;
    this.moves = moves;
  }

  #moved(): void {
    this.hasMoved = true;
    this.moves++;
  }

  #accepted(): void {
    this.mustBeTold ||= this.isIgnored;
    this.#membership = { ...this.#membership, request: RequestState.NONE };
  }
}
