// The process that `main.ts` measures: it starts the registry's Kubernetes source, says when everything is listed, and sends what that cost.
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { startKubernetesSource } from "../../registry/kubernetes-source.ts";

const SYNC_TIMEOUT_MS = 240_000;
/** Until the last changes have come. */
const SETTLE_MS = 2_000;

/** What it took. Bytes are private memory (`RssAnon`) and used heap, after a collection. */
export interface SourceCost {
  readonly held: number;
  readonly endpoints: number;
  readonly listMs: number;
  readonly listCpuMs: number;
  readonly stallMs: number;
  readonly privateBefore: number;
  readonly privateAfter: number;
  readonly heapBefore: number;
  readonly heapAfter: number;
  readonly changes: number;
  readonly changeCpuMs: number;
  readonly changeStallMs: number;
}

function memory(): { readonly private: number; readonly heap: number } {
  globalThis.gc?.();
  globalThis.gc?.();
  const kib = Number(/RssAnon:\s+(\d+) kB/.exec(readFileSync("/proc/self/status", "utf8"))?.[1] ?? 0);
  return { private: kib * 1024, heap: process.memoryUsage().heapUsed };
}

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

await import("@kubernetes/client-node");
const keepsAlive = setInterval(() => {}, 1000);
const before = memory();
const loop = monitorEventLoopDelay({ resolution: 1 });
loop.enable();
const [startedMs, startedCpuMs] = [performance.now(), cpuMs()];
const source = await startKubernetesSource({
  kubeconfig: readFileSync(process.argv[2] ?? "", "utf8"),
  clock: systemClock,
  random: Math.random,
  log: silentLogger(),
  syncTimeoutMs: SYNC_TIMEOUT_MS,
});
const listed = { listMs: performance.now() - startedMs, listCpuMs: cpuMs() - startedCpuMs, stallMs: loop.max / 1e6 };
const entries = [...source.all()];
const endpoints = entries.reduce((sum, { members }) => sum + (members.kind === "endpoints" ? members.endpoints.length : 0), 0);
const after = memory();

let changes = 0;
source.onChange((ids) => {
  changes += ids.size;
});
loop.reset();
const changeStartedCpuMs = cpuMs();
process.on("message", () => {
  setTimeout(() => {
    const cost: SourceCost = {
      held: entries.length,
      endpoints,
      ...listed,
      privateBefore: before.private,
      privateAfter: after.private,
      heapBefore: before.heap,
      heapAfter: after.heap,
      changes,
      changeCpuMs: cpuMs() - changeStartedCpuMs,
      changeStallMs: loop.max / 1e6,
    };
    process.send?.(cost);
    void source.close();
    clearInterval(keepsAlive);
  }, SETTLE_MS);
});
process.send?.("synced");
