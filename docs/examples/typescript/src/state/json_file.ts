// Durable state as a JSON file that is written anew each time: good for thousands of messages, and
// for reading it. A client with more keeps entries in a database and implements DurableState on that.

import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import { parse, stringify } from "./json.js";
import type { DurableState, Saved } from "./saved.js";

export class JsonFileState implements DurableState {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  async load(): Promise<Saved | undefined> {
    const text = await readFile(this.#path, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return undefined;
      throw error;
    });
    if (text === undefined) return undefined;
    try {
      return parse(text);
    } catch (error) {
      throw new Error(`${this.#path}: ${(error as Error).message}`, { cause: error });
    }
  }

  /** The old file is there until the new one is whole; both are for their owner alone, since they have tokens. */
  async save(saved: Saved): Promise<void> {
    const beside = `${this.#path}.new`;
    const file = await open(beside, "w", 0o600);
    try {
      await file.writeFile(stringify(saved));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, this.#path);
    const folder = await open(dirname(this.#path), "r");
    await folder.sync().finally(() => folder.close());
  }
}
