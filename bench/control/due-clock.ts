// A clock that remembers when the timer that runs now was due. Latency counted from there is open loop: a simulator or control plane that is late makes what
// waits behind it late too, instead of asking for less.
import { type Clock, systemClock } from "../../core/clock.ts";

/** {@link systemClock}, and the instant that the current work was due, `monoMs`. */
export interface DueClock extends Clock {
  /** Now, when no timer of this clock runs. */
  dueMonoMs(): number;
}

/** Makes one. */
export function createDueClock(): DueClock {
  let due = 0;
  return {
    ...systemClock,
    after(delayMs, run) {
      // Node counts whole milliseconds.
      const dueMonoMs = systemClock.monoMs() + Math.max(1, Math.trunc(delayMs));
      return systemClock.after(delayMs, () => {
        due = dueMonoMs;
        run();
        due = 0;
      });
    },
    dueMonoMs: () => (due === 0 ? systemClock.monoMs() : Math.min(due, systemClock.monoMs())),
  };
}
