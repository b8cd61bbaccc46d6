// Frames over TCP or TLS, each with its length before it.

import * as net from "node:net";
import * as tls from "node:tls";
import { CloseReason } from "../wire/messages.js";
import { frame, FrameSplitter, SERVER_BODY_BYTES_MAX } from "../wire/framing.js";
import { splitAddress, type FrameListener, type FrameStream, type TcpEndpoint, type TlsOptions } from "./endpoint.js";
import { ConnectionEnded } from "./errors.js";
import { inflate } from "./inflate.js";

/** The server gives a handshake this long. */
const CONNECT_TIMEOUT_MS = 10_000;
const ALPN = "dunlin";

/** Tickets of TLS sessions, by address: to come back costs less with one. */
const tickets = new Map<string, Buffer>();
const TICKETS_MAX = 100;

export async function openTcp(endpoint: TcpEndpoint): Promise<FrameStream> {
  const { host, port } = splitAddress(endpoint.address);
  const stream =
    endpoint.tls === false ? net.connect({ host, port }) : openTls(endpoint.address, endpoint.tls);
  stream.setNoDelay(true);
  const opened = endpoint.tls === false ? "connect" : "secureConnect";
  try {
    await firstOf(stream, opened);
  } catch (error) {
    stream.on("error", () => {}); // A second one says nothing new.
    stream.destroy();
    throw endedBy(stream, error as Error, endpoint);
  }
  return new TcpFrames(stream);
}

function openTls(address: string, options: TlsOptions): tls.TLSSocket {
  const { host, port } = splitAddress(address);
  const name = options.name ?? host;
  const ticket = tickets.get(address);
  const stream = tls.connect({
    host,
    port,
    ALPNProtocols: [ALPN],
    minVersion: "TLSv1.2",
    // An address is not sent as a name, but the certificate must be for it.
    ...(net.isIP(name) === 0 ? { servername: name } : {}),
    checkServerIdentity: (_, certificate) => tls.checkServerIdentity(name, certificate),
    ...(options.ca === undefined ? {} : { ca: [...tls.rootCertificates, options.ca] }),
    ...(ticket === undefined ? {} : { session: ticket }),
  });
  stream.on("session", (session: Buffer) => {
    if (tickets.size >= TICKETS_MAX) tickets.clear();
    tickets.set(address, session);
  });
  return stream;
}

function firstOf(stream: net.Socket, opened: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error("not connected in time")), CONNECT_TIMEOUT_MS);
    const done = (error?: Error) => {
      clearTimeout(timer);
      stream.removeListener(opened, succeeded).removeListener("error", done).removeListener("close", closed);
      if (error === undefined) resolve();
      else reject(error);
    };
    const succeeded = () => done();
    const closed = () => done(new Error("closed during the handshake"));
    stream.once(opened, succeeded).once("error", done).once("close", closed);
  });
}

function endedBy(stream: net.Socket, error: Error, endpoint: TcpEndpoint): ConnectionEnded {
  const isDistrusted = stream instanceof tls.TLSSocket && Boolean(stream.authorizationError);
  // A ticket must not be what keeps us out.
  tickets.delete(endpoint.address);
  const reason = endpoint.tls === false ? CloseReason.PEER_RESET : CloseReason.TLS_ERROR;
  return new ConnectionEnded(reason, error.message, { isDistrusted, cause: error });
}

class TcpFrames implements FrameStream {
  readonly inflate = inflate;
  readonly #socket: net.Socket;
  readonly #splitter = new FrameSplitter(SERVER_BODY_BYTES_MAX);

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  send(body: Uint8Array): void {
    this.#socket.write(frame(body));
  }

  cork(): void {
    this.#socket.cork();
  }

  uncork(): void {
    this.#socket.uncork();
  }

  listen(listener: FrameListener): void {
    this.#socket.on("data", (chunk: Buffer) => {
      listener.heard();
      this.#splitter.push(chunk);
      try {
        for (let body = this.#splitter.next(); body !== undefined; body = this.#splitter.next()) {
          listener.frame(body);
        }
      } catch (error) {
        listener.broken(error as Error);
      }
    });
    this.#socket.on("error", (error) =>
      listener.ended(new ConnectionEnded(CloseReason.PEER_RESET, error.message, { cause: error })),
    );
    this.#socket.on("close", () =>
      listener.ended(new ConnectionEnded(CloseReason.PEER_RESET, "the connection broke")),
    );
  }

  destroy(): void {
    this.#socket.destroy();
  }
}
