// The golden vectors of protocol/tests/data, and protobuf JSON as they write it.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { AnyMessageType, Field } from "../src/wire/codec.js";
import * as messages from "../src/wire/messages.js";

/** From build/test/ to the root of the tree. */
const DATA = new URL("../../../../../protocol/tests/data/", import.meta.url);

export function vectors<T>(name: string): readonly T[] {
  const text = readFileSync(fileURLToPath(new URL(name, DATA)), "utf8");
  return (JSON.parse(text) as { vectors: T[] }).vectors;
}

type Values = Record<string, unknown>;
export type Json = Record<string, unknown>;

/** A message as protobuf JSON with the names of the .proto files, defaults left out. */
export function toJson(type: AnyMessageType, message: object): Json {
  const json: Json = {};
  for (const field of type.fields) {
    const value = chosen(field, message as Values);
    if (field.label === "many") {
      const values = value as unknown[];
      if (values.length > 0) json[field.protoName] = values.map((each) => scalar(field, each));
    } else if (value !== undefined && (isPresent(field) || !isDefault(value))) {
      json[field.protoName] = scalar(field, value);
    }
  }
  return json;
}

function chosen(field: Field, message: Values): unknown {
  if (field.oneof === undefined) return message[field.name];
  const oneof = message[field.oneof] as { case: string; value: unknown } | undefined;
  return oneof?.case === field.name ? oneof.value : undefined;
}

function isPresent(field: Field): boolean {
  return field.kind === "message" || field.oneof !== undefined || field.label === "optional";
}

function isDefault(value: unknown): boolean {
  return value instanceof Uint8Array ? value.length === 0 : [0, 0n, false, ""].includes(value as number);
}

function scalar(field: Field, value: unknown): unknown {
  if (field.type !== undefined) return toJson(field.type(), value as object);
  if (typeof value === "bigint") return value.toString();
  return value instanceof Uint8Array ? Buffer.from(value).toString("base64") : value;
}

/** The vectors name values of enums: made the numbers that the codec knows them by. */
export function withEnumNumbers(json: unknown): unknown {
  if (Array.isArray(json)) return json.map(withEnumNumbers);
  if (typeof json === "string") return enumNumbers().get(json) ?? json;
  if (typeof json !== "object" || json === null) return json;
  return Object.fromEntries(Object.entries(json).map(([name, value]) => [name, withEnumNumbers(value)]));
}

let numbers: ReadonlyMap<string, number> | undefined;

function enumNumbers(): ReadonlyMap<string, number> {
  if (numbers !== undefined) return numbers;
  const found = new Map<string, number>();
  for (const [name, exported] of Object.entries(messages) as [string, Values][]) {
    if ("fields" in exported) continue;
    const prefix = name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase();
    for (const [value, number] of Object.entries(exported)) found.set(`${prefix}_${value}`, number as number);
  }
  numbers = found;
  return found;
}
