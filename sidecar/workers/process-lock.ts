// Mutual exclusion between processes, on one word of shared memory that names the holder's process. What it guards takes less than a microsecond, so
// who finds it taken spins, then sleeps. A holder that was killed is noticed, and the lock taken from it: nothing that it guards is left unusable by
// half a change.
//
// HOT PATH: two atomic operations while nobody else holds it; no allocation.

const FREE = 0;
/** Tries before the first sleep: some microseconds. */
const SPINS = 200;
const SLEEP_MS = 1;
/** A holder that kept it this long was stopped (SIGSTOP, a debugger): it is passed over rather than everything stopped with it. */
const PATIENCE_MS = 250;

/** The lock, as one process sees it. */
export interface ProcessLock {
  /** Waits until nobody else holds it, at most 250 ms. Not reentrant. */
  enter(): void;
  leave(): void;
}

/** Settings of {@link createProcessLock}. */
export interface ProcessLockOptions {
  /** One word of shared memory, 0 at first. */
  readonly word: Int32Array;
  /** This process. */
  readonly pid: number;
  /** Whether a process is there; one that ended and was not waited for yet counts as there. */
  readonly isAlive: (pid: number) => boolean;
}

/** Makes this process's view of the lock. */
export function createProcessLock({ word, pid, isAlive }: ProcessLockOptions): ProcessLock {
  /** For Atomics.wait alone, which insists on a SharedArrayBuffer; nobody ever wakes it. */
  const pillow = new Int32Array(new SharedArrayBuffer(4));

  function wait(): void {
    for (let spins = 0; spins < SPINS; spins++) {
      if (Atomics.load(word, 0) === FREE && Atomics.compareExchange(word, 0, FREE, pid) === FREE) return;
    }
    let sleptMs = 0;
    for (;;) {
      const holder = Atomics.compareExchange(word, 0, FREE, pid);
      if (holder === FREE) return;
      const isLost = sleptMs >= PATIENCE_MS || !isAlive(holder);
      if (isLost && Atomics.compareExchange(word, 0, holder, pid) === holder) return;
      Atomics.wait(pillow, 0, 0, SLEEP_MS);
      sleptMs += SLEEP_MS;
    }
  }

  return {
    enter() {
      if (Atomics.compareExchange(word, 0, FREE, pid) !== FREE) wait();
    },
    leave() {
      // Nothing when it was taken from us in the meantime.
      Atomics.compareExchange(word, 0, pid, FREE);
    },
  };
}

/** Whether a process of this user is there. */
export function isProcessAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}
