// Repeating a request as its errors ask for it.

import { Refused } from "../connection/errors.js";
import { classOf, isWorthRepeating } from "../wire/codes.js";

/** How often a fault of the server is worth another try. */
const FAULTS_MAX = 5;
const PAUSE_MS = 1_000;

/** `pause` rejects when there is no point in waiting any more. */
export async function repeating<T>(pause: (ms: number) => Promise<void>, ask: () => Promise<T>): Promise<T> {
  for (let faults = 0; ;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Refused) || !isWorthRepeating(error.code)) throw error;
      const kind = classOf(error.code);
      if (kind !== "not now" && (kind !== "server" || faults++ >= FAULTS_MAX)) throw error;
      await pause(error.retryAfterMs || PAUSE_MS * 2 ** faults);
    }
  }
}
