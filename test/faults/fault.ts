// What a row of the fault table is, and what it may use. Each kind of fault has a file of its own that lists its rows; what was promised is decided there,
// before anything is measured.
import type { Store, World } from "./world.ts";

/** Who a fault is done to; `app` is one of the two instances. */
export type Target = "sidecar" | "registry" | "CA" | "Redis" | "app";

/** What is promised in figures. */
export interface Bound {
  /** Requests that may fail from the fault to the end of the row; `any`: those that leave before the fault is over may all fail. */
  readonly failed: number | "any";
  /** The last request that fails leaves at most this long after the fault is over. */
  readonly recoverMs: number;
  /** Longest time without a request of one kind that succeeds; default: not bounded. */
  readonly gapMs?: number;
}

/** One row. */
export interface Fault {
  /** The kind, as in the table. */
  readonly kind: string;
  readonly target: Target;
  /** What exactly is done. */
  readonly what: string;
  /** What must hold, in words. */
  readonly promise: string;
  readonly bound: Bound;
  /** The short form leaves the others out. */
  readonly isShort: boolean;
  /** Default `redis`. */
  readonly store?: Store;
  /** Does the fault and takes it back. What it undoes by {@link Scene.undo} is undone whatever happens. */
  play(scene: Scene): Promise<void>;
}

/** A row while it is played. */
export interface Scene {
  readonly world: World;
  readonly isLong: boolean;
  /** The fault begins: figures count from here. */
  begin(): void;
  /** Lets the fault last. */
  hold(shortMs: number, longMs?: number): Promise<void>;
  /** The fault is over: recovery counts from here. */
  over(): void;
  /** Runs at the end of the row, last first, even when it fails. */
  undo(run: () => unknown): void;
  /** Something that must be so. */
  check(what: string, holds: boolean): void;
  /** Something that must become so; waits for it and notes how long it took. */
  becomes(what: string, withinMs: number, isTrue: () => boolean | Promise<boolean>): Promise<void>;
}

/** No request fails. */
export const NOTHING_FAILS: Bound = { failed: 0, recoverMs: 0 };
