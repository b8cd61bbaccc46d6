// Responses that came compressed.

import { inflateRawSync } from "node:zlib";
import { decode } from "../wire/codec.js";
import { SERVER_BODY_BYTES_MAX } from "../wire/framing.js";
import { Frame, type Compressed } from "../wire/messages.js";
import { Malformed } from "../wire/reader.js";

/** What zlib returns with `info: true`, of which its types do not know. */
interface Inflated {
  readonly buffer: Buffer;
  readonly engine: { readonly bytesWritten: number };
}

/** The frame that a Compressed stands for. Throws Malformed at anything that is not exactly as it says. */
export function inflate({ deflated, bytes }: Compressed, requestId: bigint): Frame {
  if (bytes === 0 || bytes > SERVER_BODY_BYTES_MAX) throw new Malformed(`${bytes} bytes compressed`);
  const { buffer, engine } = inflateAtMost(deflated, bytes);
  if (buffer.length !== bytes || engine.bytesWritten !== deflated.length) {
    throw new Malformed(`${deflated.length} bytes do not end with the ${bytes} that they stand for`);
  }
  const frame = decode(Frame, buffer);
  if (frame.requestId !== requestId || frame.body?.case === "compressed") {
    throw new Malformed("a compressed frame stands for another than its own");
  }
  return frame;
}

function inflateAtMost(deflated: Uint8Array, bytes: number): Inflated {
  try {
    const options = { maxOutputLength: bytes, info: true };
    return inflateRawSync(deflated, options) as unknown as Inflated;
  } catch (error) {
    throw new Malformed("what is compressed can't be inflated", { cause: error });
  }
}
