// Ordered start-up and drain (style 20): parts are started one after the other and closed in reverse, under one deadline. Signals and exit codes
// belong to the main.ts that uses it.
import type { Clock } from "./clock.ts";
import type { Logger } from "./log.ts";

/** Something that was started and can be closed. */
export interface Closable {
  /** Resolves when everything that was in flight has ended. */
  close(): Promise<void>;
}

const KEEP_ALIVE_MS = 60_000;

/** The parts of a process, in the order in which they were started. */
export interface Lifecycle {
  /**
   * Runs `begin` and remembers what it gives for the drain. When it fails, everything started before is closed, in reverse, and the error is thrown on.
   * Raises an Error when the drain has begun.
   */
  start<Part extends Closable>(name: string, begin: () => Promise<Part> | Part): Promise<Part>;
  /** The same for a step that leaves nothing to close. */
  start(name: string, begin: () => Promise<void>): Promise<void>;
  /** Closes everything in reverse order. True when all closed cleanly within the deadline. Later calls wait for the first one. */
  drain(reason: string): Promise<boolean>;
  /** True from the first call of `drain` on. */
  readonly isDraining: boolean;
}

type State =
  | { readonly kind: "running" }
  /** `done` settles at the deadline at the latest. */
  | { readonly kind: "draining"; readonly done: Promise<boolean> };

/** What {@link createLifecycle} needs. */
export interface LifecycleOptions {
  readonly log: Logger;
  readonly clock: Clock;
  /** Bound of the whole drain, not of one part. Parts that did not close by then are left, and named in the log. */
  readonly drainTimeoutMs: number;
}

/** Makes an empty lifecycle. */
export function createLifecycle({ log, clock, drainTimeoutMs }: LifecycleOptions): Lifecycle {
  const parts: Array<{ readonly name: string; readonly part: Closable }> = [];
  let state: State = { kind: "running" };

  async function start<Part>(name: string, begin: () => Promise<Part> | Part): Promise<Part> {
    if (state.kind === "draining") throw new Error(`${name} is not started: the process is draining`);
    const sinceMs = clock.monoMs();
    try {
      const part = await begin();
      if (isClosable(part)) await keep(name, part);
      log.debug({ part: name, tookMs: Math.round(clock.monoMs() - sinceMs) }, "started");
      return part;
    } catch (error) {
      await drain(`${name} did not start`);
      throw error;
    }
  }

  /** A signal may have come while the part was starting: then it missed the drain and is closed here. */
  async function keep(name: string, part: Closable): Promise<void> {
    if (state.kind === "running") {
      parts.push({ name, part });
      return;
    }
    await part.close();
    throw new Error(`${name} is closed again: the process is draining`);
  }

  function drain(reason: string): Promise<boolean> {
    if (state.kind === "running") {
      log.info({ reason, drainTimeoutMs }, "draining");
      state = { kind: "draining", done: closeAll() };
    }
    return state.done;
  }

  async function closeAll(): Promise<boolean> {
    const sinceMs = clock.monoMs();
    // Clock timers do not keep a process alive; without this one it would end in the middle, once the last socket is closed.
    const alive = setInterval(() => undefined, KEEP_ALIVE_MS);
    let isClean = true;
    let expire: () => void = () => undefined;
    const expired = new Promise<"expired">((resolve) => {
      expire = () => resolve("expired");
    });
    const deadline = clock.after(drainTimeoutMs, expire);
    for (let next = parts.pop(); next !== undefined; next = parts.pop()) {
      const { name } = next;
      const outcome = await Promise.race([closeOne(next), expired]);
      if (outcome !== "closed") isClean = false;
      if (outcome === "expired") log.warn({ part: name, drainTimeoutMs }, "not closed before the drain deadline");
    }
    deadline.cancel();
    clearInterval(alive);
    log.info({ isClean, tookMs: Math.round(clock.monoMs() - sinceMs) }, "drained");
    return isClean;
  }

  async function closeOne({ name, part }: { name: string; part: Closable }): Promise<"closed" | "failed"> {
    try {
      await part.close();
      log.debug({ part: name }, "closed");
      return "closed";
    } catch (err) {
      log.warn({ err, part: name }, "closing failed");
      return "failed";
    }
  }

  return {
    start,
    drain,
    get isDraining() {
      return state.kind === "draining";
    },
  };
}

function isClosable(part: unknown): part is Closable {
  return typeof part === "object" && part !== null && "close" in part && typeof part.close === "function";
}
