// Makes src/wire/messages.ts, the messages as types and tables, from the .proto files:
//
//   node build/generator/generate.js FOLDER_OF_PROTO_FILES OUTPUT

import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseProto, type ProtoEnum, type ProtoField, type ProtoMessage } from "./proto.js";

/** The scalar types that the codec knows, and what they are in TypeScript. */
const SCALARS = new Map([
  ["uint32", "number"],
  ["uint64", "bigint"],
  ["fixed64", "bigint"],
  ["bool", "boolean"],
  ["string", "string"],
  ["bytes", "Uint8Array"],
]);

function main(folder: string, output: string): void {
  const files = readdirSync(folder)
    .filter((name) => name.endsWith(".proto"))
    .sort();
  const parsed = files.map((name) => parseProto(readFileSync(join(folder, name), "utf8")));
  const enums = parsed.flatMap((file) => file.enums);
  const messages = parsed.flatMap((file) => file.messages);
  const names = {
    enums: new Set(enums.map((each) => each.name)),
    messages: new Set(messages.map((each) => each.name)),
  };
  const parts = [
    `// Made by generator/generate.ts from ${files.join(", ")}: do not edit.`,
    `import { messageType, type MessageType } from "./codec.js";`,
    ...enums.map(enumText),
    ...messages.map((message) => messageText(message, names)),
  ];
  writeFileSync(output, `${parts.join("\n\n")}\n`);
}

interface Names {
  readonly enums: ReadonlySet<string>;
  readonly messages: ReadonlySet<string>;
}

function camel(name: string): string {
  return name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());
}

/** An enum is an open set of numbers: a later server has values that this client does not know. */
function enumText({ name, values }: ProtoEnum): string {
  const prefix = `${name.replace(/([a-z0-9])([A-Z])/g, "$1_$2").toUpperCase()}_`;
  const lines = values.map((value) => {
    const short = value.name.startsWith(prefix) ? value.name.slice(prefix.length) : value.name;
    return `  ${short}: ${value.number},`;
  });
  return [`export type ${name} = number;`, `export const ${name} = {`, ...lines, "} as const;"].join("\n");
}

function messageText(message: ProtoMessage, names: Names): string {
  const oneofs = new Set(message.fields.flatMap((field) => field.oneof ?? []));
  const properties = message.fields
    .filter((field) => field.oneof === undefined)
    .map((field) => `  ${camel(field.name)}: ${propertyType(field, names)};`);
  for (const oneof of oneofs) {
    const cases = message.fields
      .filter((field) => field.oneof === oneof)
      .map((field) => `    | { case: "${camel(field.name)}"; value: ${valueType(field, names)} }`);
    properties.push([`  ${camel(oneof)}:`, ...cases, "    | undefined;"].join("\n"));
  }
  const rows = message.fields.map((field) => `  ${fieldText(field, names)},`);
  return [
    `export interface ${message.name} {`,
    ...properties,
    "}",
    `export const ${message.name}: MessageType<${message.name}> = messageType("${message.name}", [`,
    ...rows,
    "]);",
  ].join("\n");
}

function valueType(field: ProtoField, names: Names): string {
  const type = SCALARS.get(field.type) ?? field.type;
  if (!SCALARS.has(field.type) && !names.enums.has(type) && !names.messages.has(type)) {
    throw new Error(`${field.name} has the type ${field.type}, which the codec does not know`);
  }
  return type;
}

function propertyType(field: ProtoField, names: Names): string {
  const type = valueType(field, names);
  if (field.label === "many") return `${type}[]`;
  return field.label === "optional" || names.messages.has(type) ? `${type} | undefined` : type;
}

function fieldText(field: ProtoField, names: Names): string {
  const isMessage = names.messages.has(field.type);
  const kind = isMessage ? "message" : names.enums.has(field.type) ? "enum" : field.type;
  const parts = [
    `number: ${field.number}`,
    `name: "${camel(field.name)}"`,
    `protoName: "${field.name}"`,
    `kind: "${kind}"`,
    `label: "${field.label}"`,
  ];
  if (field.oneof !== undefined) parts.push(`oneof: "${camel(field.oneof)}"`);
  if (isMessage) parts.push(`type: () => ${field.type}`);
  return `{ ${parts.join(", ")} }`;
}

const [folder, output] = process.argv.slice(2);
if (folder === undefined || output === undefined) {
  console.error("usage: generate FOLDER_OF_PROTO_FILES OUTPUT");
  process.exit(2);
}
main(folder, output);
