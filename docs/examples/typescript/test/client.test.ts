// A client against a server that says unusual things.

import assert from "node:assert/strict";
import { deflateRawSync } from "node:zlib";
import { test } from "node:test";
import { Client, type ClientOptions } from "../src/client/client.js";
import type { Entry } from "../src/conversation/entry.js";
import { bytesOf, directConversation } from "../src/conversation/id.js";
import { MemoryState } from "../src/state/saved.js";
import { encode } from "../src/wire/codec.js";
import { CloseReason, ErrorCode, Frame, RequestState } from "../src/wire/messages.js";
import { entry, EPOCH, LOGGED_IN, ME, OTHER, quiet, ScriptedServer, type Script } from "./scripted_server.js";

const CONVERSATION = directConversation(ME, OTHER);
const conversationId = bytesOf(CONVERSATION);
const DEADLINE_MS = 60_000;

interface Situation {
  readonly server: ScriptedServer;
  readonly client: Client;
  readonly shown: Entry[];
  /** Everything that the client told, by name, in order. */
  readonly told: string[];
  until(what: string, condition: () => boolean): Promise<void>;
}

async function within(
  script: Script,
  body: (situation: Situation) => Promise<void>,
  options: Partial<ClientOptions> = {},
): Promise<void> {
  const server = await ScriptedServer.start(script);
  const password = () => Promise.resolve({ username: "alice", password: "correct horse" });
  const endpoint = { address: server.address, tls: false } as const;
  const client = await Client.open({
    endpoint,
    state: new MemoryState(),
    credentials: { password },
    backoffBaseMs: 10,
    ...options,
  });
  const shown: Entry[] = [];
  const told: string[] = [];
  client.events.on("entry", (_, each) => (shown.push(each), told.push(`entry ${each.seq}`)));
  client.events.on("forgotten", () => told.push("forgotten"));
  client.events.on("sent", () => told.push("sent"));
  client.events.on("failed", (_, __, error) => told.push(`failed ${error.message}`));
  client.events.on("stopped", (why) => told.push(`stopped ${why}`));
  client.events.on("leftOut", (_, from, to) => told.push(`left out ${from} to ${to}`));
  const until = async (what: string, condition: () => boolean) => {
    for (
      const deadline = Date.now() + DEADLINE_MS;
      !condition();
      await new Promise((resolve) => setTimeout(resolve, 5))
    ) {
      assert.ok(Date.now() < deadline, `${what} does not come; told: ${told.join(", ")}`);
    }
  };
  client.start();
  try {
    await body({ server, client, shown, told, until });
  } finally {
    await client.stop();
    server.stop();
  }
}

function seqs(entries: readonly { seq: bigint }[]): number[] {
  return entries.map(({ seq }) => Number(seq));
}

const push = (seq: bigint) => ({ case: "push", value: { conversationId, entry: entry(seq) } }) as const;

test("what does not continue the log is put aside until the gap is fetched", async () => {
  const script: Script = (request, connection) => {
    if (request.body.case === "sync")
      setImmediate(() => connection.push(push(1n), push(4n), push(4n), push(3n), push(1n)));
    const { body } = request;
    if (body.case !== "history") return quiet(request);
    assert.ok(body.value.fromSeq === 2n && body.value.toSeq < 4n, "nothing that it has");
    return [{ case: "historyPage", value: { entries: [entry(2n)], head: 4n, epoch: EPOCH } }];
  };
  await within(script, async ({ shown, client, until }) => {
    await until("the fourth", () => shown.length >= 4);
    assert.deepEqual(seqs(shown), [1, 2, 3, 4]);
    assert.equal(client.conversations.get(CONVERSATION)?.unread, 4n);
  });
});

test("a push behind a Synced of another epoch belongs to the new one, though they come in one read", async () => {
  let syncs = 0n;
  const script: Script = (request, connection) => {
    if (request.body.case !== "sync") return quiet(request);
    syncs++;
    if (syncs === 1n) setImmediate(() => connection.push(push(1n), push(2n), { case: "behind", value: {} }));
    if (syncs !== 2n) return [{ case: "synced", value: { epoch: EPOCH } }];
    const { requestId } = request;
    connection.say({ requestId, body: { case: "synced", value: { epoch: EPOCH + 1n } } }, { body: push(1n) });
    return [];
  };
  await within(script, async ({ told, shown, client, until }) => {
    await until("the new epoch", () => told.length >= 4);
    assert.deepEqual(told, ["entry 1", "entry 2", "forgotten", "entry 1"]);
    assert.deepEqual(seqs(client.conversations.get(CONVERSATION)?.recent ?? []), [1]);
    assert.equal(shown.length, 3);
  });
});

