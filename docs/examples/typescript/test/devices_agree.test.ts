// What the devices of a user share, and what the other member sees of it, with a real server
// (DUNLIN_ADDRESS, which lets anybody register).

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Endpoint } from "../src/connection/endpoint.js";
import { ErrorCode, Notice } from "../src/wire/messages.js";
import { DeviceUnderTest, newUser } from "./device.js";

const address = process.env["DUNLIN_ADDRESS"];
const skip = address === undefined ? "DUNLIN_ADDRESS names no server" : false;

test(
  "what the devices of a user share, and what the other member sees",
  { skip, timeout: 300_000 },
  async () => {
    const endpoint: Endpoint = { address: address as string, tls: false };
    const options = { endpoint, backoffBaseMs: 20 };
    const [alice, bob] = [await newUser(address as string, "alice"), await newUser(address as string, "bob")];
    const phone = new DeviceUnderTest("phone", alice, options);
    const tablet = new DeviceUnderTest("tablet", alice, options);
    const desktop = new DeviceUnderTest("desktop", bob, options);
    const devices = [phone, tablet, desktop];
    try {
      for (const device of devices) await device.start();
      for (const device of devices) await device.until("a login", () => device.client.isOnline);
      const [found] = await desktop.client.findUsers({ usernames: [alice.username, "nobody-is-called-so"] });
      assert.equal(found?.userId, alice.userId);
      const id = desktop.client.conversationWith(alice.userId);
      assert.deepEqual(Buffer.from(found.conversationId).toString("hex"), id);
      const seen = (device: DeviceUnderTest) => device.client.conversations.get(id);

      // What was sent is found by its id, and from its time on.
      const noteId = await phone.client.send(phone.client.conversationWith(alice.userId), "a note");
      await phone.until("sent", () => phone.sent.includes(noteId));
      const oneself = phone.client.conversationWith(alice.userId);
      const note = await tablet.client.findMessage(oneself, noteId);
      assert.equal(Buffer.from(note?.message?.content ?? []).toString(), "a note");
      assert.equal(await tablet.client.findMessage(oneself, "ab".repeat(16)), undefined);
      const since = await tablet.client.historySince(oneself, note?.timeMs ?? 0n);
      assert.deepEqual(
        since.map(({ message }) => message?.id),
        [noteId],
      );
      assert.deepEqual(await tablet.client.historySince(oneself, (note?.timeMs ?? 0n) + 1n), []);

      // Notices: what is uncounted is there, and not unread.
      await desktop.client.send(id, "loud");
      await desktop.client.send(id, "silent", { notice: Notice.SILENT });
      await desktop.client.send(id, Buffer.from([0, 255]), {
        contentType: "application/x-move",
        notice: Notice.UNCOUNTED,
      });
      for (const device of [phone, tablet]) {
        await device.until("a stranger's request", () => seen(device)?.isRequest === true);
        await device.until("three entries", () => device.shown(id).length === 3);
        assert.deepEqual(
          device.shown(id).map(({ notice }) => notice),
          [Notice.LOUD, Notice.SILENT, Notice.UNCOUNTED],
        );
        assert.equal(device.unread(id), 2n);
      }

      // A private mark moves the own cursor on all devices, and nobody else's knowledge of it.
      phone.client.markRead(id, 2n, true);
      await tablet.until("the cursor", () => seen(tablet)?.readSeq === 2n && tablet.unread(id) === 0n);
      phone.client.markRead(id, 1n);
      await desktop.until("the open mark", () => seen(desktop)?.peerReadSeq !== 0n);
      assert.equal(seen(desktop)?.peerReadSeq, 1n);

      // A setting that one device makes the other one has; of two who set it at once one learns of the other.
      await phone.client.setSetting("theme", Buffer.from("dark"), 0n);
      await tablet.until("the setting", () => tablet.client.setting("theme") !== undefined);
      const version = tablet.client.settingVersion("theme");
      await tablet.client.setSetting("theme", Buffer.from("light"), version);
      await assert.rejects(phone.client.setSetting("theme", Buffer.from("blue"), version), {
        code: ErrorCode.VERSION_CONFLICT,
      });
      assert.equal(Buffer.from(phone.client.setting("theme") ?? []).toString(), "light");
      await phone.client.setSetting("theme", new Uint8Array());
      await tablet.until("its end", () => tablet.client.setting("theme") === undefined);

      // Ignored, accepted, hidden, marked, cleared: on both devices, and nothing of it at the other member's.
      await phone.client.ignore(id);
      await tablet.until("ignored", () => seen(tablet)?.isIgnored === true);
      assert.equal(tablet.unread(id), 0n);
      await desktop.client.send(id, "nobody listens");
      await desktop.until("sent", () => desktop.client.unsent.length === 0);
      await tablet.client.accept(id);
      for (const device of [phone, tablet]) {
        await device.until(
          "what came meanwhile",
          () => device.shown(id).length === 4 && device.unread(id) === 1n,
        );
        assert.equal(seen(device)?.isIgnored, false);
      }
      await tablet.client.hide(id);
      await phone.until("hidden", () => seen(phone)?.isHidden === true);
      await tablet.client.markUnread(id, true);
      await phone.until("the mark", () => seen(phone)?.membership.isMarkedUnread === true);
      await phone.client.clear(id);
      await tablet.until("cleared", () => tablet.shown(id).length === 0 && tablet.unread(id) === 0n);
      assert.deepEqual(await tablet.client.history(id), []);
      await desktop.client.send(id, "again");
      for (const device of [phone, tablet]) {
        await device.until("the new one", () => device.texts(id).includes("again"));
        assert.equal(device.unread(id), 1n);
        assert.equal(seen(device)?.isHidden, false);
      }
      assert.equal((await desktop.client.history(id)).length, 5, "the other member keeps it");

      // Momentary things.
      let typing = 0n;
      desktop.client.events.on(
        "signal",
        (signal) => (typing = signal.kind === "typing" ? signal.sender : 0n),
      );
      await desktop.until("typing", () => (phone.client.signal(id, "typing"), typing === alice.userId));

      // A new device has the same; a session that is ended stays ended.
      const laptop = new DeviceUnderTest("laptop", alice, options);
      devices.push(laptop);
      await laptop.start();
      await laptop.until("a login", () => laptop.client.isOnline);
      assert.deepEqual(laptop.texts(id), phone.texts(id));
      assert.equal(laptop.unread(id), 1n);
      assert.equal((await phone.client.sessions()).length, 3);
      let stopped = "";
      laptop.client.events.off("stopped").on("stopped", (why) => (stopped = why));
      await phone.client.changePassword(alice.password, "another password");
      await laptop.until("its end", () => stopped !== "");
      assert.equal(stopped, "logged out");
      assert.equal(phone.client.isOnline, true);
    } finally {
      for (const device of devices) await device.client.stop();
    }
  },
);
