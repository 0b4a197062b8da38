// Holds a request body that must be known before it is passed on: to verify its digest, or to make one (design 9). Bounded.
import type { Readable } from "node:stream";

/** Reads all of `body`, at most `maxBytes`; null when there is more (the stream is then left paused) or when it broke off. */
export function holdBody(body: Readable, maxBytes: number, done: (held: Buffer | null) => void): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  let settled = false;

  function settle(held: Buffer | null): void {
    if (settled) return;
    settled = true;
    body.off("data", onData);
    done(held);
  }

  function onData(chunk: Buffer): void {
    bytes += chunk.length;
    if (bytes > maxBytes) {
      body.pause();
      return settle(null);
    }
    chunks.push(chunk);
  }

  body.on("data", onData);
  body.once("end", () => settle(Buffer.concat(chunks, bytes)));
  body.once("close", () => settle(null));
  body.once("error", () => settle(null));
}
