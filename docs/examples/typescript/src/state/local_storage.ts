// The durable state of a page, in the storage of its browser.

import { parse, stringify } from "./json.js";
import type { DurableState, Saved } from "./saved.js";

/** As much of `localStorage` as is used here. */
export interface TextStorage {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** One key for each user; two pages with the same would take each other's place. */
export class LocalStorageState implements DurableState {
  readonly #storage: TextStorage;
  readonly #key: string;

  constructor(storage: TextStorage, key: string) {
    this.#storage = storage;
    this.#key = key;
  }

  async load(): Promise<Saved | undefined> {
    const text = this.#storage.getItem(this.#key);
    return text === null ? undefined : parse(text);
  }

  async save(saved: Saved): Promise<void> {
    this.#storage.setItem(this.#key, stringify(saved));
  }
}
