// A Chromium without a screen, driven by its own protocol over a pipe: so nothing has to be downloaded, and no port
// is open.

import { spawn, type ChildProcess } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable, Writable } from "node:stream";

const DEADLINE_MS = 60_000;

interface Answer {
  readonly id?: number;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly message: string };
}

export class Chromium {
  readonly #process: ChildProcess;
  readonly #profile: string;
  readonly #input: Writable;
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #said = "";
  #lastId = 0;

  private constructor(process: ChildProcess, profile: string) {
    this.#process = process;
    this.#profile = profile;
    this.#input = process.stdio[3] as Writable;
    (process.stdio[4] as Readable).setEncoding("utf8").on("data", (text: string) => this.#heard(text));
  }

  static async start(program: string): Promise<Chromium> {
    const profile = await mkdtemp(join(tmpdir(), "dunlin-chromium-"));
    const options = [
      "--headless=new",
      "--remote-debugging-pipe",
      `--user-data-dir=${profile}`,
      "--no-first-run",
      "--disable-gpu",
      "--disable-dev-shm-usage",
      // It shows pages of this test alone, and may be run by root, where it has no sandbox.
      "--no-sandbox",
    ];
    const child = spawn(program, options, { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
    return new Chromium(child, profile);
  }

  /** A window with this page. */
  async open(url: string): Promise<Page> {
    const { targetId } = await this.send("Target.createTarget", { url, newWindow: true });
    const { sessionId } = await this.send("Target.attachToTarget", { targetId, flatten: true });
    return new Page(this, sessionId as string);
  }

  send(method: string, params: object, sessionId?: string): Promise<Record<string, unknown>> {
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`${method} is not answered`)), DEADLINE_MS);
      this.#waiting.set(id, ({ result, error }) => {
        clearTimeout(timer);
        if (error === undefined) resolve(result ?? {});
        else reject(new Error(`${method}: ${error.message}`));
      });
      this.#input.write(`${JSON.stringify({ id, method, params, sessionId })}\0`);
    });
  }

  async end(): Promise<void> {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    await this.send("Browser.close", {}).catch(() => this.#process.kill("SIGKILL"));
    await ended;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 10 });
  }

  #heard(text: string): void {
    const said = (this.#said + text).split("\0");
    this.#said = said.pop() ?? "";
    for (const each of said) {
      const answer = JSON.parse(each) as Answer;
      if (answer.id === undefined) continue;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    }
  }
}

export class Page {
  readonly #chromium: Chromium;
  readonly #sessionId: string;

  constructor(chromium: Chromium, sessionId: string) {
    this.#chromium = chromium;
    this.#sessionId = sessionId;
  }

  /** What an expression is in the page. */
  async evaluate<T>(expression: string): Promise<T> {
    const params = { expression, returnByValue: true, awaitPromise: true };
    const answer = await this.#chromium.send("Runtime.evaluate", params, this.#sessionId);
    const { result, exceptionDetails } = answer as {
      result: { value: T };
      exceptionDetails?: { exception?: { description?: string } };
    };
    if (exceptionDetails !== undefined) throw new Error(exceptionDetails.exception?.description ?? "it failed");
    return result.value;
  }

  /** Fills in a form as a person does, and sends it off. */
  submit(form: string, values: Readonly<Record<string, string | boolean>>): Promise<void> {
    return this.evaluate(`{
      const form = document.querySelector(${JSON.stringify(form)});
      for (const [name, value] of Object.entries(${JSON.stringify(values)})) {
        const field = form.elements[name];
        if (typeof value === "boolean") field.checked = value; else field.value = value;
      }
      form.requestSubmit();
    }`);
  }

  /** Waits until an expression is true. */
  async until(what: string, expression: string): Promise<void> {
    const deadline = Date.now() + DEADLINE_MS;
    while (!(await this.evaluate<boolean>(`Boolean(${expression})`))) {
      if (Date.now() > deadline) {
        const text = await this.evaluate<string>("document.body.innerText");
        throw new Error(`never: ${what}; the page shows:\n${text}`);
      }
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