test("it goes around an entry that is damaged, in few requests", async () => {
  const DAMAGED = 5n;
  const script: Script = (request, connection) => {
    if (request.body.case === "sync") setImmediate(() => connection.push(push(9n)));
    const { body } = request;
    if (body.case !== "history") return quiet(request);
    const { fromSeq, toSeq, limit } = body.value;
    const wanted: bigint[] = [];
    for (let seq = fromSeq; seq <= toSeq && wanted.length < limit; seq++) wanted.push(seq);
    if (wanted.includes(DAMAGED)) return [{ case: "error", value: { code: ErrorCode.DATA_CORRUPT } }];
    const more = wanted.length > 0 && (wanted.at(-1) as bigint) < toSeq;
    return [
      {
        case: "historyPage",
        value: { entries: wanted.map((seq) => entry(seq)), head: 9n, epoch: EPOCH, more },
      },
    ];
  };
  await within(script, async ({ server, shown, until }) => {
    await until("the ninth", () => shown.length >= 9);
    assert.deepEqual(seqs(shown), [1, 2, 3, 4, 5, 6, 7, 8, 9]);
    assert.deepEqual(seqs(shown.filter(({ isDamaged }) => isDamaged)), [5]);
    assert.ok(server.asked("history").length <= 8, `${server.asked("history").length} requests`);
  });
});

test("a message is sent again with its id after an error, a lost answer and another connection", async () => {
  let sends = 0;
  const script: Script = (request, connection) => {
    if (request.body.case !== "send") return quiet(request);
    sends++;
    if (sends === 1) return [{ case: "error", value: { code: ErrorCode.RATE_LIMITED, retryAfterMs: 1 } }];
    if (sends === 2) return [{ case: "error", value: { code: 399, retryAfterMs: 1 } }];
    if (sends === 3) connection.break();
    return sends === 3 ? [] : [{ case: "sent", value: { seq: 1n, timeMs: 1n } }];
  };
  await within(script, async ({ server, client, told, shown, until }) => {
    await until("the login", () => client.isOnline);
    const id = await client.send(CONVERSATION, "hello");
    await until("the answer", () => told.includes("sent"));
    const ids = server
      .asked("send")
      .map(({ clientMessageId }) => Buffer.from(clientMessageId).toString("hex"));
    assert.deepEqual(ids, [id, id, id, id]);
    assert.deepEqual(
      shown.map(({ message }) => message?.id),
      [id],
    );
    assert.equal(client.conversations.get(CONVERSATION)?.unread, 0n);
    const [first, second] = server.asked("login").map(({ credential }) => credential?.case);
    assert.deepEqual([first, second], ["password", "resumeToken"]);
  });
});

test("a message that is refused is not sent again", async () => {
  const script: Script = (request) =>
    request.body.case === "send" ? [{ case: "error", value: { code: 199, message: "no" } }] : quiet(request);
  await within(script, async ({ server, client, told, until }) => {
    await until("the login", () => client.isOnline);
    await client.send(CONVERSATION, "hello");
    await client.send(CONVERSATION, "x".repeat(100_000));
    await until("the failures", () => told.length === 2);
    assert.ok(
      told.every((each) => each.startsWith("failed")),
      told.join(),
    );
    assert.equal(server.asked("send").length, 1, "what is too large for the connection is not sent at all");
    assert.deepEqual(client.unsent, []);
  });
});

test("asked to go away it waits for what is under way, and connects to the other place", async () => {
  const elsewhere = await ScriptedServer.start(quiet);
  const script: Script = (request, connection) => {
    if (request.body.case !== "send") return quiet(request);
    const { requestId } = request;
    connection.push({ case: "goAway", value: { reconnectDelayMs: 1, address: elsewhere.address } });
    setTimeout(
      () => connection.say({ requestId, body: { case: "sent", value: { seq: 1n, timeMs: 1n } } }),
      50,
    );
    return [];
  };
  await within(script, async ({ server, client, told, until }) => {
    await until("the login", () => client.isOnline);
    await client.send(CONVERSATION, "hello");
    await until("the other place", () => elsewhere.asked("sync").length === 1);
    assert.ok(told.includes("sent"));
    assert.equal(server.connections.length, 1);
    elsewhere.stop();
    await until("the usual place", () => server.asked("sync").length === 2);
  });
});

