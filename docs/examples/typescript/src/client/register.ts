// A new account, on a connection of its own.

import { Connection } from "../connection/connection.js";
import type { Endpoint } from "../connection/endpoint.js";
import type { Init } from "../wire/codec.js";
import type { Register, Rules } from "../wire/messages.js";

/**
 * Returns the id of the new user. If the answer is lost (ConnectionEnded), a second try may say NAME_TAKEN
 * because of the first: try to log in then.
 */
export async function register(endpoint: Endpoint, account: Init<Register>): Promise<bigint> {
  const { connection } = await Connection.open(endpoint, DEAF);
  try {
    return (await connection.request("register", account)).userId;
  } finally {
    connection.close();
  }
}

/** What names and passwords must be like here, to tell a user before the server has to. */
export async function rulesOf(endpoint: Endpoint): Promise<Rules | undefined> {
  const { connection } = await Connection.open(endpoint, DEAF);
  connection.close();
  return connection.welcome.rules;
}

/** Who is not logged in gets no pushes, and a Close instead of GoAway. */
const DEAF = { pushed: () => {}, goingAway: () => {} };
