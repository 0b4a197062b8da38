// A clock that tests turn by hand, for modules that only read time and never wait.
import { type Clock, systemClock } from "../../../core/clock.ts";

/** A clock whose two readings stand still until they are set. */
export interface HandClock extends Clock {
  wallMs: number;
  mono: number;
  /** Moves both on. */
  advance(byMs: number): void;
}

/** Starts at a round wall time and at monotonic 1000 ms. */
export function createHandClock(wallMs = 1_800_000_000_000): HandClock {
  return {
    ...systemClock,
    wallMs,
    mono: 1_000,
    nowMs() {
      return this.wallMs;
    },
    monoMs() {
      return this.mono;
    },
    advance(byMs) {
      this.wallMs += byMs;
      this.mono += byMs;
    },
  };
}
