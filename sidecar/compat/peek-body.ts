// Looks into the start of a request body: a unary message ends at once and can be digested whole, a stream does not and is passed on (design 9).
import type { Readable } from "node:stream";
import type { Clock } from "../../core/clock.ts";

/**
 * Reads until `body` ends, holds more than `maxBytes`, or `waitMs` have passed. `complete` is true when all was read; otherwise `body` is
 * left paused with the rest still in it. Not called at all when the body breaks off: the stream's own `close` tells that.
 * `isCutOff` is asked at the end: a reset HTTP/2 stream ends like a whole one.
 */
export function peekBody(
  body: Readable,
  options: { readonly maxBytes: number; readonly waitMs: number; readonly clock: Clock; readonly isCutOff: () => boolean },
  done: (read: Buffer, complete: boolean) => void,
): void {
  const chunks: Buffer[] = [];
  let bytes = 0;
  const timer = options.clock.after(options.waitMs, () => settle(false));

  function onData(chunk: Buffer): void {
    chunks.push(chunk);
    bytes += chunk.length;
    if (bytes > options.maxBytes) settle(false);
  }

  function onEnd(): void {
    if (options.isCutOff()) onClose();
    else settle(true);
  }

  function settle(complete: boolean): void {
    timer.cancel();
    body.off("data", onData);
    body.off("end", onEnd);
    body.off("close", onClose);
    if (!complete) body.pause();
    done(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks, bytes), complete);
  }

  function onClose(): void {
    timer.cancel();
  }

  body.on("data", onData);
  body.once("end", onEnd);
  body.once("close", onClose);
}
