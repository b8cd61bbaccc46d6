// Where a server is, and how a stream to it is opened.

import * as net from "node:net";
import * as tls from "node:tls";
import { CloseReason } from "../wire/messages.js";
import { ConnectionEnded } from "./errors.js";

/** The server gives a handshake this long. */
const CONNECT_TIMEOUT_MS = 10_000;
const ALPN = "dunlin";

export interface Endpoint {
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

export function splitAddress(address: string): { host: string; port: number } {
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(address);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || !(port > 0 && port < 65_536)) throw new Error(`"${address}" is no host:port`);
  return { host, port };
}

/** Tickets of TLS sessions, by address: to come back costs less with one. */
const tickets = new Map<string, Buffer>();
const TICKETS_MAX = 100;

export async function openStream(endpoint: Endpoint): Promise<net.Socket> {
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
  return stream;
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

function endedBy(stream: net.Socket, error: Error, endpoint: Endpoint): ConnectionEnded {
  const isDistrusted = stream instanceof tls.TLSSocket && Boolean(stream.authorizationError);
  // A ticket must not be what keeps us out.
  tickets.delete(endpoint.address);
  const reason = endpoint.tls === false ? CloseReason.PEER_RESET : CloseReason.TLS_ERROR;
  return new ConnectionEnded(reason, error.message, { isDistrusted, cause: error });
}
