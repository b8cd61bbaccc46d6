// How long to wait before the next connection.

export const BACKOFF_BASE_MS = 500;
const MAX_MS = 60_000;

/**
 * `toldMs` is what the server asked for, or 0. The random factor is there for the day on which a server
 * goes down: without it everybody comes back at once.
 */
export function delayMs(
  toldMs: number,
  attempts: number,
  baseMs = BACKOFF_BASE_MS,
  random: () => number = Math.random,
): number {
  const planned = toldMs > 0 ? toldMs : Math.min(baseMs * 2 ** Math.min(attempts, 30), MAX_MS);
  return planned * (0.5 + random());
}
