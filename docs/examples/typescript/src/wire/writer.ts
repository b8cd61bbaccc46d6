// The encoding of protobuf, written: numbers, and bytes with their length before them.

import { concat } from "./bytes.js";

export class Writer {
  readonly #parts: Uint8Array[] = [];
  #small: number[] = [];

  varint(value: bigint | number): this {
    if (typeof value === "number" && value < 0x80 && value >= 0) {
      this.#small.push(value);
      return this;
    }
    let left = BigInt.asUintN(64, BigInt(value));
    for (; left >= 0x80n; left >>= 7n) this.#small.push(Number(left & 0x7fn) | 0x80);
    this.#small.push(Number(left));
    return this;
  }

  fixed64(value: bigint): this {
    const bytes = new Uint8Array(8);
    new DataView(bytes.buffer).setBigUint64(0, BigInt.asUintN(64, value), true);
    this.#small.push(...bytes);
    return this;
  }

  delimited(bytes: Uint8Array): this {
    this.varint(bytes.length);
    this.#flush();
    this.#parts.push(bytes);
    return this;
  }

  finish(): Uint8Array {
    this.#flush();
    return concat(this.#parts);
  }

  #flush(): void {
    if (this.#small.length === 0) return;
    this.#parts.push(Uint8Array.from(this.#small));
    this.#small = [];
  }
}