for (const [reason, why] of [
  [CloseReason.REPLACED, "replaced"],
  [CloseReason.RECONNECTED, "replaced"],
  [CloseReason.LOGGED_OUT, "logged out"],
  [CloseReason.ACCOUNT_DISABLED, "account disabled"],
  [CloseReason.UNSUPPORTED_VERSION, "gave up"],
] as const) {
  test(`it does not come back by itself after close ${reason}: ${why}`, async () => {
    const state = new MemoryState();
    const script: Script = (request, connection) => {
      if (request.body.case === "sync")
        setImmediate(() => connection.push({ case: "close", value: { reason } }));
      return quiet(request);
    };
    const body = async ({ server, told, until }: Situation) => {
      await until("the stop", () => told.length > 0);
      assert.deepEqual(told, [`stopped ${why}`]);
      assert.equal(server.connections.length, 1);
    };
    await within(script, body, { state });
    const { tokens } = (await state.load()) ?? { tokens: undefined };
    assert.equal(
      tokens?.resume === undefined,
      reason === CloseReason.LOGGED_OUT,
      "tokens are forgotten after a logout only",
    );
  });
}

test("credentials are tried in their order, each once, and a revoked session leaves none", async () => {
  const state = new MemoryState();
  await within(quiet, async ({ client, until }) => until("the login", () => client.isOnline), { state });
  const codes = [ErrorCode.TOKEN_EXPIRED, 299, ErrorCode.SESSION_REVOKED];
  const script: Script = (request) => {
    const code = request.body.case === "login" ? codes.shift() : undefined;
    return code === undefined ? quiet(request) : [{ case: "error", value: { code } }];
  };
  const body = async ({ server, client, until }: Situation) => {
    await until("the login", () => client.isOnline);
    const tried = server.asked("login").map(({ credential }) => credential?.case);
    assert.deepEqual(tried, ["resumeToken", "accessToken", "refreshToken", "password"]);
    assert.equal(server.connections.length, 1);
  };
  await within(script, body, { state });
});

test("what it does not know it ignores: pushes, entries, codes", async () => {
  const script: Script = (request, connection) => {
    if (request.body.case !== "sync") return quiet(request);
    setImmediate(() => {
      connection.raw(Buffer.from("00000003c23e00", "hex")); // A body of number 1000.
      const unknown = { ...entry(1n), body: undefined };
      connection.push({ case: "push", value: { conversationId, entry: unknown } }, push(2n));
      connection.push({ case: "close", value: { reason: 9_999 } });
    });
    return quiet(request);
  };
  await within(script, async ({ server, shown, until }) => {
    await until("another connection", () => server.asked("sync").length >= 2);
    assert.deepEqual(seqs(shown).slice(0, 2), [1, 2]);
    assert.equal(shown[0]?.message, undefined);
  });
});

test("a compressed answer counts as the answer; one that lies ends the connection", async () => {
  let lies = true;
  const script: Script = (request) => {
    if (request.body.case !== "sync") return quiet(request);
    const conversation = { conversationId, head: 1n, unread: 1n, entries: [entry(1n)] };
    const { requestId } = request;
    const value = { epoch: EPOCH, conversations: [conversation] };
    const whole = encode(Frame, { requestId, body: { case: "synced", value } });
    const bytes = whole.length - (lies ? 1 : 0);
    lies = false;
    return [{ case: "compressed", value: { deflated: deflateRawSync(whole), bytes } }];
  };
  await within(script, async ({ server, client, shown, until }) => {
    await until("the entry", () => shown.length === 1);
    assert.equal(client.conversations.get(CONVERSATION)?.unread, 1n);
    assert.equal(server.connections.length, 2);
  });
});

