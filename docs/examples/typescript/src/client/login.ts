// From an address to a connection that is logged in.

import { fromHex } from "../wire/bytes.js";
import { Connection, type Listener } from "../connection/connection.js";
import type { Endpoint } from "../connection/endpoint.js";
import { ConnectionEnded, Refused } from "../connection/errors.js";
import type { Book } from "../state/book.js";
import type { Init } from "../wire/codec.js";
import { CloseReason, DeviceKind, ErrorCode, type LoggedIn, type Login } from "../wire/messages.js";
import { Choice, type Credential, type Credentials } from "./credentials.js";
import type { Stopped } from "./events.js";

export interface Device {
  readonly kind: DeviceKind;
  /** Shown to the user in the list of sessions. */
  readonly name: string;
}

/** No login, and another try is of no use before somebody has done something. */
export class LoginImpossible extends Error {
  override readonly name = "LoginImpossible";
  readonly why: Stopped;

  constructor(why: Stopped, cause: Error | undefined) {
    super(cause?.message ?? why, { cause });
    this.why = why;
  }
}

/** Rejects with ConnectionEnded (try again later) or LoginImpossible. */
export async function logIn(
  endpoint: Endpoint,
  book: Book,
  credentials: Credentials,
  device: Device,
  listener: Listener,
): Promise<Connection> {
  const choice = new Choice(book, credentials);
  const first = await choice.first();
  if (first === undefined) throw new LoginImpossible("needs a login", undefined);
  const { connection, firstLogin } = await Connection.open(endpoint, listener, loginOf(first, book, device));
  try {
    const answer = await tryAll(connection, firstLogin as Promise<LoggedIn>, first, choice, book, device);
    connection.loggedIn();
    book.loggedIn(answer, Date.now());
    await book.save();
    return connection;
  } catch (error) {
    connection.close();
    // The server says why it closed a connection after too many failures.
    throw error instanceof Refused
      ? new ConnectionEnded(CloseReason.SERVER_ERROR, error.message, { delayMs: error.retryAfterMs })
      : error;
  }
}

async function tryAll(
  connection: Connection,
  firstLogin: Promise<LoggedIn>,
  first: Credential,
  choice: Choice,
  book: Book,
  device: Device,
): Promise<LoggedIn> {
  let credential = first;
  let answer = firstLogin;
  for (;;) {
    try {
      return await answer;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      const verdict = await choice.refused(credential, error);
      await book.save();
      if (verdict.kind === "later") throw error;
      if (verdict.kind === "stop") throw new LoginImpossible(whyOf(error), error);
      credential = verdict.credential;
      answer = connection.request("login", loginOf(credential, book, device));
    }
  }
}

function loginOf(credential: Credential, book: Book, device: Device): Init<Login> {
  const { refresh, renewMs } = book.tokens;
  // An issuer's user has no tokens to want.
  const isOwn = credential.case === "resumeToken" || credential.case === "accessToken";
  const wantTokens = isOwn && renewMs !== undefined && (refresh === undefined || renewMs <= Date.now());
  return { credential, device: { deviceId: fromHex(book.deviceId), ...device }, wantTokens };
}

function whyOf({ code }: Refused): Stopped {
  switch (code) {
    case ErrorCode.OVERTAKEN:
      return "replaced";
    case ErrorCode.ACCOUNT_DISABLED:
      return "account disabled";
    default:
      return code >= 200 && code < 300 ? "needs a login" : "gave up";
  }
}
