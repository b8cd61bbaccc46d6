// What a client must find again when it was killed and started anew.

import type { Draft } from "../conversation/entry.js";
import type { SavedConversation } from "../conversation/conversation.js";

/** A credential of this server, and until when it is good by our own clock. */
export interface SavedToken {
  /** Of a resume token, base64. */
  readonly token: string;
  readonly expiresMs: number;
}

export interface SavedTokens {
  readonly resume?: SavedToken;
  readonly access?: SavedToken;
  readonly refresh?: SavedToken;
  /** When it is time for new ones: half of the life of the session. */
  readonly renewMs?: number;
}

export interface SavedUser {
  readonly userId: bigint;
  readonly username: string;
  readonly displayName: string;
}

export interface SavedSetting {
  readonly key: string;
  /** Empty: it was removed. Kept, so that an older word of it is known for one. */
  readonly value: Uint8Array;
  readonly version: bigint;
}

/** What was named so far by answers that tell everything anew: at their end the rest is gone. */
export interface SavedListing {
  readonly conversations: readonly string[];
  readonly settings: readonly string[];
}

/** One version of everything. To write it is all or nothing: a position without its entries would lose them. */
export interface Saved {
  /** 16 bytes in hex, chosen once by this installation. */
  readonly deviceId: string;
  readonly account: { readonly userId: bigint; readonly username: string } | undefined;
  readonly tokens: SavedTokens;
  readonly epoch: bigint;
  /** Stands for all that is here; only the server understands it. */
  readonly syncToken: Uint8Array;
  readonly listing: SavedListing | undefined;
  readonly conversations: readonly SavedConversation[];
  /** What is not acknowledged, oldest first. */
  readonly outbox: readonly Draft[];
  readonly users: readonly SavedUser[];
  readonly settings: readonly SavedSetting[];
}

/** Where a client keeps what it must not lose. */
export interface DurableState {
  load(): Promise<Saved | undefined>;
  /** Resolves when a crash can't take it back any more. Never called again before it has. */
  save(saved: Saved): Promise<void>;
}

/** For tests, and for programs that may begin anew each time. */
export class MemoryState implements DurableState {
  #saved: Saved | undefined;

  load(): Promise<Saved | undefined> {
    return Promise.resolve(this.#saved);
  }

  save(saved: Saved): Promise<void> {
    this.#saved = saved;
    return Promise.resolve();
  }
}
