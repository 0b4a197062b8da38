// Opaque TCP between two streams (design 4, 13): two ways, each a flow of its own, that begin and end together. A half-close is passed on, a reset of
// either side resets the other, silence of both ends the pair.
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import { isEndLostReset } from "./lost-reset.ts";
import { RelayFlow } from "./relay-flow.ts";
import { resetStream } from "./reset.ts";

/** How a relay ended. */
export interface RelayEnd {
  /** Payload bytes from `a` to `b`, and back. */
  readonly bytesForward: number;
  readonly bytesBack: number;
  /** `closed`: both sides finished in order; `reset`: one broke off; `idle`: neither sent anything for `idleTimeoutMs`. */
  readonly cause: "closed" | "reset" | "idle";
  /** Who broke off, where one did: its connection failed before the other's. Null where neither did, or this process itself cut one off. */
  readonly brokenBy: "a" | "b" | null;
  /** True when `a` had said that nothing more comes from it. */
  readonly endedForward: boolean;
}

/** Options of {@link relay}. */
export interface RelayOptions {
  readonly clock: Clock;
  /** Longest silence in both directions, ms; 0 means none is too long. */
  readonly idleTimeoutMs: number;
  /** Bytes already read from `a`, sent to `b` first. */
  readonly head?: Buffer | null;
  /** Told once, of the first bytes from `b`. */
  readonly answered?: () => void;
}

/**
 * Moves bytes both ways until both sides ended. Both streams must allow half-open and have no data listeners. Owns them from now on: both are destroyed
 * when `done` is called, which happens exactly once. Each way holds at most two buffers of 128 KiB for a receiver that does not keep up, and none at rest.
 */
export function relay(a: Duplex, b: Duplex, options: RelayOptions, done: (end: RelayEnd) => void): void {
  let closedInOrder = 0;
  let finished = false;
  let isAnswered = false;
  const idle = options.idleTimeoutMs > 0 ? options.clock.after(options.idleTimeoutMs, () => finish("idle")) : null;
  const moved = () => idle?.refresh();
  const forward = new RelayFlow(a, b, moved);
  const back = new RelayFlow(b, a, movedBack);
  watch(a, "a");
  watch(b, "b");
  if (a.destroyed || b.destroyed) return finish("reset", a.destroyed ? "a" : "b");
  forward.start(options.head ?? null);
  back.start(null);

  function watch(stream: Duplex, side: "a" | "b"): void {
    stream.on("error", () => finish("reset", side));
    stream.on("end", () => isEndLostReset(stream) && finish("reset", side)); // before the flow passes it on
    stream.on("close", () => onClose(stream));
  }

  /** What a peer breaks off ends with an error first; without one it was closed in order, or by ourselves. */
  function onClose(stream: Duplex): void {
    if (!stream.readableEnded || !stream.writableFinished) return finish("reset");
    closedInOrder += 1;
    if (closedInOrder === 2) finish("closed");
  }

  function movedBack(): void {
    if (!isAnswered) {
      isAnswered = true;
      options.answered?.();
    }
    moved();
  }

  function finish(cause: RelayEnd["cause"], brokenBy: RelayEnd["brokenBy"] = null): void {
    if (finished) return;
    finished = true;
    idle?.cancel();
    forward.stop();
    back.stop();
    if (cause !== "closed") {
      resetStream(a);
      resetStream(b);
    }
    done({ bytesForward: forward.bytes, bytesBack: back.bytes, cause, brokenBy, endedForward: forward.hasEnded });
  }
}
