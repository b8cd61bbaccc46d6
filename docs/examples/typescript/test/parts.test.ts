// The parts that know neither a clock nor a socket.

import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { delayMs } from "../src/client/backoff.js";
import { Liveness } from "../src/connection/liveness.js";
import { splitAddress } from "../src/connection/endpoint.js";
import { Conversation } from "../src/conversation/conversation.js";
import { entryOf } from "../src/conversation/entry.js";
import { directConversation } from "../src/conversation/id.js";
import { Book } from "../src/state/book.js";
import { JsonFileState } from "../src/state/json_file.js";
import { decode, encode } from "../src/wire/codec.js";
import { ConversationState, Entry as WireEntry, Notice, ReadReceipt } from "../src/wire/messages.js";
import { numbers } from "./breaking_proxy.js";

const ANN = 1n;
const BOB = 2n;
const ID = directConversation(ANN, BOB);

interface Said {
  readonly seq: bigint;
  readonly sender: bigint;
  readonly counted: bigint;
  readonly senderCounted: bigint;
}

/** The five entries of the example in section 15. */
const SAID: readonly Said[] = ([ANN, BOB, BOB, ANN, BOB] as const).map((sender, index, all) => {
  const before = all.slice(0, index + 1);
  return {
    seq: BigInt(index + 1),
    sender,
    counted: BigInt(index + 1),
    senderCounted: BigInt(before.filter((each) => each === sender).length),
  };
});

function wire(said: Said): WireEntry {
  const message = { clientMessageId: Buffer.alloc(16), content: Buffer.from("x") };
  return decode(WireEntry, encode(WireEntry, { ...said, body: { case: "message", value: message } }));
}

function receipt(userId: bigint, seq: bigint, othersCounted: bigint): ReadReceipt {
  return decode(ReadReceipt, encode(ReadReceipt, { userId, seq, othersCounted }));
}

function state(values: {
  head: bigint;
  unread: bigint;
  readSeq?: bigint;
  expiredBelow?: bigint;
  entries?: WireEntry[];
}): ConversationState {
  const { entries = [], ...numbers } = values;
  return { ...decode(ConversationState, encode(ConversationState, numbers)), entries };
}

function conversationOf(me: bigint, said = SAID): Conversation {
  const conversation = new Conversation(ID, me);
  for (const each of said) conversation.offer(entryOf(wire(each), ID, me));
  return conversation;
}

test("unread counts are those of the table of section 15", () => {
  const more = [
    { seq: 6n, sender: ANN, counted: 6n, senderCounted: 3n },
    { seq: 7n, sender: BOB, counted: 7n, senderCounted: 4n },
  ];
  assert.equal(conversationOf(ANN).unread, 3n);
  assert.equal(conversationOf(BOB).unread, 2n);
  const ann = conversationOf(ANN);
  ann.receipt(receipt(ANN, 2n, 1n));
  assert.equal(ann.unread, 2n);
  ann.receipt(receipt(ANN, 4n, 2n));
  for (const each of more) ann.offer(entryOf(wire(each), ID, ANN));
  assert.equal(ann.unread, 2n);
  assert.equal(conversationOf(BOB, [...SAID, ...more]).unread, 3n);
  const expired = conversationOf(ANN);
  expired.synced(state({ head: 5n, unread: 1n, readSeq: 2n, expiredBelow: 4n }), undefined, true);
  assert.equal(expired.unread, 1n);
});

test("as long as the newest entry is not there, what comes after it is added to what was told", () => {
  const ann = new Conversation(ID, ANN);
  ann.synced(state({ head: 3n, unread: 2n }), undefined, false);
  assert.equal(ann.unread, 2n);
  ann.offer(entryOf(wire(SAID[3]!), ID, ANN));
  assert.equal(ann.unread, 2n, "own messages never count");
  ann.offer(entryOf(wire(SAID[4]!), ID, ANN));
  assert.equal(ann.unread, 3n);
  assert.equal(
    ann.receipt(receipt(ANN, 2n, 1n)).needsSync,
    true,
    "only the server knows how many of 3 are read by that",
  );
  assert.equal(ann.receipt(receipt(ANN, 4n, 2n)).needsSync, false);
  assert.equal(ann.unread, 1n);
});

test("entries in any order, doubled, come out in order and once", () => {
  const random = numbers(7);
  for (let round = 0; round < 200; round++) {
    const conversation = new Conversation(ID, ANN);
    const arriving = [...SAID, ...SAID].sort(() => random() - 0.5);
    const taken = arriving.flatMap((each) => conversation.offer(entryOf(wire(each), ID, ANN)).taken);
    assert.deepEqual(
      taken.map(({ seq }) => seq),
      [1n, 2n, 3n, 4n, 5n],
    );
    assert.equal(conversation.unread, 3n);
  }
});

test("that expired entries are missing is no gap", () => {
  const ann = new Conversation(ID, ANN);
  ann.offer(entryOf(wire(SAID[3]!), ID, ANN));
  assert.deepEqual(ann.gap(), { from: 1n, to: 3n });
  assert.deepEqual(
    ann.expire(4n).taken.map(({ seq }) => seq),
    [4n],
  );
  assert.equal(ann.gap(), undefined);
});

