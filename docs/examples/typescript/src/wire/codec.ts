// Messages to bytes and back, by the tables that the generator makes of the .proto files.

import { DELIMITED, FIXED64, Malformed, Reader, VARINT, type Tag } from "./reader.js";
import { utf8 } from "./bytes.js";
import { Writer } from "./writer.js";

export type Kind = "uint32" | "uint64" | "fixed64" | "bool" | "enum" | "string" | "bytes" | "message";

export interface Field {
  readonly number: number;
  readonly name: string;
  /** As the .proto file, protobuf JSON and Error.field spell it. */
  readonly protoName: string;
  readonly kind: Kind;
  /** "optional" tells a default value from one that is not there. */
  readonly label: "one" | "many" | "optional";
  readonly oneof?: string;
  /** Of a message. A function, since messages name each other in any order. */
  readonly type?: () => AnyMessageType;
}

export interface AnyMessageType {
  readonly name: string;
  readonly fields: readonly Field[];
  readonly byNumber: ReadonlyMap<number, Field>;
}

/** The table of a message; the type beside it is what `decode` makes. */
export interface MessageType<T> extends AnyMessageType {
  /** Never there: it ties the table to its type. */
  readonly made?: T;
}

/** A message to be encoded: what is left out has its default. */
export type Init<T> = T extends Uint8Array
  ? T
  : T extends readonly (infer E)[]
    ? readonly Init<E>[]
    : T extends { case: infer C; value: infer V }
      ? { readonly case: C; readonly value: Init<V> }
      : T extends object
        ? { readonly [K in keyof T]?: Init<T[K]> | undefined }
        : T;

export function messageType<T>(name: string, fields: readonly Field[]): MessageType<T> {
  return { name, fields, byNumber: new Map(fields.map((field) => [field.number, field])) };
}

type Values = Record<string, unknown>;
interface Case {
  readonly case: string;
  readonly value: unknown;
}

// --- writing ---------------------------------------------------------------------------------

export function encode<T>(type: MessageType<T>, message: Init<T>): Uint8Array {
  const writer = new Writer();
  for (const field of type.fields) {
    const value = valueOf(field, message as Values);
    if (value === undefined) continue;
    if (field.label === "many") writeMany(writer, field, value as readonly unknown[]);
    else if (hasPresence(field) || !isDefault(value)) writeOne(writer, field, value);
  }
  return writer.finish();
}

function valueOf(field: Field, message: Values): unknown {
  if (field.oneof === undefined) return message[field.name];
  const chosen = message[field.oneof] as Case | undefined;
  return chosen?.case === field.name ? chosen.value : undefined;
}

function hasPresence(field: Field): boolean {
  return field.kind === "message" || field.label === "optional" || field.oneof !== undefined;
}

function isDefault(value: unknown): boolean {
  if (value instanceof Uint8Array) return value.length === 0;
  return value === "" || value === false || value === 0 || value === 0n;
}

/** Numbers go packed, as proto3 has it. */
function writeMany(writer: Writer, field: Field, values: readonly unknown[]): void {
  if (wireOf(field) === DELIMITED) {
    for (const value of values) writeOne(writer, field, value);
  } else if (values.length > 0) {
    const packed = new Writer();
    for (const value of values) writeValue(packed, field, value);
    writer.varint(field.number * 8 + DELIMITED).delimited(packed.finish());
  }
}

function writeOne(writer: Writer, field: Field, value: unknown): void {
  writer.varint(field.number * 8 + wireOf(field));
  writeValue(writer, field, value);
}

function writeValue(writer: Writer, field: Field, value: unknown): void {
  switch (field.kind) {
    case "uint32":
    case "enum":
      writer.varint(value as number);
      return;
    case "uint64":
      writer.varint(value as bigint);
      return;
    case "bool":
      writer.varint(value === true ? 1 : 0);
      return;
    case "fixed64":
      writer.fixed64(value as bigint);
      return;
    case "string":
      writer.delimited(utf8(value as string));
      return;
    case "bytes":
      writer.delimited(value as Uint8Array);
      return;
    case "message":
      writer.delimited(encode(typeOf(field), value as Values));
      return;
  }
}

function wireOf(field: Field): number {
  switch (field.kind) {
    case "uint32":
    case "enum":
    case "uint64":
    case "bool":
      return VARINT;
    case "fixed64":
      return FIXED64;
    case "string":
    case "bytes":
    case "message":
      return DELIMITED;
  }
}

function typeOf(field: Field): AnyMessageType {
  if (field.type === undefined) throw new Error(`${field.name} is no message`);
  return field.type();
}

// --- reading ---------------------------------------------------------------------------------

/** Throws Malformed. Bytes in what it returns are views of `bytes`. */
export function decode<T>(type: MessageType<T>, bytes: Uint8Array): T {
  return decodeInto(type, bytes, blank(type)) as T;
}

function blank(type: AnyMessageType): Values {
  const message: Values = {};
  for (const field of type.fields) {
    if (field.oneof !== undefined) message[field.oneof] = undefined;
    else
      message[field.name] =
        field.label === "many" ? [] : hasPresence(field) ? undefined : defaultOf(field.kind);
  }
  return message;
}

function defaultOf(kind: Kind): unknown {
  switch (kind) {
    case "uint32":
    case "enum":
      return 0;
    case "uint64":
    case "fixed64":
      return 0n;
    case "bool":
      return false;
    case "string":
      return "";
    case "bytes":
      return new Uint8Array();
    case "message":
      return undefined;
  }
}

/** The messages of the protocol do not contain themselves, so their depth is bounded by the tables. */
function decodeInto(type: AnyMessageType, bytes: Uint8Array, message: Values): Values {
  const reader = new Reader(bytes);
  while (!reader.done) {
    const tag = reader.tag();
    const field = type.byNumber.get(tag.field);
    if (field === undefined) reader.skip(tag);
    else readField(reader, field, tag, message);
  }
  return message;
}

function readField(reader: Reader, field: Field, tag: Tag, message: Values): void {
  if (field.label === "many") {
    readMany(reader, field, tag, message[field.name] as unknown[]);
  } else if (tag.wire !== wireOf(field)) {
    throw new Malformed(`${field.protoName} has the wire type ${tag.wire}`);
  } else if (field.oneof === undefined) {
    message[field.name] = readValue(reader, field, message[field.name]);
  } else {
    const before = valueOf(field, message);
    message[field.oneof] = { case: field.name, value: readValue(reader, field, before) };
  }
}

function readMany(reader: Reader, field: Field, tag: Tag, into: unknown[]): void {
  if (tag.wire === wireOf(field)) {
    into.push(readValue(reader, field, undefined));
  } else if (tag.wire === DELIMITED) {
    const packed = new Reader(reader.delimited());
    while (!packed.done) into.push(readValue(packed, field, undefined));
  } else {
    throw new Malformed(`${field.protoName} has the wire type ${tag.wire}`);
  }
}

/** `before` is what the field had already: the parts of a message that comes in pieces are merged. */
function readValue(reader: Reader, field: Field, before: unknown): unknown {
  switch (field.kind) {
    case "uint32":
      return Number(BigInt.asUintN(32, reader.varint()));
    case "enum":
      return Number(BigInt.asIntN(32, reader.varint()));
    case "uint64":
      return reader.varint();
    case "bool":
      return reader.varint() !== 0n;
    case "fixed64":
      return reader.fixed64();
    case "string":
      return reader.text();
    case "bytes":
      return reader.delimited();
    case "message": {
      const type = typeOf(field);
      return decodeInto(type, reader.delimited(), (before as Values | undefined) ?? blank(type));
    }
  }
}
