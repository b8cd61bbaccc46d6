// The bytes of this client are those of the protocol.

import assert from "node:assert/strict";
import { test } from "node:test";
import { directConversation, isConversationId, otherMember } from "../src/conversation/id.js";
import { inflate } from "../src/connection/inflate.js";
import { decode, encode, type Init } from "../src/wire/codec.js";
import { toHex } from "../src/wire/bytes.js";
import { frame, FrameSplitter, FrameTooLarge } from "../src/wire/framing.js";
import { Frame } from "../src/wire/messages.js";
import { Malformed } from "../src/wire/reader.js";
import { toJson, vectors, withEnumNumbers, type Json } from "./vectors.js";

interface FrameVector {
  readonly name: string;
  readonly wire: string;
  readonly frame: Json;
  readonly inflated?: Json;
}

for (const vector of vectors<FrameVector>("frames.json")) {
  test(`frames.json: ${vector.name}`, () => {
    const wire = Buffer.from(vector.wire, "hex");
    const decoded = decode(Frame, wire.subarray(4));
    assert.deepEqual(toJson(Frame, decoded), withEnumNumbers(vector.frame));
    assert.equal(toHex(frame(encode(Frame, decoded as Init<Frame>))), vector.wire);
    if (decoded.body?.case === "compressed") {
      const inflated = inflate(decoded.body.value, decoded.requestId);
      assert.deepEqual(toJson(Frame, inflated), withEnumNumbers(vector.inflated));
    }
  });
}

interface StreamVector {
  readonly name: string;
  readonly frame_bytes_max: number;
  readonly stream: string;
  readonly gives: readonly Json[];
  readonly left: number;
}

/** What a reader makes of a stream that arrives in these pieces. */
function read(vector: StreamVector, pieces: readonly Buffer[]): { gives: Json[]; left: number } {
  const splitter = new FrameSplitter(vector.frame_bytes_max);
  const gives: Json[] = [];
  const close = (reason: string) => gives.push({ close: reason });
  let ended = false;
  for (const piece of pieces) {
    splitter.push(piece);
    while (!ended) {
      try {
        const body = splitter.next();
        if (body === undefined) break;
        gives.push({ frame: toJson(Frame, decode(Frame, body)) });
      } catch (error) {
        if (error instanceof FrameTooLarge) close("FRAME_TOO_LARGE");
        else if (error instanceof Malformed) close("MALFORMED_FRAME");
        else throw error;
        ended = true;
      }
    }
  }
  return { gives, left: splitter.left };
}

for (const vector of vectors<StreamVector>("streams.json")) {
  test(`streams.json: ${vector.name}, cut anywhere`, () => {
    const stream = Buffer.from(vector.stream, "hex");
    const expected = { gives: vector.gives.map(withEnumNumbers), left: vector.left };
    for (let cut = 0; cut <= stream.length; cut++) {
      assert.deepEqual(
        read(vector, [stream.subarray(0, cut), stream.subarray(cut)]),
        expected,
        `cut at ${cut}`,
      );
    }
    const bytes = [...stream].map((byte) => Buffer.from([byte]));
    assert.deepEqual(read(vector, bytes), expected, "byte by byte");
  });
}

interface IdVector {
  readonly kind: string;
  readonly users?: readonly string[];
  readonly why?: string;
  readonly id: string;
}

for (const vector of vectors<IdVector>("ids.json")) {
  test(`ids.json: ${vector.id} ${vector.why ?? vector.kind}`, () => {
    assert.equal(isConversationId(Buffer.from(vector.id, "hex")), vector.kind !== "invalid");
    const [one, other] = (vector.users ?? []).map(BigInt);
    if (vector.kind !== "direct" || one === undefined || other === undefined) return;
    assert.equal(directConversation(one, other), vector.id);
    assert.equal(otherMember(vector.id, one), other);
    assert.equal(otherMember(vector.id, other), one);
  });
}
