// The durable state as text: JSON, with large numbers and bytes in it.

import { fromBase64, toBase64 } from "../wire/bytes.js";
import type { Saved } from "./saved.js";

const VERSION = 1;

export function stringify(saved: Saved): string {
  return JSON.stringify({ version: VERSION, saved }, toJson);
}

export function parse(text: string): Saved {
  const { version, saved } = JSON.parse(text, fromJson) as { version: number; saved: Saved };
  if (version !== VERSION) throw new Error(`the state has the version ${version}, not ${VERSION}`);
  return saved;
}

/** `this` has the value before Buffer.toJSON. */
function toJson(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const raw = this[key];
  if (typeof raw === "bigint") return { $number: raw.toString() };
  return raw instanceof Uint8Array ? { $bytes: toBase64(raw) } : value;
}

function fromJson(_: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  const { $number, $bytes } = value as { $number?: string; $bytes?: string };
  if ($number !== undefined) return BigInt($number);
  return $bytes === undefined ? value : fromBase64($bytes);
}
