// The stream of bytes, cut into frames: a length of four bytes, then that many bytes.

const PREFIX_BYTES = 4;

/** The largest body that a server sends, and so the largest that is accepted of it. */
export const SERVER_BODY_BYTES_MAX = 1 << 20;

export class FrameTooLarge extends Error {
  override readonly name = "FrameTooLarge";
}

/** A frame as it goes onto the wire. */
export function frame(body: Uint8Array): Buffer {
  const whole = Buffer.allocUnsafe(PREFIX_BYTES + body.length);
  whole.writeUInt32BE(body.length);
  whole.set(body, PREFIX_BYTES);
  return whole;
}

export const HEARTBEAT: Buffer = frame(new Uint8Array());

/** Collects what arrives, however it was cut, and gives it out by frames. */
export class FrameSplitter {
  readonly #bodyBytesMax: number;
  #chunks: Buffer[] = [];
  #bytes = 0;

  constructor(bodyBytesMax: number) {
    this.#bodyBytesMax = bodyBytesMax;
  }

  /** Bytes that belong to no frame yet. */
  get left(): number {
    return this.#bytes;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
  }

  /** The body of the next frame that is complete; empty for a heartbeat. Throws FrameTooLarge. */
  next(): Buffer | undefined {
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
      this.#chunks.splice(0, 2, Buffer.concat(this.#chunks.slice(0, 2)));
    }
    return (this.#chunks[0] as Buffer).readUInt32BE();
  }

  /** What is taken was collected: nothing is allocated because a length says so. */
  #take(bytes: number): Buffer {
    const parts: Buffer[] = [];
    for (let missing = bytes; missing > 0;) {
      const chunk = this.#chunks.shift() as Buffer;
      parts.push(chunk.subarray(0, missing));
      if (chunk.length > missing) this.#chunks.unshift(chunk.subarray(missing));
      missing -= Math.min(missing, chunk.length);
    }
    this.#bytes -= bytes;
    return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
  }
}
