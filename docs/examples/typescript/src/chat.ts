// A conversation in a terminal: npm run chat -- --user alice bob
// Commands: /older [SEQ], /accept, /ignore, /hide, /clear, /silent TEXT, /typing, /sessions, /logout, /quit

import { createInterface, type Interface } from "node:readline";
import {
  Client,
  DeviceKind,
  JsonFileState,
  Notice,
  register,
  type ConversationId,
  type Entry,
  type Membership,
} from "./index.js";
import { asksPassword, endWith, readArguments, UsageError } from "./terminal.js";

class Chat {
  readonly #client: Client;
  readonly #conversation: ConversationId;
  readonly #names: ReadonlyMap<bigint, string>;
  readonly #terminal: Interface;

  constructor(client: Client, conversation: ConversationId, names: ReadonlyMap<bigint, string>) {
    this.#client = client;
    this.#conversation = conversation;
    this.#names = names;
    this.#terminal = createInterface({ input: process.stdin, output: process.stdout, prompt: "" });
  }

  begin(): void {
    const { events } = this.#client;
    for (const entry of this.#client.conversations.get(this.#conversation)?.recent ?? []) this.#show(entry);
    this.#tellMembership();
    events.on("entry", (id, entry) =>
      id === this.#conversation ? this.#show(entry) : this.#tellOfOther(id),
    );
    events.on("failed", (_, __, error) => console.log(`   not sent: ${error.message}`));
    events.on("offline", (end, delayMs) =>
      console.log(`   offline (${end.message}), again in ${Math.round(delayMs)} ms`),
    );
    events.on("online", () => console.log("   online"));
    events.on("changed", (id) => id === this.#conversation && this.#tellChange());
    events.on("signal", (signal) => signal.kind === "typing" && console.log("   is typing"));
    this.#terminal.on("line", (line) => void this.#said(line));
    this.#terminal.on("close", () => void this.#client.stop());
  }

  #peerReadSeq = 0n;
  #membership: Membership | undefined;

  #tellChange(): void {
    const peerReadSeq = this.#client.conversations.get(this.#conversation)?.peerReadSeq ?? 0n;
    if (peerReadSeq > this.#peerReadSeq) console.log(`   read up to ${peerReadSeq}`);
    this.#peerReadSeq = peerReadSeq;
    this.#tellMembership();
  }

  #tellMembership(): void {
    const conversation = this.#client.conversations.get(this.#conversation);
    if (conversation === undefined || conversation.membership === this.#membership) return;
    this.#membership = conversation.membership;
    if (conversation.isRequest) console.log("   a stranger: answer, /accept or /ignore");
    if (conversation.isIgnored) console.log("   ignored");
    if (conversation.isHidden) console.log("   hidden until something newer comes");
    // Whoever opens a marked conversation takes the mark off.
    if (conversation.membership.isMarkedUnread) void this.#client.markUnread(this.#conversation, false);
  }

  #tellOfOther(id: ConversationId): void {
    const unread = this.#client.conversations.get(id)?.unread ?? 0n;
    if (unread > 0n) console.log(`   ${unread} unread in another conversation`);
  }

  #show({ seq, timeMs, sender, message, isDamaged }: Entry): void {
    const when = new Date(Number(timeMs)).toLocaleTimeString();
    const text =
      message?.contentType === "text/plain"
        ? Buffer.from(message.content).toString()
        : `(${message?.contentType})`;
    if (isDamaged) console.log(`${seq}  a message is missing here`);
    else if (message !== undefined)
      console.log(`${seq}  ${when}  ${this.#names.get(sender) ?? sender}: ${printable(text)}`);
    // In a stranger's request the mark would tell that somebody is here.
    const isRequest = this.#client.conversations.get(this.#conversation)?.isRequest === true;
    if (sender !== this.#client.userId) this.#client.markRead(this.#conversation, seq, isRequest);
  }

  async #said(line: string): Promise<void> {
    try {
      await this.#do(line);
    } catch (error) {
      console.log(`   ${(error as Error).message}`);
    }
  }

  async #do(line: string): Promise<void> {
    const [command, argument] = line.split(" ");
    if (command === "/older") await this.#older(BigInt(argument ?? "0"));
    else if (command === "/accept") await this.#client.accept(this.#conversation);
    else if (command === "/ignore") await this.#client.ignore(this.#conversation);
    else if (command === "/hide") await this.#client.hide(this.#conversation);
    else if (command === "/clear") await this.#client.clear(this.#conversation);
    else if (command === "/silent")
      await this.#client.send(this.#conversation, line.slice(8), { notice: Notice.SILENT });
    else if (command === "/typing") this.#client.signal(this.#conversation, "typing");
    else if (command === "/sessions") await this.#sessions();
    else if (command === "/logout") await this.#client.logOut();
    else if (command === "/quit") this.#terminal.close();
    else if (line !== "") await this.#client.send(this.#conversation, line);
  }

  async #older(before: bigint): Promise<void> {
    for (const entry of await this.#client.history(this.#conversation, before, 20)) this.#show(entry);
  }

  async #sessions(): Promise<void> {
    for (const { sessionId, device, connected } of await this.#client.sessions()) {
      console.log(`   ${sessionId}  ${device?.name ?? ""}${connected ? ", connected" : ""}`);
    }
  }
}

/** What others say must not move the cursor or change the colours of a terminal. */
function printable(text: string): string {
  return text.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, "\ufffd");
}

async function main(): Promise<void> {
  const { endpoint, user, isNew, invitation, statePath, others } = readArguments();
  const [peer] = others;
  if (peer === undefined) throw new UsageError("with whom?");
  const password = asksPassword(user);
  if (isNew) await register(endpoint, { ...(await password()), invitation });
  const device = { kind: DeviceKind.DESKTOP, name: "dunlin in TypeScript" };
  const state = new JsonFileState(statePath);
  const client = await Client.open({ endpoint, state, device, credentials: { password }, gaps: "leave out" });
  client.events.on("stopped", (why, error) => {
    if (why !== "by the program") console.error(`${why}${error === undefined ? "" : `: ${error.message}`}`);
    process.exitCode = why === "by the program" ? 0 : 1;
    process.stdin.destroy();
  });
  client.start();
  const [found] = await client.findUsers({ usernames: [peer] });
  if (found === undefined) {
    console.error(`there is no ${peer}`);
    return client.stop();
  }
  const names = new Map([
    [found.userId, found.displayName],
    [client.userId, "me"],
  ]);
  new Chat(client, client.conversationWith(found.userId), names).begin();
}

main().catch((error: Error) => endWith(error, "npm run chat -- [options] PEER"));
