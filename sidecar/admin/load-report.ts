// How busy this workload is, as its heartbeats say (design 8): requests in flight and per second, p99 and error share since the last question.
// Counters that only grow, and fixed buckets: one add per request. They may lie in memory that several processes share, each with cells of its own.
import type { Clock } from "../../core/clock.ts";

/** What a heartbeat carries. */
export interface Load {
  readonly inFlight: number;
  readonly rps: number;
  /** Upper bound of the bucket that holds the 99th percentile, ms; 0 without requests. */
  readonly p99Ms: number;
  /** 0..1 */
  readonly errorRatio: number;
  /** Totals since the start: finished requests, those that failed, and refusals. */
  readonly requests: number;
  readonly errors: number;
  readonly refused: number;
}

/** Upper bounds of the buckets, ms: each half again as long as the one before. */
const BUCKET_BOUNDS_MS = Array.from({ length: 32 }, (_, index) => 0.25 * 1.5 ** index);

/** Cells: requests in flight, finished, failed, refusals, then the buckets with one for what is longer than all. */
const IN_FLIGHT = 0;
const REQUESTS = 1;
const ERRORS = 2;
const REFUSALS = 3;
const FIRST_BUCKET = 4;

/** Numbers that a report counts in. */
export const LOAD_CELLS = FIRST_BUCKET + BUCKET_BOUNDS_MS.length + 1;

/** Counts inbound requests. */
export interface LoadRecorder {
  began(): void;
  finished(durationMs: number, failed: boolean): void;
  /** A request or connection, of either direction, that the sidecar itself turned away. */
  refused(): void;
}

/** Gives the load since it was last asked. */
export interface LoadReader {
  take(): Load;
}

/** Collects inbound requests between two heartbeats. */
export interface LoadReport extends LoadRecorder, LoadReader {}

/** Makes a report of one process, which counts into `cells` ({@link LOAD_CELLS} numbers that nobody else writes). */
export function createLoadReport(clock: Clock, cells: Float64Array = new Float64Array(LOAD_CELLS)): LoadReport {
  return { ...createLoadRecorder(cells), ...createLoadReader(clock, [cells]) };
}

function createLoadRecorder(cells: Float64Array): LoadRecorder {
  const add = (cell: number, by: number) => {
    cells[cell] = (cells[cell] as number) + by;
  };
  return {
    began: () => add(IN_FLIGHT, 1),
    finished(durationMs, failed) {
      add(IN_FLIGHT, -1);
      add(REQUESTS, 1);
      if (failed) add(ERRORS, 1);
      let index = 0;
      while (index < BUCKET_BOUNDS_MS.length && durationMs > (BUCKET_BOUNDS_MS[index] as number)) index += 1;
      add(FIRST_BUCKET + index, 1);
    },
    refused: () => add(REFUSALS, 1),
  };
}

/** Nothing is in flight any more in a process that ended; what it had finished stays counted. */
export function forgetInFlight(cells: Float64Array): void {
  cells[IN_FLIGHT] = 0;
}

/** Reads the cells of all processes as one load. */
export function createLoadReader(clock: Clock, processes: readonly Float64Array[]): LoadReader {
  let before: Float64Array = new Float64Array(LOAD_CELLS);
  let sinceMonoMs = clock.monoMs();

  return {
    take() {
      const now = new Float64Array(LOAD_CELLS).map((_, cell) => processes.reduce((sum, cells) => sum + (cells[cell] as number), 0));
      const since = now.map((value, cell) => value - (before[cell] as number));
      const nowMonoMs = clock.monoMs();
      const seconds = Math.max((nowMonoMs - sinceMonoMs) / 1000, 0.001);
      const requests = since[REQUESTS] as number;
      before = now;
      sinceMonoMs = nowMonoMs;
      return {
        inFlight: now[IN_FLIGHT] as number,
        rps: requests / seconds,
        p99Ms: percentile99(since),
        errorRatio: requests === 0 ? 0 : (since[ERRORS] as number) / requests,
        requests: now[REQUESTS] as number,
        errors: now[ERRORS] as number,
        refused: now[REFUSALS] as number,
      };
    },
  };
}

function percentile99(since: Float64Array): number {
  const requests = since[REQUESTS] as number;
  if (requests === 0) return 0;
  let left = Math.ceil(requests * 0.99);
  for (let index = 0; index < BUCKET_BOUNDS_MS.length; index++) {
    left -= since[FIRST_BUCKET + index] as number;
    if (left <= 0) return BUCKET_BOUNDS_MS[index] as number;
  }
  return BUCKET_BOUNDS_MS[BUCKET_BOUNDS_MS.length - 1] as number;
}
