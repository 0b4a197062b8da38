// HOT PATH: opaque TCP between two streams (design 4, 13). Per chunk: one write, and a pause when the other side is full; no copies, no
// promises, no allocation of ours. Half-close is passed on, a reset of either side resets the other, silence of both ends the pair.
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import { resetStream } from "./reset.ts";

/** How a relay ended. */
export interface RelayEnd {
  /** Payload bytes from `a` to `b`, and back. */
  readonly bytesForward: number;
  readonly bytesBack: number;
  /** `closed`: both sides finished in order; `reset`: one broke off; `idle`: neither sent anything for `idleTimeoutMs`. */
  readonly cause: "closed" | "reset" | "idle";
}

/** Options of {@link relay}. */
export interface RelayOptions {
  readonly clock: Clock;
  /** Longest silence in both directions, ms; 0 means none is too long. */
  readonly idleTimeoutMs: number;
  /** Bytes already read from `a`, sent to `b` first. */
  readonly head?: Buffer | null;
}

/**
 * Moves bytes both ways until both sides ended. Both streams must allow half-open and have no data listeners. Owns them from now on:
 * both are destroyed when `done` is called, which happens exactly once. Memory per pair is bounded by the streams' high-water marks.
 */
export function relay(a: Duplex, b: Duplex, options: RelayOptions, done: (end: RelayEnd) => void): void {
  let bytesForward = 0;
  let bytesBack = 0;
  let closedInOrder = 0;
  let finished = false;
  const idle = options.idleTimeoutMs > 0 ? options.clock.after(options.idleTimeoutMs, () => finish("idle")) : null;

  if (options.head !== undefined && options.head !== null && options.head.length > 0) {
    bytesForward += options.head.length;
    b.write(options.head);
  }
  carry(a, b, (bytes) => {
    bytesForward += bytes;
    idle?.refresh();
  });
  carry(b, a, (bytes) => {
    bytesBack += bytes;
    idle?.refresh();
  });

  function carry(from: Duplex, to: Duplex, moved: (bytes: number) => void): void {
    from.on("data", (chunk: Buffer) => {
      moved(chunk.length);
      if (!to.write(chunk)) from.pause();
    });
    to.on("drain", () => from.resume());
    from.on("end", () => to.end());
    from.on("error", () => finish("reset"));
    from.on("close", () => onClose(from));
    if (from.readableEnded) to.end();
    else from.resume();
    if (from.destroyed) finish("reset");
  }

  function onClose(stream: Duplex): void {
    if (!stream.readableEnded || !stream.writableFinished) return finish("reset");
    closedInOrder += 1;
    if (closedInOrder === 2) finish("closed");
  }

  function finish(cause: RelayEnd["cause"]): void {
    if (finished) return;
    finished = true;
    idle?.cancel();
    if (cause !== "closed") {
      resetStream(a);
      resetStream(b);
    }
    done({ bytesForward, bytesBack, cause });
  }
}
