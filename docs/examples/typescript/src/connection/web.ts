// Frames in a WebSocket: each binary message is the body of one.

import { CloseReason } from "../wire/messages.js";
import type { FrameListener, FrameStream, WebEndpoint } from "./endpoint.js";
import { ConnectionEnded } from "./errors.js";

const SUBPROTOCOL = "dunlin.v1";
const CONNECT_TIMEOUT_MS = 10_000;

/** Codes of the standard that say the same as one of our reasons; all others are 4000 and its number. */
const REASONS: ReadonlyMap<number, CloseReason> = new Map([
  [1000, CloseReason.PEER_CLOSED],
  [1001, CloseReason.SERVER_DRAINING],
  [1002, CloseReason.PROTOCOL_VIOLATION],
  [1003, CloseReason.PROTOCOL_VIOLATION],
  [1007, CloseReason.MALFORMED_FRAME],
  [1009, CloseReason.FRAME_TOO_LARGE],
  [1011, CloseReason.SERVER_ERROR],
  [1013, CloseReason.OVERLOADED],
]);
const FIRST_OF_OUR_OWN = 4000;

export function reasonOf(code: number): CloseReason {
  const known = REASONS.get(code);
  if (known !== undefined) return known;
  // 1006 and the like: it broke.
  return code > FIRST_OF_OUR_OWN ? ((code - FIRST_OF_OUR_OWN) as CloseReason) : CloseReason.PEER_RESET;
}

/** As much of a WebSocket as is used here. */
interface WebSocketLike {
  binaryType: string;
  send(data: Uint8Array): void;
  close(): void;
  onopen: (() => void) | null;
  onmessage: ((event: { data: unknown }) => void) | null;
  onerror: (() => void) | null;
  onclose: ((event: { code: number; reason: string }) => void) | null;
}

type WebSocketClass = new (url: string, protocols: string[]) => WebSocketLike;

export function openWeb({ url }: WebEndpoint): Promise<FrameStream> {
  const { WebSocket } = globalThis as { WebSocket?: WebSocketClass };
  if (WebSocket === undefined) throw new Error("this program has no WebSocket");
  const socket = new WebSocket(url, [SUBPROTOCOL]);
  socket.binaryType = "arraybuffer";
  return new Promise((resolve, reject) => {
    const failed = () => {
      clearTimeout(timer);
      socket.onclose = socket.onopen = null;
      socket.close();
      // A browser does not tell why: TLS, a refused request, and nobody there look alike.
      reject(new ConnectionEnded(CloseReason.PEER_RESET, "no WebSocket"));
    };
    const timer = setTimeout(failed, CONNECT_TIMEOUT_MS);
    socket.onclose = failed;
    socket.onopen = () => {
      clearTimeout(timer);
      resolve(new WebFrames(socket));
    };
  });
}

class WebFrames implements FrameStream {
  readonly #socket: WebSocketLike;

  constructor(socket: WebSocketLike) {
    this.#socket = socket;
  }

  send(body: Uint8Array): void {
    this.#socket.send(body);
  }

  // A browser decides by itself what goes in one piece.
  cork(): void {}

  uncork(): void {}

  listen(listener: FrameListener): void {
    this.#socket.onmessage = ({ data }) => {
      listener.heard();
      if (data instanceof ArrayBuffer) listener.frame(new Uint8Array(data));
      else listener.broken(new Error("a message of text"));
    };
    this.#socket.onclose = ({ code, reason }) =>
      listener.ended(new ConnectionEnded(reasonOf(code), reason === "" ? `closed with ${code}` : reason));
  }

  destroy(): void {
    this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
  }
}
