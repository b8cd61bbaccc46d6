// Arguments and the terminal, for the programs of this folder.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline/promises";
import { Writable } from "node:stream";
import { parseArgs } from "node:util";
import type { Endpoint } from "./connection/endpoint.js";

const USAGE = `
  --address HOST:PORT   where the server is (127.0.0.1:7410; with TLS 127.0.0.1:7411)
  --tls                 by TLS
  --ca FILE             PEM of a certificate to trust, as a server makes it for itself; implies --tls
  --user NAME           who to log in as; the password is asked for, or taken from DUNLIN_PASSWORD
  --register            makes the account first
  --invitation CODE     of whoever registers, if the server wants one
  --state FILE          where this device keeps what it must not lose (NAME.json)`;

export interface Arguments {
  readonly endpoint: Endpoint;
  readonly user: string;
  readonly isNew: boolean;
  readonly invitation: string;
  readonly statePath: string;
  readonly others: readonly string[];
}

/** Ends a program that could not do what it was asked for; what it said is why. */
export function endWith(error: Error, usage: string): void {
  const isUsage =
    error instanceof UsageError ||
    (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS") === true;
  console.error(isUsage ? `${error.message}\nusage: ${usage}${USAGE}` : error.message);
  process.exitCode = isUsage ? 2 : 1;
}

export class UsageError extends Error {
  override readonly name = "UsageError";
}

export function readArguments(): Arguments {
  const options = {
    address: { type: "string" },
    tls: { type: "boolean", default: false },
    ca: { type: "string" },
    user: { type: "string" },
    register: { type: "boolean", default: false },
    invitation: { type: "string", default: "" },
    state: { type: "string" },
  } as const;
  const { values, positionals } = parseArgs({ options, allowPositionals: true });
  const user = values.user;
  if (user === undefined) throw new UsageError("--user is missing");
  const isTls = values.tls === true || values.ca !== undefined;
  const address = values.address ?? (isTls ? "127.0.0.1:7411" : "127.0.0.1:7410");
  const tls = isTls && (values.ca === undefined ? {} : { ca: readFileSync(values.ca, "utf8") });
  const statePath = values.state ?? `${user}.json`;
  return {
    endpoint: { address, tls },
    user,
    isNew: values.register === true,
    invitation: values.invitation ?? "",
    statePath,
    others: positionals,
  };
}

export interface Account {
  readonly username: string;
  readonly password: string;
}

/** Asks once, and again only when what was said is refused; what the environment says is not said twice. */
export function asksPassword(username: string): (refused?: Error) => Promise<Account | undefined> {
  let known: string | undefined;
  return async (refused) => {
    const told = process.env["DUNLIN_PASSWORD"];
    if (refused !== undefined && told !== undefined) return undefined;
    if (refused !== undefined) known = undefined;
    known ??= told ?? (await askPassword(`password of ${username}: `));
    return { username, password: known };
  };
}

/** Without showing what is typed. */
async function askPassword(prompt: string): Promise<string> {
  process.stdout.write(prompt);
  const silent = new Writable({ write: (_chunk, _encoding, done) => done() });
  const terminal = createInterface({ input: process.stdin, output: silent, terminal: true });
  try {
    return await terminal.question("");
  } finally {
    terminal.close();
    process.stdout.write("\n");
  }
}
