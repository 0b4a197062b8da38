// Times one call of a function, in nanoseconds of the thread's CPU time. Each case runs in rounds and the fastest round counts: what disturbs a round (collector, other processes)
// only makes it slower. Every twin has a no-op case, so that the cost of the measuring itself is seen.

/** Time of one round, ms. */
const ROUND_MS = 60;
const ROUNDS = 7;

/** Named functions; what they return is kept alive, so that nothing is optimised away. */
export type Cases = Readonly<Record<string, () => unknown>>;

/** One measured case. */
export interface Timing {
  readonly name: string;
  readonly nsPerCall: number;
}

/** Kept alive. */
let sink: unknown = null;

/** The last value that any case returned. */
export function lastValue(): unknown {
  return sink;
}

/** Measures all cases, the no-op first. */
export function measure(cases: Cases): Timing[] {
  return Object.entries({ "no-op": () => null, ...cases }).map(([name, run]) => ({ name, nsPerCall: fastest(run) }));
}

function fastest(run: () => unknown): number {
  let batch = 1;
  while (timed(run, batch) < ROUND_MS / 4) batch *= 2;
  const calls = batch * 4;
  let bestMs = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round += 1) bestMs = Math.min(bestMs, timed(run, calls));
  return (bestMs * 1e6) / calls;
}

/** Time of this thread in ms: other processes on the machine take nothing of it. */
function timed(run: () => unknown, calls: number): number {
  const before = process.threadCpuUsage();
  for (let call = 0; call < calls; call += 1) sink = run();
  const { user, system } = process.threadCpuUsage(before);
  return (user + system) / 1_000;
}
