// Whose turn it is at the CA. Thousands of pods that start together ask together: they are served in order, first certificates before renewals, which have hours, and so many in
// one turn of the event loop that heartbeats of those who run are answered in between. Whoever finds the queue full is told when to come again.
import type { Clock } from "../core/clock.ts";
import { CertError } from "../core/errors.ts";

/** Requests under way at once: most of the time of each is its credential's review. */
const RUNNING = 64;
/** Requests that wait. At 1000 answers a second it is four seconds, which is less than their senders' patience. */
const WAITING = 4_096;
/** Requests begun in one turn of the event loop: each is half a millisecond of signatures, which heartbeats wait for. */
const PER_TURN = 4;
/** What is told before anything was measured, ms for each that waits. */
const FIRST_GUESS_MS = 1;
/** Weight of the newest answer in the measured pace. */
const NEWEST = 0.02;

/** `first`: the workload has no certificate and does nothing yet. */
export type Urgency = "first" | "renewal";

/** Settings of {@link createIssueQueue}. */
export interface IssueQueueOptions {
  readonly clock: Clock;
  readonly running?: number;
  readonly waiting?: number;
  readonly perTurn?: number;
  /** Calls `run` in the next turn of the event loop; `setImmediate` outside of tests. */
  readonly nextTurn?: (run: () => void) => void;
}

/** The queue. */
export interface IssueQueue {
  /** How many wait. */
  readonly waiting: number;
  /**
   * Runs `work` when it is its turn. Throws `CertError("rate_limited")` with `waitMs` at once when too many wait, and `CertError("unavailable")` without running it
   * when `isGone` says that nobody waits for the answer any more.
   */
  run<Value>(urgency: Urgency, isGone: () => boolean, work: () => Promise<Value>): Promise<Value>;
}

/** Makes an empty queue. */
export function createIssueQueue(options: IssueQueueOptions): IssueQueue {
  const { clock, running: maxRunning = RUNNING, waiting: maxWaiting = WAITING, perTurn = PER_TURN, nextTurn = setImmediate } = options;
  const lines = { first: [] as (() => void)[], renewal: [] as (() => void)[] };
  let running = 0;
  let isScheduled = false;
  let millisEach = FIRST_GUESS_MS;
  let answeredMonoMs = clock.monoMs();

  const waiting = () => lines.first.length + lines.renewal.length;

  function schedule(): void {
    if (isScheduled || waiting() === 0) return;
    isScheduled = true;
    nextTurn(serve);
  }

  function serve(): void {
    isScheduled = false;
    for (let begun = 0; begun < perTurn && running < maxRunning; begun += 1) {
      const start = lines.first.shift() ?? lines.renewal.shift();
      if (start === undefined) return;
      running += 1;
      start();
    }
    if (running < maxRunning) schedule();
  }

  function done(): void {
    const now = clock.monoMs();
    millisEach += NEWEST * (Math.min(now - answeredMonoMs, 1000) - millisEach);
    answeredMonoMs = now;
    running -= 1;
    schedule();
  }

  return {
    get waiting() {
      return waiting();
    },
    async run(urgency, isGone, work) {
      if (waiting() >= maxWaiting) {
        const waitMs = Math.ceil(waiting() * millisEach);
        throw new CertError("rate_limited", `${waiting()} requests for certificates wait already`, { fields: { waitMs } });
      }
      await new Promise<void>((resolve) => {
        lines[urgency].push(resolve);
        schedule();
      });
      try {
        if (isGone()) throw new CertError("unavailable", "the caller did not wait for its turn");
        return await work();
      } finally {
        done();
      }
    },
  };
}
