// The stream of bytes, cut into frames: a length of four bytes, then that many bytes.

import { concat } from "./bytes.js";

const PREFIX_BYTES = 4;

/** The largest body that a server sends, and so the largest that is accepted of it. */
export const SERVER_BODY_BYTES_MAX = 1 << 20;

export class FrameTooLarge extends Error {
  override readonly name = "FrameTooLarge";
}

/** A frame as it goes onto the wire. */
export function frame(body: Uint8Array): Uint8Array {
  const whole = new Uint8Array(PREFIX_BYTES + body.length);
  new DataView(whole.buffer).setUint32(0, body.length);
  whole.set(body, PREFIX_BYTES);
  return whole;
}

/** Collects what arrives, however it was cut, and gives it out by frames. */
export class FrameSplitter {
  readonly #bodyBytesMax: number;
  #chunks: Uint8Array[] = [];
  #bytes = 0;

  constructor(bodyBytesMax: number) {
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** Bytes that belong to no frame yet. */
  get left(): number {
    return this.#bytes;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  /** The body of the next frame that is complete; empty for a heartbeat. Throws FrameTooLarge. */
  next(): Uint8Array | undefined {
    if (this.#bytes < PREFIX_BYTES) return undefined;
    const length = this.#prefix();
    if (length > this.#bodyBytesMax) {
      throw new FrameTooLarge(`a body of ${length} bytes of at most ${this.#bodyBytesMax}`);
    }
    if (this.#bytes < PREFIX_BYTES + length) return undefined;
    return this.#take(PREFIX_BYTES + length).subarray(PREFIX_BYTES);
  }

  #prefix(): number {
    while ((this.#chunks[0]?.length ?? 0) < PREFIX_BYTES) {
      // As rare as a cut within four bytes.
      this.#chunks.splice(0, 2, concat(this.#chunks.slice(0, 2)));
    }
    const { buffer, byteOffset } = this.#chunks[0] as Uint8Array;
    return new DataView(buffer, byteOffset).getUint32(0);
  }

  /** What is taken was collected: nothing is allocated because a length says so. */
  #take(bytes: number): Uint8Array {
    const parts: Uint8Array[] = [];
    for (let missing = bytes; missing > 0;) {
      const chunk = this.#chunks.shift() as Uint8Array;
      parts.push(chunk.subarray(0, missing));
      if (chunk.length > missing) this.#chunks.unshift(chunk.subarray(missing));
      missing -= Math.min(missing, chunk.length);
    }
    this.#bytes -= bytes;
    return concat(parts);
  }
}
