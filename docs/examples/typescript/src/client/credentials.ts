// Which credential to log in with, and what to do when it is refused.

import { fromBase64 } from "../wire/bytes.js";
import type { Refused } from "../connection/errors.js";
import type { Book } from "../state/book.js";
import type { SavedToken } from "../state/saved.js";
import { classOf } from "../wire/codes.js";
import type { Init } from "../wire/codec.js";
import { ErrorCode, type Login } from "../wire/messages.js";

/** What is beyond tokens of this server: a user who can be asked, or a backend. */
export interface Credentials {
  /** `refused`: the answer to the one before. Returns nothing if the user does not want to log in. */
  password?(refused: Refused | undefined): Promise<{ username: string; password: string } | undefined>;
  /** A new token of the app's own backend. */
  issuerToken?(): Promise<string>;
}

export type Credential = NonNullable<Init<Login>["credential"]>;

/** What to do after a refusal. */
export type Verdict =
  | { readonly kind: "next"; readonly credential: Credential }
  /** It says nothing about the credential. */
  | { readonly kind: "later" }
  | { readonly kind: "stop" };

/** The credentials for one connection, each tried once: resume, access and refresh token, then others. */
export class Choice {
  readonly #book: Book;
  readonly #credentials: Credentials;
  readonly #tried = new Set<Credential["case"]>();
  #issuerTokens = 0;

  constructor(book: Book, credentials: Credentials) {
    this.#book = book;
    this.#credentials = credentials;
  }

  async first(): Promise<Credential | undefined> {
    return this.#next(undefined);
  }

  async refused(credential: Credential, refused: Refused): Promise<Verdict> {
    switch (classOf(refused.code)) {
      case "not now":
      case "server":
        return { kind: "later" };
      case "request":
      case "forbidden":
        return { kind: "stop" };
      case "credentials":
        this.#forget(credential, refused.code);
    }
    const next = await this.#next(refused);
    return next === undefined ? { kind: "stop" } : { kind: "next", credential: next };
  }

  #forget(credential: Credential, code: number): void {
    const { resume: _, access: __, refresh: ___, ...others } = this.#book.tokens;
    const { resume, access, refresh } = this.#book.tokens;
    if (code === ErrorCode.SESSION_REVOKED) {
      this.#book.tokens = {};
    } else if (code === ErrorCode.NEW_TOKEN_NEEDED) {
      // The session is not lost: only a new token of the issuer helps.
      for (const each of ["resumeToken", "accessToken", "refreshToken"] as const) this.#tried.add(each);
    } else if (credential.case === "resumeToken") {
      this.#book.tokens = { ...others, ...(access && { access }), ...(refresh && { refresh }) };
    } else if (credential.case === "accessToken") {
      this.#book.tokens = { ...others, ...(resume && { resume }), ...(refresh && { refresh }) };
    } else if (credential.case === "refreshToken") {
      this.#book.tokens = { ...others, ...(resume && { resume }), ...(access && { access }) };
    }
  }

  async #next(refused: Refused | undefined): Promise<Credential | undefined> {
    const { resume, access, refresh } = this.#book.tokens;
    if (this.#canTry("resumeToken", resume)) {
      return { case: "resumeToken", value: fromBase64(resume.token) };
    }
    if (this.#canTry("accessToken", access)) return { case: "accessToken", value: access.token };
    if (this.#canTry("refreshToken", refresh)) return { case: "refreshToken", value: refresh.token };
    if (this.#credentials.issuerToken !== undefined && this.#issuerTokens++ < 2) {
      return { case: "issuerToken", value: await this.#credentials.issuerToken() };
    }
    const password = await this.#credentials.password?.(refused);
    return password && { case: "password", value: password };
  }

  #canTry(kind: Credential["case"], token: SavedToken | undefined): token is SavedToken {
    if (token === undefined || token.expiresMs <= Date.now() || this.#tried.has(kind)) return false;
    this.#tried.add(kind);
    return true;
  }
}
