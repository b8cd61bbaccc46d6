// A server of a test: says what the test wants, when the test wants it.

import * as net from "node:net";
import type { Body, BodyOf } from "../src/connection/requests.js";
import { decode, encode, type Init } from "../src/wire/codec.js";
import { frame, FrameSplitter } from "../src/wire/framing.js";
import { Frame } from "../src/wire/messages.js";

type Said = Init<Frame>["body"];
export type Request = { readonly requestId: bigint; readonly body: Body };
/** Returns the answers to a request; none is an answer too. */
export type Script = (request: Request, connection: Scripted) => readonly Said[];

/** One connection of a client, as the server sees it. */
export class Scripted {
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  /** All in one write. */
  say(...frames: readonly Init<Frame>[]): void {
    this.#socket.write(Buffer.concat(frames.map((each) => frame(encode(Frame, each)))));
  }

  push(...bodies: readonly Said[]): void {
    this.say(...bodies.map((body) => ({ body })));
  }

  raw(bytes: Buffer): void {
    this.#socket.write(bytes);
  }

  break(): void {
    this.#socket.destroy();
  }
}

export class ScriptedServer {
  readonly #server: net.Server;
  readonly requests: Request[] = [];
  readonly connections: Scripted[] = [];
  readonly #sockets: net.Socket[] = [];
  heartbeats = 0;
  script: Script;

  private constructor(script: Script) {
    this.script = script;
    this.#server = net.createServer((socket) => this.#accept(socket));
  }

  static async start(script: Script): Promise<ScriptedServer> {
    const server = new ScriptedServer(script);
    await new Promise<void>((resolve) => server.#server.listen(0, "127.0.0.1", resolve));
    return server;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  /** What was asked, of one kind. */
  asked<C extends Body["case"]>(kind: C): BodyOf<C>[] {
    const asked = this.requests.filter(({ body }) => body.case === kind);
    return asked.map(({ body }) => body.value) as unknown as BodyOf<C>[];
  }

  stop(): void {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
  }

  #accept(socket: net.Socket): void {
    const connection = new Scripted(socket);
    const splitter = new FrameSplitter(1 << 20);
    this.#sockets.push(socket);
    this.connections.push(connection);
    socket.on("error", () => {});
    socket.on("data", (chunk: Buffer) => {
      splitter.push(chunk);
      for (let body = splitter.next(); body !== undefined; body = splitter.next()) {
        if (body.length === 0) this.heartbeats++;
        else this.#take(decode(Frame, body), connection);
      }
    });
  }

  #take({ requestId, body }: Frame, connection: Scripted): void {
    if (body === undefined) return;
    const request = { requestId, body };
    this.requests.push(request);
    const answers = this.script(request, connection);
    if (answers.length > 0) connection.say(...answers.map((answer) => ({ requestId, body: answer })));
  }
}

export const ME = 1001n;
export const OTHER = 1002n;
export const EPOCH = 7n;

/** What a server says that has nothing to tell. */
export function quiet({ body }: Request): readonly Said[] {
  switch (body.case) {
    case "hello":
      return [{ case: "welcome", value: WELCOME }];
    case "login":
      return [{ case: "loggedIn", value: LOGGED_IN }];
    case "sync":
      return [{ case: "synced", value: { epoch: EPOCH } }];
    case "markRead":
      return [{ case: "readReceipt", value: { ...body.value, userId: ME } }];
    default:
      return [];
  }
}

const WELCOME = {
  protocolVersion: 1,
  server: "a test",
  capabilities: ["deflate"],
  limits: { smallFrameBytesMax: 16_384, frameBytesMax: 1 << 20 },
};

export const LOGGED_IN = {
  userId: ME,
  sessionId: 5n,
  username: "alice",
  resumeToken: Buffer.from("resume"),
  resumeExpiresInS: 86_400,
  sessionExpiresInS: 2_592_000,
  tokens: {
    accessToken: "access",
    accessExpiresInS: 900,
    refreshToken: "refresh",
    refreshExpiresInS: 2_592_000,
  },
};

/** A message of the other member, who has said everything so far. */
export function entry(seq: bigint, text = `message ${seq}`) {
  const message = { clientMessageId: Buffer.alloc(16, Number(seq)), content: Buffer.from(text) };
  return {
    seq,
    timeMs: seq,
    sender: OTHER,
    counted: seq,
    senderCounted: seq,
    body: { case: "message", value: message },
  } as const;
}
