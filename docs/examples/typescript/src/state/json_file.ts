// Durable state as a JSON file that is written anew each time: good for thousands of messages, and
// for reading it. A client with more keeps entries in a database and implements DurableState on that.

import { open, readFile, rename } from "node:fs/promises";
import { dirname } from "node:path";
import type { DurableState, Saved } from "./saved.js";

const VERSION = 1;

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
    const { version, saved } = JSON.parse(text, fromJson) as { version: number; saved: Saved };
    if (version !== VERSION) throw new Error(`${this.#path} has the version ${version}, not ${VERSION}`);
    return saved;
  }

  /** The old file is there until the new one is whole; both are for their owner alone, since they have tokens. */
  async save(saved: Saved): Promise<void> {
    const beside = `${this.#path}.new`;
    const file = await open(beside, "w", 0o600);
    try {
      await file.writeFile(JSON.stringify({ version: VERSION, saved }, toJson));
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(beside, this.#path);
    const folder = await open(dirname(this.#path), "r");
    await folder.sync().finally(() => folder.close());
  }
}

/** `this` has the value before Buffer.toJSON. */
function toJson(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (typeof raw === "bigint") return { $number: raw.toString() };
  return raw instanceof Uint8Array ? { $bytes: Buffer.from(raw).toString("base64") } : value;
}

function fromJson(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const { $number, $bytes } = value as { $number?: string; $bytes?: string };
  if ($number !== undefined) return BigInt($number);
  return $bytes === undefined ? value : Uint8Array.from(Buffer.from($bytes, "base64"));
}
