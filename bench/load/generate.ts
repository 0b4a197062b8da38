// The load: wrk when it is installed (C, so that it takes little of the machine), else autocannon in a process of its own.
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { findProgram } from "../../test/support/requires.ts";

const run = promisify(execFile);
const AUTOCANNON = join(import.meta.dirname, "..", "..", "node_modules", "autocannon", "autocannon.js");
/** Beyond the duration itself. */
const SLACK_MS = 15_000;
const UNIT_MS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1_000 };

/** What to send where. */
export interface LoadOptions {
  readonly url: string;
  readonly host: string | null;
  readonly connections: number;
  /** Whole seconds. */
  readonly durationS: number;
}

/** What came back. */
export interface LoadResult {
  readonly requests: number;
  /** Anything but a 2xx answer. */
  readonly failed: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

/** Sends load for `durationS` and resolves when the last answer is in. */
export async function generate(options: LoadOptions): Promise<LoadResult> {
  const wrk = findProgram("wrk");
  return wrk === null ? withAutocannon(options) : withWrk(wrk, options);
}

async function withWrk(wrk: string, { url, host, connections, durationS }: LoadOptions): Promise<LoadResult> {
  const header = host === null ? [] : ["-H", `Host: ${host}`];
  const words = ["-t", "1", "-c", String(connections), "-d", `${durationS}s`, "--latency", ...header, url];
  const { stdout } = await run(wrk, words, { timeout: durationS * 1_000 + SLACK_MS });
  const [, requests] = /(\d+) requests in/.exec(stdout) ?? [];
  const [, perSecond] = /Requests\/sec:\s+([\d.]+)/.exec(stdout) ?? [];
  const [, notOk] = /Non-2xx or 3xx responses: (\d+)/.exec(stdout) ?? [];
  const socketErrors = [...stdout.matchAll(/(?:connect|read|write|timeout) (\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
  const percentile = (share: number): number => {
    const match = new RegExp(`${share}%\\s+([\\d.]+)(us|ms|s)`).exec(stdout);
    return Number(match?.[1]) * (UNIT_MS[match?.[2] ?? ""] ?? Number.NaN);
  };
  return {
    requests: Number(requests),
    failed: Number(notOk ?? 0) + socketErrors,
    perSecond: Number(perSecond),
    p50Ms: percentile(50),
    p99Ms: percentile(99),
  };
}

/** The part of autocannon's JSON that is read. */
interface AutocannonResult {
  readonly requests: { readonly total: number; readonly average: number };
  readonly latency: { readonly p50: number; readonly p99: number };
  readonly non2xx: number;
  readonly errors: number;
}

async function withAutocannon({ url, host, connections, durationS }: LoadOptions): Promise<LoadResult> {
  const header = host === null ? [] : ["-H", `Host=${host}`];
  const words = [AUTOCANNON, "-j", "-n", "-c", String(connections), "-d", String(durationS), ...header, url];
  const { stdout } = await run(process.execPath, words, { timeout: durationS * 1_000 + SLACK_MS, maxBuffer: 1 << 24 });
  const { requests, latency, non2xx, errors } = JSON.parse(stdout) as AutocannonResult; // our own child, asked for JSON
  return { requests: requests.total, failed: non2xx + errors, perSecond: requests.average, p50Ms: latency.p50, p99Ms: latency.p99 };
}
