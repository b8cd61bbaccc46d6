// Events of a client, for browsers as for Node.

type Callback<Values extends unknown[]> = (...values: Values) => void;

export class Emitter<Events extends { [Name in keyof Events]: unknown[] }> {
  #callbacks: { [Name in keyof Events]?: Set<Callback<Events[Name]>> } = {};

  /** Calls back each time. */
  on<Name extends keyof Events>(name: Name, callback: Callback<Events[Name]>): this {
    (this.#callbacks[name] ??= new Set()).add(callback);
    return this;
  }

  /** Calls back no more; without a callback nobody of this event. */
  off<Name extends keyof Events>(name: Name, callback?: Callback<Events[Name]>): this {
    if (callback === undefined) this.#callbacks[name]?.clear();
    else this.#callbacks[name]?.delete(callback);
    return this;
  }

  /** Nobody is called back any more. */
  silence(): void {
    this.#callbacks = {};
  }

  emit<Name extends keyof Events>(name: Name, ...values: Events[Name]): void {
    for (const callback of [...(this.#callbacks[name] ?? [])]) callback(...values);
  }
}
