// What a client does about errors and ends of connections: the tables of docs/protocol.md, section 19.

import { CloseReason, ErrorCode } from "./messages.js";

/** What an error code asks for; a code that is not known is acted on by its hundred. */
export type ErrorClass = "request" | "credentials" | "not now" | "forbidden" | "server";

const CLASSES = new Map<number, ErrorClass>([
  [1, "request"],
  [2, "credentials"],
  [3, "not now"],
  [4, "forbidden"],
  [5, "server"],
]);

export function classOf(code: number): ErrorClass {
  return CLASSES.get(Math.floor(code / 100)) ?? "server";
}

/** Whether a request that was answered so may be repeated as it is, after a while. */
export function isWorthRepeating(code: number): boolean {
  switch (classOf(code)) {
    case "not now":
      return true;
    case "server":
      return code !== ErrorCode.DATA_CORRUPT;
    case "request":
      return code === ErrorCode.NOT_LOGGED_IN;
    case "credentials":
      return true; // Of a request that is no Login: the connection has to be made anew.
    case "forbidden":
      return false;
  }
}

/** What follows from the end of a connection. */
export type AfterClose =
  /** Come back, after the delay that was told, or else with backoff. */
  | "reconnect"
  /** Come back only when the user wants it; the tokens may be good. */
  | "ask the user"
  /** The same, and no token is good. */
  | "forget the tokens"
  /** This program is wrong or too old: coming back does not help. */
  | "give up";

export function afterClose(reason: number): AfterClose {
  switch (reason) {
    case CloseReason.REPLACED:
    case CloseReason.RECONNECTED:
    case CloseReason.ACCOUNT_DISABLED:
    case CloseReason.LOGIN_FAILED:
      return "ask the user";
    case CloseReason.LOGGED_OUT:
      return "forget the tokens";
    case CloseReason.MALFORMED_FRAME:
    case CloseReason.PROTOCOL_VIOLATION:
    case CloseReason.UNSUPPORTED_VERSION:
      return "give up";
    default:
      return "reconnect"; // As for a reason that is not known.
  }
}

/** The name of a code or reason, for logs. */
export function nameOf(names: Readonly<Record<string, number>>, number: number): string {
  return Object.keys(names).find((name) => names[name] === number) ?? String(number);
}
