import t from "tap";
import { createPeakEwma } from "../../../sidecar/resilience/peak-ewma.ts";

t.test("believes a rise at once and a fall slowly", async (t) => {
  const latency = createPeakEwma(10_000);
  t.equal(latency.measured, false);
  t.equal(latency.read(0), 0);
  latency.observe(5, 0);
  t.equal(latency.read(0), 5, "the first observation is the estimate");
  latency.observe(100, 1);
  t.equal(latency.read(1), 100);
  latency.observe(10, 2);
  t.ok(latency.read(2) > 99);
  latency.observe(10, 10_002);
  t.ok(latency.read(10_002) > 40 && latency.read(10_002) < 50, `${latency.read(10_002)} after one decay time`);
});

t.test("time alone brings it down, and reading changes nothing", async (t) => {
  const latency = createPeakEwma(10_000);
  latency.observe(100, 0);
  const later = latency.read(10_000);
  t.ok(Math.abs(later - 100 / Math.E) < 1e-9);
  t.equal(latency.read(10_000), later);
  t.equal(latency.read(-5), 100, "a clock that went back is no time at all");
});

t.test("forgets when told", async (t) => {
  const latency = createPeakEwma();
  latency.observe(100, 0);
  latency.reset();
  t.equal(latency.measured, false);
  latency.observe(1, 5);
  t.equal(latency.read(5), 1);
});
