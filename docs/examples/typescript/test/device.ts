// A user's device in a test: a client, and what it has shown.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { Client, type ClientOptions } from "../src/client/client.js";
import { register } from "../src/client/register.js";
import type { ConversationId } from "../src/conversation/id.js";
import type { Entry } from "../src/conversation/entry.js";
import { MemoryState, type DurableState, type Saved } from "../src/state/saved.js";

const DEADLINE_MS = 120_000;

/** A state that keeps what was saved up to the death of its client, and nothing after it. */
class Mortal implements DurableState {
  readonly #state: DurableState;
  #isDead = false;
  #saving: Promise<void> = Promise.resolve();

  constructor(state: DurableState) {
    this.#state = state;
  }

  load(): Promise<Saved | undefined> {
    return this.#state.load();
  }

  save(saved: Saved): Promise<void> {
    if (this.#isDead) return Promise.resolve();
    this.#saving = this.#state.save(saved);
    return this.#saving;
  }

  /** A write that has begun is done or not when the next one looks; two processes never write at a time. */
  async die(): Promise<void> {
    this.#isDead = true;
    await this.#saving;
  }
}

export interface User {
  readonly username: string;
  readonly password: string;
}

/** Somebody new, with a name that nobody has. */
export async function newUser(address: string, name: string): Promise<User & { userId: bigint }> {
  const user = {
    username: `${name}-${randomBytes(6).toString("hex")}`,
    password: randomBytes(12).toString("hex"),
  };
  const userId = await register({ address, tls: false }, user);
  return { ...user, userId };
}

export class DeviceUnderTest {
  readonly name: string;
  readonly sent: string[] = [];
  readonly failures: string[] = [];
  readonly #options: Omit<ClientOptions, "state" | "credentials">;
  readonly #user: User;
  readonly #state: DurableState;
  #mortal!: Mortal;
  client!: Client;
  passwordsAsked = 0;

  constructor(
    name: string,
    user: User,
    options: Omit<ClientOptions, "state" | "credentials">,
    state: DurableState = new MemoryState(),
  ) {
    this.name = name;
    this.#user = user;
    this.#options = options;
    this.#state = state;
  }

  async start(): Promise<void> {
    this.#mortal = new Mortal(this.#state);
    const password = () => {
      this.passwordsAsked++;
      return Promise.resolve(this.#user);
    };
    this.client = await Client.open({ ...this.#options, state: this.#mortal, credentials: { password } });
    const { events } = this.client;
    events.on("sent", (id) => this.sent.push(id));
    events.on("failed", (_, __, error) => this.failures.push(error.message));
    events.on("stopped", (why, error) => {
      if (why !== "by the program") this.failures.push(`stopped: ${why}: ${error?.stack}`);
    });
    this.client.start();
  }

  /** As a kill would: what is not saved is lost, and nobody says goodbye. */
  async killAndStartAgain(): Promise<void> {
    await this.#mortal.die();
    const dead = this.client;
    dead.events.silence();
    void dead.stop();
    await this.start();
  }

  shown(conversation: ConversationId): readonly Entry[] {
    return this.client.conversations.get(conversation)?.recent ?? [];
  }

  texts(conversation: ConversationId): string[] {
    return this.shown(conversation).flatMap(({ message }) =>
      message ? [Buffer.from(message.content).toString()] : [],
    );
  }

  unread(conversation: ConversationId): bigint {
    return this.client.conversations.get(conversation)?.unread ?? 0n;
  }

  async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = Date.now() + DEADLINE_MS;
    while (!condition()) {
      assert.deepEqual(this.failures, [], this.name);
      assert.ok(Date.now() < deadline, `${this.name}: ${what} does not come`);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }
}
