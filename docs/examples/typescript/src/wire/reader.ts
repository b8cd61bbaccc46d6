// The encoding of protobuf, read strictly: what docs/protocol.md calls malformed is an error here.

/** Bytes that are no message of the protocol. */
export class Malformed extends Error {
  override readonly name = "Malformed";
}

export const VARINT = 0;
export const FIXED64 = 1;
export const DELIMITED = 2;
const GROUP_BEGINS = 3;
const GROUP_ENDS = 4;
export const FIXED32 = 5;

/** Groups within groups that are skipped; nobody who means well sends even one. */
const GROUPS_MAX = 100;
const UTF8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export interface Tag {
  readonly field: number;
  readonly wire: number;
}

export class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get done(): boolean {
    return this.#at === this.#bytes.length;
  }

  tag(): Tag {
    const tag = this.varint();
    const field = Number(tag >> 3n);
    const wire = Number(tag & 7n);
    if (tag > 0xffffffffn || field === 0) throw new Malformed(`tag ${tag} at ${this.#at}`);
    if (wire > FIXED32) throw new Malformed(`wire type ${wire} at ${this.#at}`);
    return { field, wire };
  }

  /** A number of 64 bits; what a tenth byte has beyond them is cut off, as other decoders do. */
  varint(): bigint {
    let low = 0; // Most numbers are small: 28 bits of them fit without a bigint.
    for (let index = 0; index < 4; index++) {
      const byte = this.#byte();
      low |= (byte & 0x7f) << (7 * index);
      if (byte < 0x80) return BigInt(low);
    }
    let value = BigInt(low);
    for (let index = 4; index < 10; index++) {
      const byte = this.#byte();
      value |= BigInt(byte & 0x7f) << BigInt(7 * index);
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Malformed(`a number of more than ten bytes at ${this.#at}`);
  }

  fixed64(): bigint {
    const at = this.#advance(8);
    return this.#view.getBigUint64(at, true);
  }

  /** A view of the bytes that were read, not a copy. */
  delimited(): Uint8Array {
    const length = this.varint();
    if (length > BigInt(this.#bytes.length)) throw new Malformed(`a length of ${length} at ${this.#at}`);
    const at = this.#advance(Number(length));
    return this.#bytes.subarray(at, this.#at);
  }

  text(): string {
    const bytes = this.delimited();
    try {
      return UTF8.decode(bytes);
    } catch {
      throw new Malformed(`a string that is no UTF-8 before ${this.#at}`);
    }
  }

  /** A field that is not known. Groups are counted rather than followed by recursion. */
  skip(tag: Tag): void {
    const open: number[] = [];
    let next = tag;
    for (;;) {
      if (next.wire === GROUP_BEGINS) open.push(next.field);
      else if (next.wire === GROUP_ENDS) this.#closeGroup(open, next.field);
      else this.#skipValue(next.wire);
      if (open.length === 0) return;
      if (open.length > GROUPS_MAX) throw new Malformed("too many groups within each other");
      next = this.tag();
    }
  }

  #closeGroup(open: number[], field: number): void {
    if (open.pop() !== field) throw new Malformed(`the end of a group that never began at ${this.#at}`);
  }

  #skipValue(wire: number): void {
    if (wire === VARINT) this.varint();
    else if (wire === DELIMITED) this.delimited();
    else this.#advance(wire === FIXED64 ? 8 : 4);
  }

  #byte(): number {
    return this.#bytes[this.#advance(1)] as number;
  }

  /** Returns where the next bytes begin, which are there. */
  #advance(bytes: number): number {
    const at = this.#at;
    if (this.#bytes.length - at < bytes) {
      throw new Malformed(`${bytes} bytes at ${at} of ${this.#bytes.length}`);
    }
    this.#at = at + bytes;
    return at;
  }
}
