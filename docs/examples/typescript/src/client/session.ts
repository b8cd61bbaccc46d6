// What goes on over one connection from LoggedIn on.

import type { Connection } from "../connection/connection.js";
import { ConnectionEnded } from "../connection/errors.js";
import type { Body } from "../connection/requests.js";
import type { Change, Conversation } from "../conversation/conversation.js";
import { entryOf, type Draft } from "../conversation/entry.js";
import { idOf } from "../conversation/id.js";
import { membershipOf } from "../conversation/membership.js";
import type { Book } from "../state/book.js";
import type { Behind, Membership, Push, ReadReceipt, Setting } from "../wire/messages.js";
import type { Emit } from "./events.js";
import { Fetcher } from "./fetcher.js";
import { pauseOn, type Live } from "./live.js";
import { Marker } from "./marker.js";
import { renewing } from "./renewal.js";
import { Sender } from "./sender.js";
import { Syncer } from "./syncer.js";

export interface Wishes {
  /** Gaps are fetched, not left out. */
  readonly fetchesAll: boolean;
  /** What an older state of the server lacks is sent again. */
  readonly resends: boolean;
}

export class Session implements Live {
  readonly connection: Connection;
  readonly book: Book;
  readonly fetchesAll: boolean;
  readonly emit: Emit;
  /** The fault of this client or of its state that has ended the session, if one has. */
  problem: Error | undefined;
  readonly #syncer = new Syncer(this);
  readonly #sender = new Sender(this);
  readonly #fetcher = new Fetcher(this, (id) => this.#sender.isSending(id));
  readonly #marker = new Marker(this);
  readonly #resends: boolean;
  #hasSynced = false;

  constructor(connection: Connection, book: Book, wishes: Wishes, emit: Emit) {
    this.connection = connection;
    this.book = book;
    this.fetchesAll = wishes.fetchesAll;
    this.#resends = wishes.resends;
    this.emit = emit;
  }

  /** Resolves when this device has what the server has, and everything that waits is on its way. */
  async begin(): Promise<void> {
    await this.#syncer.run();
    this.#hasSynced = true;
    this.kick();
    this.background(renewing(this));
  }

  /** Something waits to be sent, to be marked, or to be fetched. */
  kick(): void {
    if (!this.#hasSynced) return;
    this.#sender.kick();
    for (const conversation of this.book.conversations.values()) {
      this.#marker.kick(conversation);
      this.#fetcher.kick(conversation);
    }
  }

  pushed(body: Body): void {
    switch (body.case) {
      case "push":
        return this.#push(body.value);
      case "behind":
        return this.#behind(body.value);
      case "readReceipt":
        return this.#receipt(body.value);
      case "membership":
        return this.isNow(body.value);
      case "setting":
        return this.set(body.value);
      case "signal":
        this.emit("signal", body.value);
        return;
      default:
        return; // Of a later version.
    }
  }

  changed(conversation: Conversation, change: Change): void {
    if (change.forgot === true) this.emit("forgotten", conversation.id);
    if (change.lost !== undefined) this.lost(change.lost);
    for (const entry of change.taken) {
      const id = entry.sender === this.book.me ? entry.message?.id : undefined;
      if (id !== undefined && this.book.dequeue(id)) this.emit("sent", id, conversation.id, entry.seq);
      this.emit("entry", conversation.id, entry);
    }
    if (change.leftOut !== undefined) {
      this.emit("leftOut", conversation.id, change.leftOut.from, change.leftOut.to);
    }
    this.emit("changed", conversation.id);
    // Whatever tells of a conversation names it.
    this.book.listing?.conversations.add(conversation.id);
    if (change.needsSync === true) this.resync();
    this.#fetcher.kick(conversation);
    this.background(this.book.save());
  }

  isNow(membership: Membership): void {
    const conversation = this.book.conversation(idOf(membership.conversationId));
    this.changed(conversation, conversation.isNow(membershipOf(membership)));
  }

  set(setting: Setting): void {
    this.book.listing?.settings.add(setting.key);
    if (!this.book.set(setting)) return;
    this.emit("setting", setting.key, setting.value.length === 0 ? undefined : setting.value);
    this.background(this.book.save());
  }

  epochChanged(epoch: bigint): void {
    if (this.book.epoch === epoch) return;
    this.lost(this.book.forgetLogs(epoch));
    this.emit("forgotten", undefined);
    this.resync();
  }

  lost(drafts: readonly Draft[]): void {
    if (!this.#resends || drafts.length === 0) return;
    this.book.enqueueAgain(drafts);
    // Not before the entries of this answer have told which of them are there.
    setTimeout(() => this.kick(), 0);
  }

  resync(): void {
    this.background(this.#syncer.run());
  }

  pause(ms: number): Promise<void> {
    return pauseOn(this.connection, ms);
  }

  background(work: Promise<void>): void {
    work.catch((error: Error) => {
      if (error instanceof ConnectionEnded) return;
      this.problem ??= error;
      this.connection.close();
    });
  }

  #push({ conversationId, entry }: Push): void {
    if (entry === undefined) return;
    const isNew = !this.book.conversations.has(idOf(conversationId));
    const conversation = this.book.conversation(idOf(conversationId));
    // A message of one's own on another device is the answer that ends it, as any is.
    if (isNew) conversation.begins();
    this.changed(conversation, conversation.offer(entryOf(entry, conversation.id, this.book.me)));
  }

  #behind({ conversationId, head }: Behind): void {
    if (conversationId.length === 0) return this.resync();
    const conversation = this.book.conversation(idOf(conversationId));
    conversation.know(head);
    this.#fetcher.kick(conversation);
  }

  #receipt(receipt: ReadReceipt): void {
    const conversation = this.book.conversation(idOf(receipt.conversationId));
    this.changed(conversation, conversation.receipt(receipt));
  }
}
