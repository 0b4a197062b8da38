// Ends a stream whose peer may keep its own side open: what still comes is read and thrown away for a moment, so that the last answer is not lost
// to a reset (RFC 9112 section 9.6), and then the connection is gone. Without the bound such a peer would hold its place for ever.
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import { resetStream } from "./reset.ts";

/** How long a peer may take to close its side, ms. */
export const LINGER_MS = 1_000;

/** Ends `stream` after `last`, and resets it when its peer has not closed it within a second. */
export function endSoon(stream: Duplex, clock: Clock, last?: string): void {
  if (stream.destroyed) return;
  const timer = clock.after(LINGER_MS, () => resetStream(stream));
  stream.once("close", () => timer.cancel());
  if (last === undefined) stream.end();
  else stream.end(last, "latin1");
  stream.resume();
}
