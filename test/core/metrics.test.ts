import t from "tap";
import { createMetrics, MAX_CHILDREN, type Metrics } from "../../core/metrics.ts";

function metricsOf(): Metrics {
  return createMetrics({ component: "sidecar", version: "1.2.3", commit: "abc" });
}

t.test("a new registry tells the build and the process", async (t) => {
  const text = await metricsOf().registry.metrics();
  t.match(text, 'remora_build_info{component="sidecar",version="1.2.3",commit="abc"} 1');
  t.match(text, /^process_cpu_seconds_total \d/m);
  t.match(text, /^process_resident_memory_bytes \d{7}/m);
  t.match(text, /^process_start_time_seconds \d{10}$/m);
});

t.test("a counter adds up over its children and plain calls, scrape after scrape", async (t) => {
  const { counter, registry } = metricsOf();
  const refused = counter({ name: "remora_refused_total", help: "Refusals.", labels: ["direction", "reason"] });
  const child = refused.child({ direction: "inbound", reason: "forbidden" });
  child.inc();
  child.inc(2);
  refused.inc({ reason: "forbidden", direction: "inbound" });
  t.match(await registry.metrics(), 'remora_refused_total{direction="inbound",reason="forbidden"} 4');
  child.inc();
  t.match(await registry.metrics(), 'remora_refused_total{direction="inbound",reason="forbidden"} 5');
  t.equal(refused.child({ direction: "inbound", reason: "forbidden" }), child, "one child per label set");
});

t.test("a metric without labels is there from the start", async (t) => {
  const { counter, gauge, histogram, registry } = metricsOf();
  counter({ name: "a_total", help: "A." });
  gauge({ name: "b", help: "B." });
  histogram({ name: "c_seconds", help: "C.", buckets: [1] });
  const text = await registry.metrics();
  t.match(text, /^a_total 0$/m);
  t.match(text, /^b 0$/m);
  t.match(text, /^c_seconds_count 0$/m);
});

t.test("a gauge is set, moved, read at scrape time, and forgotten", async (t) => {
  const { gauge, registry } = metricsOf();
  const connections = gauge({ name: "remora_connections", help: "Open.", labels: ["direction"] });
  connections.set({ direction: "inbound" }, 5);
  connections.child({ direction: "inbound" }).dec();
  connections.child({ direction: "outbound" }).inc(3);
  let age = 1;
  gauge({ name: "remora_heartbeat_age_seconds", help: "Age.", read: () => age });
  t.match(await registry.metrics(), 'remora_connections{direction="inbound"} 4');
  connections.remove({ direction: "inbound" });
  age = 2.5;
  const text = await registry.metrics();
  t.notMatch(text, 'direction="inbound"');
  t.match(text, 'remora_connections{direction="outbound"} 3');
  t.match(text, /^remora_heartbeat_age_seconds 2.5$/m);
});

t.test("a histogram counts by cumulated buckets", async (t) => {
  const { histogram, registry } = metricsOf();
  const duration = histogram({ name: "d_seconds", help: "D.", labels: ["code"], buckets: [0.1, 1] });
  const child = duration.child({ code: 200 });
  for (const value of [0.05, 0.1, 0.5, 7, Number.NaN]) child.observe(value);
  duration.observe({ code: 500 }, 1);
  const text = await registry.metrics();
  for (const line of [
    'd_seconds_bucket{code="200",le="0.1"} 2',
    'd_seconds_bucket{code="200",le="1"} 3',
    'd_seconds_bucket{code="200",le="+Inf"} 4',
    'd_seconds_count{code="200"} 4',
    'd_seconds_bucket{code="500",le="1"} 1',
  ]) {
    t.ok(text.includes(`${line}\n`) || text.endsWith(line), line);
  }
  t.match(text, /d_seconds_sum\{code="200"\} 7.65/);
  t.throws(() => histogram({ name: "e", help: "E.", buckets: [1, 1] }), RangeError);
});

t.test("labels that were not declared, or are missing, are refused", async (t) => {
  const counter = metricsOf().counter({ name: "x_total", help: "X.", labels: ["a"] });
  t.throws(() => counter.child({}), TypeError);
  t.throws(() => counter.child({ a: 1, b: 2 }), TypeError);
});

t.test("label values from outside can neither forge lines nor grow without bound", async (t) => {
  const { counter, registry } = metricsOf();
  const total = counter({ name: "x_total", help: "X.", labels: ["a"] });
  total.inc({ a: 'x"} 1\ny_total{a="' });
  t.notMatch(await registry.metrics(), /^y_total/m);
  for (let n = 0; n < MAX_CHILDREN + 500; n++) total.inc({ a: `v${n}` });
  const lines = (await registry.metrics()).split("\n").filter((line) => line.startsWith("x_total{"));
  t.equal(lines.length, MAX_CHILDREN + 1);
  t.ok(lines.includes('x_total{a="other"} 501'));
});

t.test("a name is registered once", async (t) => {
  const { counter, histogram } = metricsOf();
  counter({ name: "x_total", help: "X." });
  t.throws(() => counter({ name: "x_total", help: "X." }));
  histogram({ name: "h", help: "H." });
  t.throws(() => histogram({ name: "h", help: "H." }));
});
