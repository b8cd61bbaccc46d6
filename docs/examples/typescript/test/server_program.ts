// The server as a program that can be killed, and started again where it was.

import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

export class ServerProgram {
  readonly #program: string;
  readonly #folder: string;
  #addresses: ReadonlyMap<string, string> = new Map(["tcp", "tls", "web"].map((name) => [name, "127.0.0.1:0"]));
  #process: ChildProcess | undefined;

  private constructor(program: string, folder: string) {
    this.#program = program;
    this.#folder = folder;
  }

  static async start(program: string): Promise<ServerProgram> {
    const server = new ServerProgram(program, await mkdtemp(join(tmpdir(), "dunlin-server-")));
    await server.start();
    return server;
  }

  /** Where it listens for `tcp`, `tls` or `web`; the same after each start. */
  address(name: string): string {
    return this.#addresses.get(name) ?? assert.fail(name);
  }

  async start(): Promise<void> {
    const settings = [`data.folder=${join(this.#folder, "data")}`, "passwords.memory_kib=8", "listen.http="];
    for (const [name, address] of this.#addresses) settings.push(`listen.${name}=${address}`);
    const options = settings.flatMap((setting) => ["--set", setting]);
    const child = spawn(this.#program, ["serve", ...options], { cwd: this.#folder, stdio: ["ignore", "pipe", "ignore"] });
    this.#process = child;
    const lines = createInterface(child.stdout ?? assert.fail("there is a pipe"));
    const [first] = (await once(lines, "line")) as [string];
    const words = first.split(" ");
    assert.equal(words.shift(), "listening");
    this.#addresses = new Map(words.map((word) => word.split("=") as [string, string]));
  }

  /** As by the system when there is no memory left: nothing is said, nothing is saved. */
  async kill(): Promise<void> {
    const child = this.#process ?? assert.fail("it runs");
    child.kill("SIGKILL");
    await once(child, "exit");
    this.#process = undefined;
  }

  async end(): Promise<void> {
    if (this.#process !== undefined) await this.kill();
    await rm(this.#folder, { recursive: true, force: true });
  }
}
