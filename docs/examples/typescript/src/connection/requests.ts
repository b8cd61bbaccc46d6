// Which response belongs to which request.

import type { Frame } from "../wire/messages.js";

export type Body = NonNullable<Frame["body"]>;
export type BodyOf<C extends Body["case"]> = Extract<Body, { case: C }>["value"];

export const ANSWERS = {
  hello: "welcome",
  register: "registered",
  login: "loggedIn",
  refresh: "tokens",
  logout: "done",
  listSessions: "sessions",
  changePassword: "done",
  findUsers: "users",
  sync: "synced",
  send: "sent",
  history: "historyPage",
  markRead: "readReceipt",
  signal: "done",
  findMessage: "foundMessage",
  setSetting: "setting",
  updateConversation: "membership",
} as const satisfies Partial<Record<Body["case"], Body["case"]>>;

export type RequestName = keyof typeof ANSWERS;
export type Answer = (typeof ANSWERS)[RequestName];
export type AnswerOf<N extends RequestName> = BodyOf<(typeof ANSWERS)[N]>;