test("a device that leaves gaps out shows what is new, and says what it has not", async () => {
  const script: Script = (request) => {
    if (request.body.case !== "sync") return quiet(request);
    const conversation = { conversationId, head: 9n, unread: 9n, entries: [entry(8n), entry(9n)] };
    return [{ case: "synced", value: { epoch: EPOCH, conversations: [conversation] } }];
  };
  const body = async ({ server, client, told, until }: Situation) => {
    await until("online", () => client.isOnline);
    assert.deepEqual(told, ["entry 8", "entry 9", "left out 1 to 7"]);
    assert.equal(client.conversations.get(CONVERSATION)?.unread, 9n);
    assert.equal(server.asked("history").length, 0);
  };
  await within(script, body, { gaps: "leave out" });
});

test("a state that is somebody else's is left alone", async () => {
  const state = new MemoryState();
  await within(quiet, async ({ client, until }) => until("the login", () => client.isOnline), { state });
  const script: Script = (request) =>
    request.body.case === "login"
      ? [{ case: "loggedIn", value: { ...LOGGED_IN, userId: 99n } }]
      : quiet(request);
  await within(script, async ({ told, until }) => until("the stop", () => told.includes("stopped gave up")), {
    state,
  });
});

test("memberships and settings: the higher version holds, and what is cleared is no gap", async () => {
  const setting = (value: string, version: bigint) =>
    ({ case: "setting", value: { key: "theme", value: Buffer.from(value), version } }) as const;
  const cleared = {
    conversationId,
    visibleFrom: 4n,
    othersCleared: 3n,
    version: 9n,
    request: RequestState.PENDING,
  };
  const script: Script = (request, connection) => {
    if (request.body.case === "sync") {
      setImmediate(() => {
        connection.push(push(5n), { case: "membership", value: cleared }, push(4n));
        connection.push({
          case: "membership",
          value: { ...cleared, version: 8n, request: RequestState.IGNORED },
        });
        connection.push(setting("dark", 3n), setting("light", 2n));
      });
    }
    if (request.body.case === "history")
      return [{ case: "error", value: { code: ErrorCode.TIMEOUT, retryAfterMs: 20 } }];
    if (request.body.case !== "setSetting") return quiet(request);
    const conflict = { code: ErrorCode.VERSION_CONFLICT, setting: setting("mine", 4n).value };
    return [{ case: "error", value: conflict }];
  };
  await within(script, async ({ client, shown, until }) => {
    await until("both entries", () => shown.length === 2 && client.setting("theme") !== undefined);
    assert.deepEqual(seqs(shown), [4, 5]);
    const conversation = client.conversations.get(CONVERSATION);
    assert.equal(conversation?.isRequest, true);
    assert.equal(conversation?.unread, 2n);
    assert.equal(Buffer.from(client.setting("theme") ?? []).toString(), "dark");
    await assert.rejects(client.setSetting("theme", Buffer.from("other"), 3n), {
      code: ErrorCode.VERSION_CONFLICT,
    });
    await client.setSetting("theme", Buffer.from("mine"), 3n);
    assert.equal(client.settingVersion("theme"), 4n, "it was set by the first try, whose answer was lost");
  });
});

test("what was ignored is told anew when it is accepted", async () => {
  const asked: number[] = [];
  const script: Script = (request, connection) => {
    const { body } = request;
    if (body.case === "sync") {
      asked.push(body.value.positions.length);
      if (asked.length === 1)
        setImmediate(() =>
          connection.push(push(1n), { case: "membership", value: membership(1n, RequestState.IGNORED) }),
        );
      if (asked.length === 1) return quiet(request);
      const conversation = { conversationId, head: 3n, unread: 3n, entries: [entry(2n), entry(3n)] };
      return [{ case: "synced", value: { epoch: EPOCH, conversations: [conversation] } }];
    }
    return body.case === "updateConversation"
      ? [{ case: "membership", value: membership(2n, RequestState.NONE) }]
      : quiet(request);
  };
  const membership = (version: bigint, request: number) => ({ conversationId, version, request });
  await within(script, async ({ client, shown, until }) => {
    await until("the state", () => client.conversations.get(CONVERSATION)?.isIgnored === true);
    assert.equal(client.conversations.get(CONVERSATION)?.unread, 0n);
    await client.accept(CONVERSATION);
    await until("all", () => shown.length === 3);
    assert.deepEqual(asked, [0, 0], "what must be told is not named as known");
    assert.equal(client.conversations.get(CONVERSATION)?.unread, 3n);
  });
});

