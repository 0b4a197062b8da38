// The load, as hard as the path takes it: by wrk or h2load where one is installed, since they take little of the machine; else by
// autocannon, which every checkout has.
import { findProgram } from "../../test/support/requires.ts";
import { withAutocannon } from "./autocannon.ts";
import { withH2load } from "./h2load.ts";
import { overNewConnections } from "./own-load.ts";
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
  /** Of the times that the percentiles are of. */
  readonly meanMs: number | null;
  /** Percentiles of the time from sending to the whole answer; null where the load has no such time. */
  readonly p50Ms: number | null;
  readonly p90Ms: number | null;
  readonly p99Ms: number | null;
  readonly p999Ms: number | null;
}

/** A program that sends load. */
export interface Driver {
  readonly name: string;
  run(options: LoadOptions): Promise<LoadResult>;
}

/** Sends load for `durationS` and resolves when the last answer is in. */
export function generate(options: LoadOptions): Promise<LoadResult> {
  return driverFor(options).run(options);
}

/** The first of wrk, h2load and autocannon that is installed and can do it. */
export function driverFor({ newConnections = false }: Pick<LoadOptions, "newConnections">): Driver {
  const wrk = findProgram("wrk");
  if (wrk !== null) return { name: "wrk", run: (options) => withWrk(wrk, options) };
  if (newConnections) return { name: "our own", run: overNewConnections };
  const h2load = findProgram("h2load");
  if (h2load !== null) return { name: "h2load", run: (options) => withH2load(h2load, options) };
  return { name: "autocannon", run: withAutocannon };
}
