// The three loads of the admission benchmark, each for whatever server is called: as fast as it goes, at a constant rate, and one large review at a time.
import { Worker } from "node:worker_threads";
import { monoMs, type Pace } from "../load/pacer.ts";
import { cpuMs } from "../load/process-cost.ts";
import { rank } from "../load/rank.ts";
import type { Caller } from "./caller.ts";

/** Calls on the way at once where it goes as fast as it can. */
export const IN_FLIGHT = 16;

/** A server and what is sent to it. */
export interface Load {
  readonly caller: Caller;
  readonly pid: number;
  readonly bodies: readonly Buffer[];
}

/** What as much as can be came to. */
export interface Throughput {
  readonly perSecond: number;
  /** CPU time of the server for each. */
  readonly costUs: number;
}

/** Latencies, ascending, in ms. */
export interface Latencies {
  readonly sorted: readonly number[];
  /** CPU time of the server for each. */
  readonly costUs: number;
  /** How late this program was with the calls themselves, at the 99th percentile: part of what it measures. */
  readonly lateP99Ms: number;
}

/** Calls as fast as the answers come. Rejects with the first call that is refused. */
export async function asFastAsItGoes({ caller, pid, bodies }: Load, forMs: number): Promise<Throughput> {
  const startedMs = performance.now();
  const cpuBefore = cpuMs(pid);
  let count = 0;
  const one = async () => {
    while (performance.now() - startedMs < forMs) {
      await caller.call(bodies[count % bodies.length] as Buffer); // the index is below the length
      count += 1;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, one));
  return { perSecond: (count / (performance.now() - startedMs)) * 1000, costUs: ((cpuMs(pid) - cpuBefore) * 1000) / count };
}

/** Each call has its due time, and its latency counts from there: one that waits behind a slow one is as late as its caller finds it. */
export async function atConstantRate({ caller, pid, bodies }: Load, forMs: number, perSecond: number): Promise<Latencies> {
  const cpuBefore = cpuMs(pid);
  const count = Math.round((forMs / 1000) * perSecond);
  const pace: Pace = { startMonoMs: monoMs() + 100, intervalMs: 1000 / perSecond, count };
  const pacer = new Worker(new URL("../load/pacer.ts", import.meta.url), { workerData: pace });
  const latencies: number[] = [];
  const lateness: number[] = [];
  await new Promise<void>((resolve, reject) => {
    pacer.on("error", reject);
    pacer.on("message", (number: number) => {
      const dueMonoMs = pace.startMonoMs + number * pace.intervalMs;
      lateness.push(monoMs() - dueMonoMs);
      caller.call(bodies[number % bodies.length] as Buffer).then(() => {
        latencies.push(monoMs() - dueMonoMs);
        if (latencies.length === count) resolve();
      }, reject);
    });
  });
  return {
    sorted: latencies.sort((a, b) => a - b),
    costUs: ((cpuMs(pid) - cpuBefore) * 1000) / count,
    lateP99Ms: rank(
      lateness.sort((a, b) => a - b),
      0.99,
    ),
  };
}

/** Calls with each body once, the next when the one before is answered, and gives the answers to `check`. Their latencies stay in the order of the bodies. */
export async function oneAtATime(
  { caller, pid, bodies }: Load,
  check: (answer: string) => void,
): Promise<{ readonly latencies: readonly number[]; readonly costMs: number }> {
  const cpuBefore = cpuMs(pid);
  const latencies: number[] = [];
  for (const body of bodies) {
    const startedMs = performance.now();
    const answer = await caller.call(body);
    latencies.push(performance.now() - startedMs);
    check(answer);
  }
  return { latencies, costMs: (cpuMs(pid) - cpuBefore) / bodies.length };
}