test("sync goes on by its token, over a restart in the middle; what no answer has named is gone", async () => {
  const state = new MemoryState();
  const stranger = (user: bigint) => bytesOf(directConversation(ME, user));
  const told = (user: bigint) => ({
    conversationId: stranger(user),
    head: 1n,
    unread: 1n,
    entries: [entry(1n)],
  });
  const page = (token: string, more: boolean, user: bigint, afresh = false) =>
    [
      {
        case: "synced",
        value: { epoch: EPOCH, token: Buffer.from(token), more, afresh, conversations: [told(user)] },
      },
    ] as const;
  const tokens: string[] = [];
  const answers = [
    page("one", true, 2_001n, true),
    page("two", false, 2_002n),
    page("three", true, 2_002n, true),
    page("four", false, 2_003n),
  ];
  const script: Script = (request, connection) => {
    if (request.body.case !== "sync") return quiet(request);
    tokens.push(Buffer.from(request.body.value.token).toString());
    // The third answer is the last of its connection: the question after it is never answered.
    if (tokens.length === 4)
      setImmediate(() => connection.push({ case: "close", value: { reason: CloseReason.REPLACED } }));
    if (tokens.length === 4) return [];
    return answers.shift() ?? quiet(request);
  };
  await within(
    script,
    async ({ client, until }) => {
      await until("both", () => client.isOnline);
      assert.equal(client.conversations.size, 2);
      assert.deepEqual(tokens, ["", "one"]);
      client.resync();
      await until("the end of this connection", () => tokens.length === 4);
    },
    { state },
  );
  const again = async ({ client, told, until }: Situation) => {
    await until("the rest", () => client.isOnline);
    assert.deepEqual(tokens, ["", "one", "two", "three", "three"]);
    assert.deepEqual(
      [...client.conversations.keys()].sort(),
      [2_002n, 2_003n].map((user) => directConversation(ME, user)),
    );
    assert.ok(told.includes("forgotten"));
  };
  await within(script, again, { state });
});

test("of what has moved by pushes the next sync speaks, and of nothing else", async () => {
  const asked: bigint[][] = [];
  const script: Script = (request, connection) => {
    if (request.body.case !== "sync") return quiet(request);
    asked.push(request.body.value.positions.map(({ seq }) => seq));
    if (asked.length === 1)
      setImmediate(() => connection.push(push(1n), push(2n), { case: "behind", value: {} }));
    if (asked.length === 2) setImmediate(() => connection.push({ case: "behind", value: {} }));
    return quiet(request);
  };
  await within(script, async ({ until }) => {
    await until("three questions", () => asked.length === 3);
    assert.deepEqual(asked, [[], [2n], []]);
  });
});

test("what a restored server lacks is sent again with its id, before what is new, if that is wanted", async () => {
  const said: string[] = [];
  let head = 0n;
  let syncs = 0;
  const script: Script = (request, connection) => {
    const { body } = request;
    if (body.case === "send") {
      said.push(Buffer.from(body.value.content).toString());
      if (said.length === 2) setImmediate(() => connection.push({ case: "behind", value: {} }));
      return [{ case: "sent", value: { seq: ++head, timeMs: head } }];
    }
    if (body.case !== "sync" || ++syncs !== 2) return quiet(request);
    head = 1n;
    const [first] = server?.asked("send") ?? [];
    const message = {
      clientMessageId: first?.clientMessageId ?? Buffer.alloc(16),
      content: Buffer.from("one"),
    };
    const kept = { ...entry(1n), sender: ME, body: { case: "message", value: message } } as const;
    const conversation = { conversationId, head: 1n, forget: true, entries: [kept] };
    return [{ case: "synced", value: { epoch: EPOCH, conversations: [conversation] } }];
  };
  let server: ScriptedServer | undefined;
  const body = async (situation: Situation) => {
    server = situation.server;
    const { client, until } = situation;
    await until("the login", () => client.isOnline);
    await client.send(CONVERSATION, "one");
    await client.send(CONVERSATION, "two");
    await until("the second again", () => said.length >= 3 && client.unsent.length === 0);
    assert.deepEqual(said, ["one", "two", "two"], "what is there is not sent again");
    const [, second, again] = server.asked("send").map(({ clientMessageId }) => Buffer.from(clientMessageId));
    assert.deepEqual(second, again);
    assert.deepEqual(seqs(client.conversations.get(CONVERSATION)?.recent ?? []), [1, 2]);
  };
  await within(script, body, { resendsAfterRestore: true });
});
