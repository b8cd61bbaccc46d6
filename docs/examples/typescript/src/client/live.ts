// What the parts of a live session share: the connection, the book, and what follows from a change.

import type { Connection } from "../connection/connection.js";
import type { Change, Conversation } from "../conversation/conversation.js";
import type { Draft } from "../conversation/entry.js";
import type { Book } from "../state/book.js";
import type { Setting } from "../wire/messages.js";
import type { Emit } from "./events.js";

export interface Live {
  readonly connection: Connection;
  readonly book: Book;
  /** Whether gaps are fetched, or left to `history`. */
  readonly fetchesAll: boolean;
  readonly emit: Emit;
  /** Tells the program, and whoever has to do something about it. */
  changed(conversation: Conversation, change: Change): void;
  /** One of the user's settings, wherever it was heard of. */
  set(setting: Setting): void;
  /** Another epoch: all is to be told anew. */
  epochChanged(epoch: bigint): void;
  /** An older state of the server may lack these messages of this user: they are sent again, if that is wanted. */
  lost(drafts: readonly Draft[]): void;
  /** Syncs once more. */
  resync(): void;
  /** Rejects with ConnectionEnded when the connection ends meanwhile. */
  pause(ms: number): Promise<void>;
  /** For work that nobody awaits: the end of the connection is its end, and anything else ends the connection. */
  background(work: Promise<void>): void;
}

/** A pause that the end of the connection cuts short. Nothing of it is left behind, however many there are. */
export function pauseOn(connection: Connection, ms: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      callOff();
      resolve();
    }, ms);
    const callOff = connection.onEnded((end) => {
      clearTimeout(timer);
      reject(end);
    });
  });
}