test("marks: each is told once, a private one not as the other, and an open one after it still tells", () => {
  const ann = conversationOf(ANN);
  assert.equal(ann.mark(3n, true), true);
  assert.deepEqual(ann.nextMark, { seq: 3n, isPrivate: true });
  ann.receipt(receipt(ANN, 3n, 2n));
  ann.marked({ seq: 3n, isPrivate: true });
  assert.equal(ann.nextMark, undefined);
  assert.equal(ann.mark(3n, true), false);
  assert.equal(ann.mark(2n, false), true, "the cursor is there already, but the other member does not know");
  assert.deepEqual(ann.nextMark, { seq: 2n, isPrivate: false });
  ann.mark(5n, false);
  ann.marked({ seq: 2n, isPrivate: false });
  assert.deepEqual(ann.nextMark, { seq: 5n, isPrivate: false }, "what was read meanwhile is not forgotten");
  ann.marked({ seq: 5n, isPrivate: false });
  assert.equal(ann.mark(5n, false), false);
});

test("an answer that is older than a mark does not take it back", () => {
  const ann = conversationOf(ANN);
  const { asked } = ann;
  ann.receipt(receipt(ANN, 5n, 3n));
  const change = ann.synced(state({ head: 5n, unread: 1n, readSeq: 3n }), asked, true);
  assert.equal(ann.readSeq, 5n);
  assert.equal(ann.unread, 0n);
  assert.equal(change.needsSync, true);
  ann.synced(state({ head: 5n, unread: 1n, readSeq: 3n }), ann.asked, true);
  assert.equal(ann.readSeq, 3n, "what the server says holds, also where it is lower");
});

test("a server that has less than this device is an older one, whether it says so or not", () => {
  const ann = conversationOf(ANN);
  const change = ann.synced(
    state({ head: 2n, unread: 1n, entries: [wire(SAID[0]!), wire(SAID[1]!)] }),
    ann.asked,
    true,
  );
  assert.equal(change.forgot, true);
  assert.deepEqual(
    ann.recent.map(({ seq }) => seq),
    [1n, 2n],
  );
  assert.equal(ann.unread, 1n);
  const { asked } = ann;
  ann.offer(entryOf(wire(SAID[2]!), ID, ANN));
  assert.equal(
    ann.synced(state({ head: 2n, unread: 1n }), asked, true).forgot,
    false,
    "what has come meanwhile is newer",
  );
  assert.equal(ann.position, 3n);
});

test("heartbeats when nothing was sent, doubts when nothing is heard", () => {
  const liveness = new Liveness(60_000, 0);
  assert.equal(liveness.advise(59_000, undefined), "nothing");
  assert.equal(liveness.advise(60_000, undefined), "heartbeat");
  liveness.sent(60_000);
  assert.equal(liveness.advise(61_000, undefined), "nothing");
  assert.equal(liveness.advise(90_000, undefined), "dead", "an interval and a half without a byte");
  liveness.heard(90_000);
  assert.equal(liveness.advise(99_000, 89_000), "nothing");
  assert.equal(liveness.advise(100_000, 89_000), "heartbeat", "a request waits, and nothing else is heard");
  assert.equal(liveness.advise(104_000, 89_000), "nothing");
  assert.equal(liveness.advise(105_000, 89_000), "dead");
});

test("delays grow, end at a minute, are spread, and heed the server", () => {
  const middle = () => 0.5;
  assert.deepEqual(
    [0, 1, 2, 20].map((attempts) => delayMs(0, attempts, 500, middle)),
    [500, 1_000, 2_000, 60_000],
  );
  assert.equal(delayMs(2_500, 9, 500, middle), 2_500);
  assert.deepEqual(
    [0, 1].map((random) => delayMs(1_000, 0, 500, () => random)),
    [500, 1_500],
  );
});

test("addresses", () => {
  assert.deepEqual(splitAddress("chat.example.org:7411"), { host: "chat.example.org", port: 7411 });
  assert.deepEqual(splitAddress("[::1]:7410"), { host: "::1", port: 7410 });
  for (const bad of ["", "host", "host:0", "host:70000", "::1:7410"])
    assert.throws(() => splitAddress(bad), /no host:port/);
});

test("a state in a file is there again, its owner's alone, and survives another half-written one", async () => {
  const folder = await mkdtemp(join(tmpdir(), "dunlin-state-"));
  try {
    const path = join(folder, "state.json");
    const book = await Book.open(new JsonFileState(path));
    book.account = { userId: ANN, username: "ann" };
    book.epoch = 18_369_614_221_190_020_847n;
    book.conversation(ID).offer(entryOf(wire(SAID[0]!), ID, ANN));
    book.enqueue({
      id: "00".repeat(16),
      conversation: ID,
      contentType: "text/plain",
      content: Buffer.from("hé"),
      notice: Notice.SILENT,
    });
    await Promise.all([book.save(), book.save(), book.save()]);
    const again = await Book.open(new JsonFileState(path));
    assert.equal(again.deviceId, book.deviceId);
    assert.equal(again.epoch, book.epoch);
    assert.deepEqual(
      again.outbox.map(({ content }) => Buffer.from(content).toString()),
      ["hé"],
    );
    assert.deepEqual(again.conversation(ID).save(), book.conversation(ID).save());
    assert.equal((await stat(path)).mode & 0o777, 0o600);
    assert.ok((await readFile(path, "utf8")).includes(book.deviceId));
  } finally {
    await rm(folder, { recursive: true });
  }
});
