// The other end of gc-probe.ts: asks the measured process for the pauses of its garbage collector.
import { readFile, rm } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { GC_PROBE_FILE, type GcSums, type Pauses } from "./gc-probe.ts";

const BETWEEN_MS = 20;
const TIMEOUT_MS = 5_000;

/** Reads a process that was started with `env`. */
export interface GcWatch {
  readonly env: NodeJS.ProcessEnv;
  /** What happened since the last time, in words. */
  since(pid: number): Promise<string>;
}

/** Reads through a file in `folder`. `nodeOptions` are kept. */
export function createGcWatch(folder: string, nodeOptions: string): GcWatch {
  const file = join(folder, "gc.json");
  return {
    env: { [GC_PROBE_FILE]: file, NODE_OPTIONS: `${nodeOptions} --import=${join(import.meta.dirname, "gc-probe.ts")}` },
    async since(pid) {
      await rm(file, { force: true });
      process.kill(pid, "SIGUSR2");
      const { minor, major } = await read(file);
      return `pauses of the collector: ${inWords(minor)} in the young generation, ${inWords(major)} in the old`;
    },
  };
}

async function read(file: string): Promise<GcSums> {
  const endMonoMs = performance.now() + TIMEOUT_MS;
  for (;;) {
    const text = await readFile(file, "utf8").catch(() => "");
    if (text.endsWith("}}")) return JSON.parse(text) as GcSums; // what our own probe wrote, whole
    if (performance.now() > endMonoMs) throw new Error(`the probe wrote nothing in ${TIMEOUT_MS} ms`);
    await sleep(BETWEEN_MS);
  }
}

function inWords({ count, sumMs, worstMs }: Pauses): string {
  return count === 0 ? "none" : `${count} of ${(sumMs / count).toFixed(2)} ms (worst ${worstMs.toFixed(1)})`;
}
