// A connection that lives for longer than half of its session asks for new tokens, so that the session
// does not end while it is in use.

import type { Live } from "./live.js";
import { repeating } from "./repeat.js";

/** A timer can't wait for longer than 2^31 ms, and a laptop sleeps: look at the clock now and then. */
const LOOK_MS = 10 * 60_000;

export async function renewing(live: Live): Promise<void> {
  const { book, connection } = live;
  for (;;) {
    const { refresh, renewMs } = book.tokens;
    if (refresh === undefined || renewMs === undefined) return; // Its issuer renews.
    const leftMs = renewMs - Date.now();
    if (leftMs > 0) {
      await live.pause(Math.min(leftMs, LOOK_MS));
      continue;
    }
    await repeating(
      (ms) => live.pause(ms),
      // The old one is forgotten in the same write that has the new one.
      () =>
        connection.request("refresh", { refreshToken: refresh.token }, (tokens) =>
          book.renewed(tokens, Date.now()),
        ),
    );
    await book.save();
  }
}
