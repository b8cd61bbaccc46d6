// How a request, and how a connection can end.

import { nameOf } from "../wire/codes.js";
import { CloseReason, ErrorCode, type Error as WireError, type Setting } from "../wire/messages.js";

/** The server has answered a request with Error. */
export class Refused extends Error {
  override readonly name = "Refused";
  readonly code: number;
  /** When to try again; 0 leaves it to the client. */
  readonly retryAfterMs: number;
  /** The field of the request that is wrong, as the .proto files spell it. */
  readonly field: string;
  /** With VERSION_CONFLICT: the setting as it is. */
  readonly setting: Setting | undefined;

  constructor(error: WireError) {
    super(
      `${nameOf(ErrorCode, error.code)}${error.field === "" ? "" : ` (${error.field})`}: ${error.message}`,
    );
    this.code = error.code;
    this.retryAfterMs = error.retryAfterMs;
    this.field = error.field;
    this.setting = error.setting;
  }
}

/** A request that the server would refuse at the cost of the connection: it was not sent. */
export class TooLarge extends Error {
  override readonly name = "TooLarge";
}

/** The connection is gone. What was under way may have been carried out or not. */
export class ConnectionEnded extends Error {
  override readonly name = "ConnectionEnded";
  readonly reason: number;
  /** What the server asked for; 0 leaves it to the client. */
  readonly delayMs: number;
  /** Where to connect next, once, if the server has named a place. */
  readonly address: string;
  /** The certificate of the server is not to be trusted, which does not get better by itself. */
  readonly isDistrusted: boolean;

  constructor(
    reason: number,
    detail: string,
    more: { delayMs?: number; address?: string; isDistrusted?: boolean; cause?: unknown } = {},
  ) {
    super(`${nameOf(CloseReason, reason)}: ${detail}`, { cause: more.cause });
    this.reason = reason;
    this.delayMs = more.delayMs ?? 0;
    this.address = more.address ?? "";
    this.isDistrusted = more.isDistrusted ?? false;
  }
}
