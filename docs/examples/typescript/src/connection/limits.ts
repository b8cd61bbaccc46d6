// What a server holds its clients to: what Welcome says, and what docs/protocol.md says of the rest.

import type { Limits } from "../wire/messages.js";
import type { RequestName } from "./requests.js";

export interface KnownLimits {
  readonly heartbeatIntervalMs: number;
  readonly requestsOutstandingMax: number;
  readonly contentBytesMax: number;
  readonly historyEntriesMax: number;
  readonly syncPositionsMax: number;
  readonly syncEntriesMax: number;
  readonly findUsersMax: number;
  /** The largest body of a request. */
  requestBytesMax(name: RequestName, isLoggedIn: boolean): number;
}

export function limitsOf(told: Limits | undefined): KnownLimits {
  const contentBytesMax = told?.contentBytesMax || 65_536;
  const beforeLogin = told?.frameBytesMaxBeforeLogin || 65_536;
  const largest = told?.frameBytesMax || 1_048_576;
  const small = told?.smallFrameBytesMax || largest;
  return {
    heartbeatIntervalMs: told?.heartbeatIntervalMs || 60_000,
    requestsOutstandingMax: told?.requestsOutstandingMax || 256,
    contentBytesMax,
    historyEntriesMax: told?.historyEntriesMax || 1_000,
    syncPositionsMax: told?.syncPositionsMax || 10_000,
    syncEntriesMax: told?.syncEntriesMax || 100,
    findUsersMax: told?.findUsersMax || 100,
    requestBytesMax(name, isLoggedIn) {
      if (!isLoggedIn) return beforeLogin;
      if (name === "sync") return largest;
      return name === "send" ? Math.min(largest, small + contentBytesMax) : small;
    },
  };
}
