import t from "tap";
import { silentLogger } from "../../../core/log.ts";
import { createMetrics, type Metrics } from "../../../core/metrics.ts";
import { mergeMetrics } from "../../../sidecar/workers/merged-metrics.ts";
import { clearGauges, openMetricArena } from "../../../sidecar/workers/metric-arena.ts";
import { createWorkerMetrics } from "../../../sidecar/workers/worker-metrics.ts";
import { createMemoryLog } from "../../support/throwaway-control.ts";

const BUILD = { component: "test", version: "0", commit: "none" };
const ARENA_BYTES = 64 * 1024;

/** What a stage does with its metrics. */
function use(metrics: Metrics, times: number) {
  const requests = metrics.counter({ name: "remora_x_total", help: "Requests.", labels: ["status"] });
  const open = metrics.gauge({ name: "remora_open", help: "Open.", labels: ["direction"] });
  const lasted = metrics.histogram({ name: "remora_lasted_seconds", help: "Times.", labels: ["status"] });
  const sizes = metrics.histogram({ name: "remora_size_bytes", help: "Sizes.", buckets: [10, 100] });
  const plain = metrics.counter({ name: "remora_plain_total", help: "Plain." });
  const ok = requests.child({ status: "200" });
  for (let n = 0; n < times; n++) {
    ok.inc();
    lasted.child({ status: "200" }).observe(0.004 * (n % 5));
  }
  requests.inc({ status: 'say "hi"\\' }, 2);
  lasted.observe({ status: "500" }, 11);
  lasted.observe({ status: "500" }, Number.NaN);
  sizes.observe(10);
  sizes.observe(1_000);
  plain.inc();
  open.set({ direction: "inbound" }, 3);
  open.child({ direction: "inbound" }).dec();
  open.child({ direction: "outbound" }).inc(4);
  open.remove({ direction: "outbound" });
}

const shown = async (metrics: Metrics) =>
  (await metrics.registry.metrics())
    .split("\n")
    .filter((line) => /remora_(?!build)/.test(line) && !line.endsWith('{direction="outbound"} 0'));

t.test("two workers are shown as one process that did the work of both", async (t) => {
  const arenas = [1, 2].map(() => openMetricArena(new Uint8Array(ARENA_BYTES)));
  for (const arena of arenas) use(createWorkerMetrics(arena, silentLogger()), 10);
  const alone = createMetrics(BUILD);
  use(alone, 10);
  const lines = await shown(mergeMetrics(createMetrics(BUILD), arenas, async () => {}));
  const expected = (await shown(alone)).map((line) =>
    line.startsWith("#") ? line : line.replace(/ (\S+)$/, (_, value: string) => ` ${Number(value) * 2}`),
  );
  t.same(lines.toSorted(), expected.toSorted());
  t.ok(lines.includes('remora_lasted_seconds_bucket{status="200",le="+Inf"} 20'));
});

t.test("metrics of the first process and of workers with one name are added up, each name declared once", async (t) => {
  const arena = openMetricArena(new Uint8Array(ARENA_BYTES));
  const worker = createWorkerMetrics(arena, silentLogger());
  let asked = 0;
  worker.gauge({ name: "remora_read", help: "Read.", read: () => ++asked });
  const merged = mergeMetrics(createMetrics(BUILD), [arena], async () => worker.refresh());
  const text = await merged.registry.metrics();
  t.equal(text.match(/^# TYPE process_cpu_seconds_total counter$/gm)?.length, 1);
  const [, cpu] = /^process_cpu_seconds_total (\S+)$/m.exec(text) ?? [];
  const used = process.cpuUsage();
  // Here both are this very process, so the sum is twice its time.
  t.ok(Math.abs(Number(cpu) - (2 * (used.user + used.system)) / 1e6) < 0.2, `${cpu} s`);
  t.match(text, /^remora_read 1$/m);
  t.match(await merged.registry.metrics(), /^remora_read 2$/m, "what is only read when asked is asked at each scrape");
  t.match(text, /^remora_build_info\{.*\} 1$/m, "what does not add up is the first process's own");
});

t.test("the next process of a worker counts on, and what was open in the one before is not", async (t) => {
  const memory = new Uint8Array(ARENA_BYTES);
  const reader = openMetricArena(memory);
  use(createWorkerMetrics(openMetricArena(memory), silentLogger()), 3);
  const cells = reader.cells().length;
  clearGauges(reader);
  use(createWorkerMetrics(openMetricArena(memory), silentLogger()), 4);
  t.equal(reader.cells().length, cells, "no cell was made twice");
  const text = await mergeMetrics(createMetrics(BUILD), [reader], async () => {}).registry.metrics();
  t.match(text, /^remora_x_total\{status="200"\} 7$/m);
  t.match(text, /^remora_open\{direction="inbound"\} 2$/m);
  t.match(text, /^remora_lasted_seconds_count\{status="200"\} 7$/m);
});

t.test("a full arena is told once, and harms nothing", async (t) => {
  const { log, lines } = createMemoryLog();
  const arena = openMetricArena(new Uint8Array(1_024));
  const metrics = createWorkerMetrics(arena, log);
  const counter = metrics.counter({ name: "remora_x_total", help: "Requests.", labels: ["n"] });
  for (let n = 0; n < 50; n++) counter.inc({ n });
  t.equal(lines.filter(({ msg }) => msg?.startsWith("no room for more metrics")).length, 1);
  t.ok(arena.cells().length < 20);
  t.match(await mergeMetrics(createMetrics(BUILD), [arena], async () => {}).registry.metrics(), /^remora_x_total\{n="0"\} 1$/m);
});
