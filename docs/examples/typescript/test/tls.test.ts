// By TLS, with the certificate that a server has made for itself (DUNLIN_TLS_ADDRESS, and DUNLIN_CA, a file).

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { register, rulesOf } from "../src/client/register.js";
import { ConnectionEnded } from "../src/connection/errors.js";
import { BreakingProxy } from "./breaking_proxy.js";
import { DeviceUnderTest, newUser } from "./device.js";

const plain = process.env["DUNLIN_ADDRESS"];
const address = process.env["DUNLIN_TLS_ADDRESS"];
const file = process.env["DUNLIN_CA"];
const isThere = plain !== undefined && address !== undefined && file !== undefined;
const skip = isThere
  ? false
  : "DUNLIN_ADDRESS, DUNLIN_TLS_ADDRESS and DUNLIN_CA do not name a server and its certificate";

test(
  "a certificate that is trusted; the rules of the server; a way back by a ticket",
  { skip, timeout: 120_000 },
  async () => {
    const user = await newUser(plain as string, "tess");
    const proxy = await BreakingProxy.start(address as string, 1);
    const endpoint = { address: proxy.address, tls: { ca: readFileSync(file as string, "utf8") } };
    assert.ok(((await rulesOf(endpoint))?.passwordBytesMin ?? 0) > 0);
    const device = new DeviceUnderTest("device", user, { endpoint, backoffBaseMs: 20 });
    try {
      await device.start();
      await device.until("a login", () => device.client.isOnline);
      const oneself = device.client.conversationWith(user.userId);
      await device.client.send(oneself, "a note");
      proxy.breakAll();
      await device.until("a message", () => device.texts(oneself).length === 1 && device.client.isOnline);
      assert.equal(device.unread(oneself), 0n, "what one says to oneself is read");
    } finally {
      await device.client.stop();
      proxy.stop();
    }
  },
);

test(
  "a certificate that nobody vouches for, or for another host, is not to be trusted",
  { skip },
  async () => {
    const ca = readFileSync(file as string, "utf8");
    for (const tls of [{}, { ca, name: "chat.example.org" }]) {
      const account = { username: "nobody", password: "is told this" };
      const isDistrust = (error: unknown) => error instanceof ConnectionEnded && error.isDistrusted;
      await assert.rejects(register({ address: address as string, tls }, account), isDistrust);
    }
  },
);
