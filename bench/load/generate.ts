// The load, as hard as the path takes it: by wrk where it is installed, since it takes little of the machine; else by autocannon, which every
// checkout has.
import { findProgram } from "../../test/support/requires.ts";
import { withAutocannon } from "./autocannon.ts";
import { withWrk } from "./wrk.ts";

/** What to send where. */
export interface LoadOptions {
  readonly url: string;
  readonly host: string | null;
  readonly connections: number;
  /** Whole seconds. */
  readonly durationS: number;
  /** Of a POST; default 0, a GET. */
  readonly bodyBytes?: number;
  /** Default false. True: each request opens a connection and asks to close it. */
  readonly newConnections?: boolean;
}

/** What came back. */
export interface LoadResult {
  readonly requests: number;
  /** Anything but a 2xx answer. */
  readonly failed: number;
  readonly perSecond: number;
  /** Percentiles of the time from sending to the whole answer; null where the load has no such time. */
  readonly p50Ms: number | null;
  readonly p90Ms: number | null;
  readonly p99Ms: number | null;
  readonly p999Ms: number | null;
}

/** Sends load for `durationS` and resolves when the last answer is in. */
export async function generate(options: LoadOptions): Promise<LoadResult> {
  const wrk = findProgram("wrk");
  return wrk === null ? withAutocannon(options) : withWrk(wrk, options);
}
