// Two users, three devices, a real server (DUNLIN_ADDRESS, which lets anybody register) behind
// connections that break at any byte: nothing is lost, nothing is there twice, and both devices of a
// user say the same of what is unread.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Endpoint } from "../src/connection/endpoint.js";
import { JsonFileState } from "../src/state/json_file.js";
import { BreakingProxy, numbers } from "./breaking_proxy.js";
import { DeviceUnderTest, newUser } from "./device.js";

const address = process.env["DUNLIN_ADDRESS"];
const skip = address === undefined ? "DUNLIN_ADDRESS names no server" : false;
const MESSAGES = 60;

function numbered(name: string): string[] {
  return Array.from({ length: MESSAGES }, (_, index) => `${name} ${index}`);
}

test("nothing is lost or doubled on connections that break", { skip, timeout: 300_000 }, async () => {
  const seed = randomBytes(4).readUInt32BE();
  console.log(`seed ${seed}`);
  const proxy = await BreakingProxy.start(address as string, seed);
  const folder = await mkdtemp(join(tmpdir(), "dunlin-typescript-"));
  const endpoint: Endpoint = { address: proxy.address, tls: false };
  const options = { endpoint, backoffBaseMs: 20 };
  const [alice, bob] = [await newUser(address as string, "alice"), await newUser(address as string, "bob")];
  const phone = new DeviceUnderTest("phone", alice, options, new JsonFileState(join(folder, "phone.json")));
  const tablet = new DeviceUnderTest("tablet", alice, options);
  const desktop = new DeviceUnderTest("desktop", bob, options);
  const devices = [phone, tablet, desktop];
  try {
    for (const device of devices) await device.start();
    for (const device of devices) await device.until("a login", () => device.client.isOnline);
    const conversation = phone.client.conversationWith(bob.userId);

    proxy.bytesMax = 30_000;
    proxy.breakAll();
    const random = numbers(seed + 1);
    for (let index = 0; index < MESSAGES; index++) {
      await phone.client.send(conversation, `phone ${index}`);
      await desktop.client.send(conversation, `desktop ${index}`);
      if (index % 3 === 0) await tablet.client.send(conversation, `tablet ${index}`);
      if (index % 10 === 9) proxy.breakAll();
      if (index === MESSAGES / 2) await phone.killAndStartAgain();
      await new Promise((resolve) => setTimeout(resolve, random() * 30));
    }
    for (const device of devices) {
      await device.until("an empty outbox", () => device.client.unsent.length === 0);
    }
    const breaks = proxy.breaks;
    proxy.bytesMax = 0;
    proxy.breakAll();
    const total = MESSAGES * 2 + MESSAGES / 3;
    for (const device of devices) {
      await device.until("all messages", () => device.texts(conversation).length >= total);
    }

    for (const device of devices) {
      const texts = device.texts(conversation);
      const of = (name: string) => texts.filter((text) => text.startsWith(name));
      assert.equal(texts.length, total, `${device.name} shows each once`);
      assert.deepEqual(of("phone"), numbered("phone"), "in the order in which they were said");
      assert.deepEqual(of("desktop"), numbered("desktop"));
      assert.deepEqual(
        of("tablet"),
        numbered("tablet").filter((_, index) => index % 3 === 0),
      );
      assert.deepEqual(texts, phone.texts(conversation), "the same order everywhere");
      const seqs = device.shown(conversation).map((entry) => entry.seq);
      assert.deepEqual(
        seqs,
        Array.from({ length: seqs.length }, (_, index) => BigInt(index + 1)),
      );
      assert.equal(device.passwordsAsked, 1, `${device.name} comes back by its tokens`);
    }
    assert.equal(phone.unread(conversation), BigInt(MESSAGES));
    assert.equal(tablet.unread(conversation), BigInt(MESSAGES));
    assert.equal(desktop.unread(conversation), BigInt(MESSAGES + MESSAGES / 3));
    assert.ok(breaks > 6, `${breaks} connections have broken`);

    // One device reads, on connections that break again: the other one knows.
    proxy.bytesMax = 30_000;
    const seen = phone.shown(conversation);
    const middle = seen[Math.floor(seen.length / 2)];
    assert.ok(middle);
    const later = seen.filter((entry) => entry.seq > middle.seq && entry.sender === bob.userId);
    phone.client.markRead(conversation, middle.seq);
    proxy.breakAll();
    for (const device of [phone, tablet]) {
      await device.until("the mark", () => device.unread(conversation) === BigInt(later.length));
    }
    await desktop.until(
      "the receipt",
      () => desktop.client.conversations.get(conversation)?.peerReadSeq === middle.seq,
    );
    console.log(`${total} messages, ${breaks} broken connections: none lost, none doubled`);
  } finally {
    for (const device of devices) await device.client.stop();
    proxy.stop();
    await rm(folder, { recursive: true });
  }
});
