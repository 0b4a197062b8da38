// How busy this workload is, as its heartbeats say (design 8): requests in flight and per second, p99 and error share since the last question.
// Fixed buckets and counters: one add per request.
import type { Clock } from "../../core/clock.ts";

/** What a heartbeat carries. */
export interface Load {
  readonly inFlight: number;
  readonly rps: number;
  /** Upper bound of the bucket that holds the 99th percentile, ms; 0 without requests. */
  readonly p99Ms: number;
  /** 0..1 */
  readonly errorRatio: number;
}

/** Upper bounds of the buckets, ms: each half again as long as the one before. */
const BUCKET_BOUNDS_MS = Array.from({ length: 32 }, (_, index) => 0.25 * 1.5 ** index);

/** Collects inbound requests between two heartbeats. */
export interface LoadReport {
  began(): void;
  finished(durationMs: number, failed: boolean): void;
  /** The load since the last call. */
  take(): Load;
}

/** Makes a report. */
export function createLoadReport(clock: Clock): LoadReport {
  const buckets = new Uint32Array(BUCKET_BOUNDS_MS.length + 1);
  let inFlight = 0;
  let requests = 0;
  let errors = 0;
  let sinceMonoMs = clock.monoMs();

  function percentile99(): number {
    if (requests === 0) return 0;
    let left = Math.ceil(requests * 0.99);
    for (let index = 0; index < buckets.length; index++) {
      left -= buckets[index] as number;
      if (left <= 0) return BUCKET_BOUNDS_MS[Math.min(index, BUCKET_BOUNDS_MS.length - 1)] as number;
    }
    return BUCKET_BOUNDS_MS[BUCKET_BOUNDS_MS.length - 1] as number;
  }

  return {
    began() {
      inFlight += 1;
    },
    finished(durationMs, failed) {
      inFlight -= 1;
      requests += 1;
      if (failed) errors += 1;
      let index = 0;
      while (index < BUCKET_BOUNDS_MS.length && durationMs > (BUCKET_BOUNDS_MS[index] as number)) index += 1;
      buckets[index] = (buckets[index] as number) + 1;
    },
    take() {
      const nowMonoMs = clock.monoMs();
      const seconds = Math.max((nowMonoMs - sinceMonoMs) / 1000, 0.001);
      const load = { inFlight, rps: requests / seconds, p99Ms: percentile99(), errorRatio: requests === 0 ? 0 : errors / requests };
      buckets.fill(0);
      requests = 0;
      errors = 0;
      sinceMonoMs = nowMonoMs;
      return load;
    },
  };
}
