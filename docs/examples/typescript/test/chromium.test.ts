// Two pages in two windows of a real Chromium, and a chat in a terminal, talk to each other while the server is killed.
//
// It needs DUNLIN_CHROMIUM, DUNLIN_PROGRAM (the server) and DUNLIN_CHAT_PROGRAM; without them it is skipped.

import assert from "node:assert/strict";
import { spawn, type ChildProcessWithoutNullStreams } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { extname, join, normalize } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Chromium, type Page } from "./chromium.js";
import { ServerProgram } from "./server_program.js";

const chromiumProgram = process.env["DUNLIN_CHROMIUM"];
const serverProgram = process.env["DUNLIN_PROGRAM"];
const chatProgram = process.env["DUNLIN_CHAT_PROGRAM"];
const EXAMPLES = fileURLToPath(new URL("../../../", import.meta.url));
const TYPES = new Map([[".html", "text/html"], [".js", "text/javascript"]]);
const PASSWORD = "a password of a test";
const DEADLINE_MS = 60_000;

/** Serves the folder of the examples, as any web server would. */
async function serveExamples(): Promise<{ web: Server; url: string }> {
  const web = createServer((request, response) => {
    const path = normalize(new URL(request.url ?? "/", "http://localhost").pathname);
    readFile(join(EXAMPLES, path.endsWith("/") ? `${path}index.html` : path)).then(
      (bytes) => {
        const type = TYPES.get(extname(path)) ?? (path.endsWith("/") ? "text/html" : "text/plain");
        response.writeHead(200, { "Content-Type": type }).end(bytes);
      },
      () => response.writeHead(404).end(),
    );
  });
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  return { web, url: `http://127.0.0.1:${(web.address() as AddressInfo).port}/web/` };
}

/** `dunlin-chat --plain`, line by line. */
class TerminalChat {
  readonly #process: ChildProcessWithoutNullStreams;
  #said = "";

  constructor(program: string, address: string, user: string, state: string) {
    const options = ["--plain", "--user", user, "--server", address, "--register", "--state", state];
    this.#process = spawn(program, [...options, "--password-env", "CHAT_PASSWORD"], {
      env: { ...process.env, CHAT_PASSWORD: PASSWORD },
    });
    for (const output of [this.#process.stdout, this.#process.stderr])
      output.setEncoding("utf8").on("data", (text: string) => (this.#said += text));
  }

  say(line: string): void {
    this.#process.stdin.write(`${line}\n`);
  }

  /** How often something was shown. */
  count(text: string): number {
    return this.#said.split(text).length - 1;
  }

  async until(text: string): Promise<void> {
    const deadline = Date.now() + DEADLINE_MS;
    while (this.count(text) === 0) {
      assert.ok(Date.now() < deadline, `never: ${text}; it shows:\n${this.#said}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGKILL");
    await ended;
  }
}

const lineOf = (text: string) =>
  `[...document.querySelectorAll("#messages li:not(.waits)")].filter((it) => it.textContent === ${JSON.stringify(text)}).length === 1`;

async function logIn(page: Page, server: ServerProgram, user: string): Promise<void> {
  await page.until("the page is loaded", `document.readyState === "complete" && document.querySelector("#login")`);
  await page.submit("#login", { url: `ws://${server.address("web")}/`, user, password: PASSWORD, register: true });
  await page.until(`${user} is online`, `document.querySelector("#status").textContent === "online as ${user}"`);
}

const say = (page: Page, to: string, text: string) => page.submit("#write", { to, text });
const shows = (page: Page, line: string) => page.until(line, lineOf(line));
const lines = (page: Page) =>
  page.evaluate<string[]>(`[...document.querySelectorAll("#messages li")].map((it) => it.textContent)`);

const isThere = chromiumProgram !== undefined && serverProgram !== undefined && chatProgram !== undefined;

test("two windows and a terminal talk through a kill of the server", { skip: !isThere }, async (context) => {
  const server = await ServerProgram.start(serverProgram as string);
  context.after(() => server.end());
  const { web, url } = await serveExamples();
  context.after(() => web.close());
  const chromium = await Chromium.start(chromiumProgram as string);
  context.after(() => chromium.end());
  const state = await mkdtemp(join(tmpdir(), "dunlin-chat-"));
  context.after(() => rm(state, { recursive: true, force: true }));
  const [ada, bob] = [await chromium.open(url), await chromium.open(url)];
  await logIn(ada, server, "ada");
  await logIn(bob, server, "bob");
  const cyd = new TerminalChat(chatProgram as string, server.address("tcp"), "cyd", state);
  context.after(() => cyd.end());

  await say(ada, "bob", "one");
  await shows(bob, "ada: one");
  await say(bob, "ada", "two");
  await shows(ada, "bob: two");
  cyd.say("/to ada");
  cyd.say("three");
  await shows(ada, "cyd: three");
  await say(ada, "cyd", "four");
  await cyd.until("four");

  await server.kill();
  const offline = `document.querySelector("#status").textContent.startsWith("offline")`;
  await ada.until("ada sees that it is gone", offline);
  await bob.until("bob sees that it is gone", offline);
  // The names are known; what is written waits.
  const written = (page: Page, to: string, text: string) =>
    say(page, to, text).then(() => page.until(text, `document.querySelector("#messages").textContent.includes("${text}")`));
  const waits = [written(ada, "bob", "five"), written(ada, "cyd", "six")];
  cyd.say("seven");
  await server.start();
  await Promise.all(waits);
  await shows(bob, "ada: five");
  await cyd.until("six");
  await shows(ada, "cyd: seven");
  await say(bob, "ada", "eight");
  await shows(ada, "bob: eight");
  await shows(ada, "ada: six");

  // Nothing is there twice, and each conversation is in order.
  const [ofAda, ofBob] = [await lines(ada), await lines(bob)];
  const between = (all: string[], words: string) => all.filter((line) => words.includes(line.split(": ")[1] ?? "?"));
  assert.deepEqual(between(ofAda, "one two five eight"), ["ada: one", "bob: two", "ada: five", "bob: eight"]);
  assert.deepEqual(ofBob, ["ada: one", "bob: two", "ada: five", "bob: eight"]);
  assert.deepEqual(between(ofAda, "three seven"), ["cyd: three", "cyd: seven"]);
  for (const word of ["four", "six"]) assert.equal(cyd.count(word), 1, word);
  context.diagnostic("none lost, none doubled");
});
