// What lies where in the memory that the processes of one sidecar share. Computed from the settings alone, which all of them read from the same
// environment, so that they agree without telling each other. Slots count from 0; the worker in slot 0 is called 1.
import type { RateLimitRule } from "../policy/rate-limit.ts";
import { LOAD_CELLS } from "../admin/load-report.ts";
import { gcraSets, gcraTableBytes } from "./shared-gcra-table.ts";

/** Room for the metrics of one worker, in bytes. Only pages that are used cost anything. */
const METRIC_BYTES = 16 * 1024 * 1024;
/** The lock, then two words of seed. */
const HEADER_BYTES = 64;
const PAGE_BYTES = 4096;

/** What the sidecar's processes share. */
export interface Layout {
  readonly bytes: number;
  readonly lock: (buffer: ArrayBuffer) => Int32Array<ArrayBuffer>;
  /** Two random words, set once by the first process before any other starts. */
  readonly seed: (buffer: ArrayBuffer) => Uint32Array<ArrayBuffer>;
  /** One cell per worker. */
  readonly bound: (buffer: ArrayBuffer, which: BoundName) => Int32Array<ArrayBuffer>;
  /** What one worker was asked to do (admin/load-report.ts). */
  readonly load: (buffer: ArrayBuffer, slot: number) => Float64Array<ArrayBuffer>;
  /** What one worker counted (metric-arena.ts). */
  readonly metrics: (buffer: ArrayBuffer, slot: number) => Uint8Array<ArrayBuffer>;
  /** By rule, in the order written. */
  readonly tables: readonly { readonly offset: number; readonly sets: number }[];
}

/** Bounds that hold for all processes together. */
export const BOUND_NAMES = ["inboundInFlight", "outboundInFlight", "inboundConnections", "outboundConnections"] as const;

/** One of {@link BOUND_NAMES}. */
export type BoundName = (typeof BOUND_NAMES)[number];

/** Lays out the memory for `workers` processes and these rules. */
export function layOut(workers: number, rules: readonly RateLimitRule[]): Layout {
  const boundsAt = HEADER_BYTES;
  const boundBytes = aligned(workers * 4, 64); // a cache line of its own for each bound
  const loadAt = boundsAt + BOUND_NAMES.length * boundBytes;
  const loadBytes = aligned(LOAD_CELLS * 8, 64);
  const tablesAt = aligned(loadAt + workers * loadBytes, PAGE_BYTES);
  let end = tablesAt;
  const tables = rules.map((rule) => {
    const place = { offset: end, sets: gcraSets(rule.per === "all") };
    end = aligned(end + gcraTableBytes(place.sets), 64);
    return place;
  });
  const metricsAt = aligned(end, PAGE_BYTES);

  return {
    bytes: metricsAt + workers * METRIC_BYTES,
    lock: (buffer) => new Int32Array(buffer, 0, 1),
    seed: (buffer) => new Uint32Array(buffer, 4, 2),
    bound: (buffer, which) => new Int32Array(buffer, boundsAt + BOUND_NAMES.indexOf(which) * boundBytes, workers),
    load: (buffer, slot) => new Float64Array(buffer, loadAt + slot * loadBytes, LOAD_CELLS),
    metrics: (buffer, slot) => new Uint8Array(buffer, metricsAt + slot * METRIC_BYTES, METRIC_BYTES),
    tables,
  };
}

function aligned(bytes: number, to: number): number {
  return Math.ceil(bytes / to) * to;
}
