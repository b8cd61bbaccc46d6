// A bot that answers every message once, also if it is killed between reading and answering:
//
//   npm run echo -- --user parrot --register

import { createHash } from "node:crypto";
import { Client, DeviceKind, JsonFileState, register, type ConversationId, type Entry } from "./index.js";
import { asksPassword, endWith, readArguments } from "./terminal.js";

/**
 * The id of an answer follows from what it answers. So a bot that does not remember whether it has
 * answered just answers again: the server stores it once.
 */
function answerId(conversation: ConversationId, seq: bigint): string {
  return createHash("sha256").update(`echo ${conversation} ${seq}`).digest("hex").slice(0, 32);
}

async function main(): Promise<void> {
  const { endpoint, user, isNew, invitation, statePath } = readArguments();
  const password = asksPassword(user);
  if (isNew) await register(endpoint, { ...(await password()), invitation });
  const device = { kind: DeviceKind.BOT, name: "echo" };
  const state = new JsonFileState(statePath);
  const client = await Client.open({ endpoint, state, device, credentials: { password }, gaps: "fetch" });
  client.events.on("entry", (conversation, entry) => {
    answer(client, conversation, entry).catch((error: Error) => console.error(error.message));
  });
  client.events.on("stopped", (why, error) => {
    console.error(`stopped: ${why}${error === undefined ? "" : `: ${error.message}`}`);
    process.exitCode = 1;
  });
  // What was taken before the bot was killed may lack its answer: the newest of each are answered again.
  for (const [id, conversation] of client.conversations) {
    for (const entry of conversation.recent.filter(({ seq }) => seq > conversation.readSeq))
      await answer(client, id, entry);
  }
  client.start();
}

async function answer(client: Client, conversation: ConversationId, entry: Entry): Promise<void> {
  const { sender, message, seq } = entry;
  if (sender === client.userId || message === undefined) return;
  const { contentType, content } = message;
  await client.send(conversation, content, { contentType, id: answerId(conversation, seq) });
  // Once the answer is in the outbox, the message needs no more reading.
  client.markRead(conversation, seq);
}

main().catch((error: Error) => endWith(error, "npm run echo -- [options]"));
