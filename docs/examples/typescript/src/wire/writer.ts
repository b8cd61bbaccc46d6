// The encoding of protobuf, written: numbers, and bytes with their length before them.

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
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, value));
    this.#small.push(...bytes);
    return this;
  }

  delimited(bytes: Uint8Array): this {
    this.varint(bytes.length);
    this.#flush();
    this.#parts.push(bytes);
    return this;
  }

  finish(): Buffer {
    this.#flush();
    return Buffer.concat(this.#parts);
  }

  #flush(): void {
    if (this.#small.length === 0) return;
    this.#parts.push(Uint8Array.from(this.#small));
    this.#small = [];
  }
}
