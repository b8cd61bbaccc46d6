// Where a server is, and how frames get there: over TCP or TLS, or in a WebSocket, as in a browser.

import type { Compressed, Frame } from "../wire/messages.js";
import { ConnectionEnded } from "./errors.js";
import { openWeb } from "./web.js";

export type Endpoint = TcpEndpoint | WebEndpoint;

export interface TcpEndpoint {
  /** host:port; the host of an IPv6 address in brackets. */
  readonly address: string;
  /** TLS, unless it is the same machine or a proxy ends it. */
  readonly tls: false | TlsOptions;
}

export interface TlsOptions {
  /** PEM of what to trust beside the usual authorities, or a self-signed certificate itself. */
  readonly ca?: string;
  /** The name that the certificate must have, where it is not the host. */
  readonly name?: string;
}

export interface WebEndpoint {
  /** wss://host:port/path, or ws:// on the same machine. */
  readonly url: string;
}

/** What a connection hears of its frames. */
export interface FrameListener {
  /** Something arrived, if only a part of a frame. */
  heard(): void;
  /** The body of a frame; empty for a heartbeat. */
  frame(body: Uint8Array): void;
  /** The server said what is no frame. */
  broken(error: Error): void;
  ended(end: ConnectionEnded): void;
}

/** Frames to and from a server, whatever carries them. */
export interface FrameStream {
  /** Sends the body of a frame; empty for a heartbeat. */
  send(body: Uint8Array): void;
  /** What is sent between the two goes in one piece, where that can be. */
  cork(): void;
  uncork(): void;
  listen(listener: FrameListener): void;
  destroy(): void;
  /** Without it the server is not asked to compress anything. */
  readonly inflate?: (compressed: Compressed, requestId: bigint) => Frame;
}

export function splitAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port > 0 && port < 65_536)) throw new Error(`"${address}" is no host:port`);
  return { host, port };
}

/** The same way to another address, as GoAway says it. */
export function movedTo(endpoint: Endpoint, address: string): Endpoint {
  if (!("url" in endpoint)) return { ...endpoint, address };
  const url = new URL(endpoint.url);
  url.host = address;
  return { url: url.href };
}

export async function openStream(endpoint: Endpoint): Promise<FrameStream> {
  if ("url" in endpoint) return openWeb(endpoint);
  // A browser has no sockets, and nothing that could be loaded for them.
  const { openTcp } = await import("./tcp.js");
  return openTcp(endpoint);
}
