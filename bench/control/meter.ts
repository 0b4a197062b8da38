// What the measured processes cost while something ran: CPU time and private memory from /proc.
import { cpuMs, memory } from "../load/process-cost.ts";

const SAMPLE_MS = 500;
const KIB_PER_MB = 1024;

/** Cost of some processes over a time. */
export interface Cost {
  readonly seconds: number;
  /** CPU time over time: 1 is one core. */
  readonly cores: number;
  readonly cpuMs: number;
  /** Private memory at the end, and at most; of all processes together. */
  readonly privateMb: number;
  readonly peakMb: number;
}

/** Begins to measure; the returned function ends it. */
export function meter(pids: readonly number[]): () => Cost {
  const startedMonoMs = performance.now();
  const cpuBefore = total(pids, cpuMs);
  let peakMb = privateMbOf(pids);
  const timer = setInterval(() => {
    peakMb = Math.max(peakMb, privateMbOf(pids));
  }, SAMPLE_MS);
  return () => {
    clearInterval(timer);
    const tookMs = performance.now() - startedMonoMs;
    const spentMs = total(pids, cpuMs) - cpuBefore;
    const privateMb = privateMbOf(pids);
    return { seconds: tookMs / 1000, cores: spentMs / tookMs, cpuMs: spentMs, privateMb, peakMb: Math.max(peakMb, privateMb) };
  };
}

/** Private memory of some processes together, MB. */
export function privateMbOf(pids: readonly number[]): number {
  return total(pids, (pid) => memory(pid).privateKiB) / KIB_PER_MB;
}

function total(pids: readonly number[], of: (pid: number) => number): number {
  return pids.reduce((sum, pid) => sum + of(pid), 0);
}
