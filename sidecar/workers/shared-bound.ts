// A bound on what is open at once in all processes together: requests in flight, connections. Each process counts its own in a cell of its own, and
// who wants in adds them all up under the lock; so the bound is exact, and what a killed process held is given back by clearing its one cell.
//
// HOT PATH: one lock, one add per process; no allocation.
import type { LoadShed } from "../policy/load-shed.ts";
import type { ProcessLock } from "./process-lock.ts";

/** Settings of {@link createSharedBound}. */
export interface SharedBoundOptions {
  /** At most this many in all processes, 1 or more. */
  readonly max: number;
  /** One cell per process, in shared memory. */
  readonly cells: Int32Array;
  /** The cell of this process. */
  readonly index: number;
  readonly lock: ProcessLock;
}

/** Makes this process's view of a bound. `inFlight` is what this process alone holds, so that it can see when its own work is done. */
export function createSharedBound({ max, cells, index, lock }: SharedBoundOptions): LoadShed {
  function total(): number {
    let sum = 0;
    for (let cell = 0; cell < cells.length; cell++) sum += Atomics.load(cells, cell);
    return sum;
  }

  return {
    maxInFlight: max,
    get inFlight() {
      return Atomics.load(cells, index);
    },
    tryEnter() {
      lock.enter();
      const admitted = total() < max;
      if (admitted) Atomics.add(cells, index, 1);
      lock.leave();
      return admitted;
    },
    leave() {
      // Leaving makes room, so nobody has to be kept out meanwhile. A second leave would admit one too many for ever.
      if (Atomics.sub(cells, index, 1) <= 0) {
        Atomics.add(cells, index, 1);
        throw new Error("shared bound: leave() without tryEnter()");
      }
    },
  };
}
