// A proxy between a client and the server whose connections break at any byte, in either direction.

import * as net from "node:net";
import { splitAddress } from "../src/connection/endpoint.js";

/** Numbers that look random and come again with their seed (mulberry32). */
export function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

export class BreakingProxy {
  readonly #server: net.Server;
  readonly #random: () => number;
  readonly #target: { host: string; port: number };
  readonly #open = new Set<net.Socket>();
  /** A connection breaks after up to so many bytes of either direction, most of them early; 0: it does not. */
  bytesMax = 0;
  breaks = 0;

  private constructor(target: string, seed: number) {
    this.#target = splitAddress(target);
    this.#random = numbers(seed);
    this.#server = net.createServer((client) => this.#join(client));
  }

  static async start(target: string, seed: number): Promise<BreakingProxy> {
    const proxy = new BreakingProxy(target, seed);
    await new Promise<void>((resolve) => proxy.#server.listen(0, "127.0.0.1", resolve));
    return proxy;
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.address() as net.AddressInfo).port}`;
  }

  /** Breaks all that are open. */
  breakAll(): void {
    for (const socket of this.#open) this.#break(socket);
  }

  stop(): void {
    this.bytesMax = 0;
    this.breakAll();
    this.#server.close();
  }

  #join(client: net.Socket): void {
    const server = net.connect(this.#target);
    const pair = [client, server] as const;
    for (const socket of pair) {
      this.#open.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#open.delete(socket);
        for (const each of pair) each.destroy();
      });
    }
    // How much may pass in each direction; the rest of a chunk is cut off in the middle of a frame.
    this.#forward(client, server);
    this.#forward(server, client);
  }

  #forward(from: net.Socket, to: net.Socket): void {
    let left = this.bytesMax === 0 ? Infinity : Math.floor(this.#random() ** 3 * this.bytesMax);
    from.on("data", (chunk) => {
      const whole = chunk as Buffer;
      const part = whole.subarray(0, left);
      left -= part.length;
      if (part.length === whole.length) to.write(part);
      else to.write(part, () => this.#break(to));
    });
  }

  #break(socket: net.Socket): void {
    this.breaks++;
    socket.resetAndDestroy();
  }
}
