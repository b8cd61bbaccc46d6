// What a conversation is to this user beside what is said in it: whether it is a stranger's request,
// hidden, marked, cleared.

import { RequestState, type Membership as WireMembership } from "../wire/messages.js";

export interface Membership {
  readonly request: RequestState;
  /** Not shown in the list as long as the head is not higher. */
  readonly hiddenUpTo: bigint;
  /** The user wants to come back to it; whoever opens it takes the mark off. */
  readonly isMarkedUnread: boolean;
  /** Nothing below is there for this user. */
  readonly visibleFrom: bigint;
  readonly othersCleared: bigint;
  readonly version: bigint;
}

export const PLAIN: Membership = {
  request: RequestState.NONE,
  hiddenUpTo: 0n,
  isMarkedUnread: false,
  visibleFrom: 0n,
  othersCleared: 0n,
  version: 0n,
};

export function membershipOf(wire: WireMembership): Membership {
  const { request, hiddenUpTo, markedUnread: isMarkedUnread, visibleFrom, othersCleared, version } = wire;
  return { request, hiddenUpTo, isMarkedUnread, visibleFrom, othersCleared, version };
}
