import t from "tap";
import type { HealthCheck } from "../../core/admin-routes.ts";
import { createHealthHistory } from "../../core/health-history.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createTestMetrics } from "../support/throwaway-control.ts";

function start(first: HealthCheck) {
  const [clock, metrics] = [createFakeClock(), createTestMetrics()];
  let check = first;
  const history = createHealthHistory({ read: () => ({ redis: check, ca: { status: "ok" } }), clock, metrics });
  return {
    clock,
    history,
    set: (status: HealthCheck["status"], since?: number) => {
      check = { status, ...(since === undefined ? {} : { since }) };
    },
    since: () => (history.report().checks["redis"]?.since ?? 0) - Date.UTC(2026, 0, 1),
    metric: async (line: string) => {
      const found = (await metrics.registry.metrics()).split("\n").find((candidate) => candidate.startsWith(`${line} `));
      return Number(found?.slice(line.length + 1));
    },
  };
}

t.test("each part says since when it is as it is, and the worst part decides", async (t) => {
  const { clock, history, set, since } = start({ status: "ok" });
  clock.advance(90_000);
  t.match(history.report(), { status: "ok", checks: { redis: { since: Date.UTC(2026, 0, 1) }, ca: { since: Date.UTC(2026, 0, 1) } } });
  set("degraded");
  clock.advance(120_000);
  t.equal(history.report().status, "degraded");
  t.equal(since(), 95_000, "seen by itself, at the next look");
  set("down");
  clock.advance(10_000);
  t.equal(history.report().status, "down");
  t.equal(since(), 95_000, "getting worse is the same trouble");
  set("ok");
  t.equal(history.report().status, "ok", "at once");
  t.equal(since(), 220_000);
});

t.test("a part that flaps keeps the time of its first trouble", async (t) => {
  const { clock, set, since, metric } = start({ status: "ok" });
  for (let round = 0; round < 5; round += 1) {
    clock.advance(10_000);
    set("degraded");
    clock.advance(10_000);
    t.equal(since(), 15_000);
    set("ok");
    clock.advance(10_000);
  }
  t.equal(await metric('remora_health_changes_total{part="redis"}'), 10);
  clock.advance(60_000);
  set("degraded");
  clock.advance(5000);
  t.ok(since() > 200_000, "after a minute of health it is a new one");
});

t.test("a part's own word for since when it is unwell is believed", async (t) => {
  const { clock, set, since } = start({ status: "ok" });
  clock.advance(50_000);
  set("degraded", Date.UTC(2026, 0, 1) + 42_000);
  t.equal(since(), 42_000);
});

t.test("a wall clock that is set back revives no trouble and ends none", async (t) => {
  const { clock, set, since } = start({ status: "degraded" });
  set("ok");
  since();
  clock.stepWall(-3_600_000);
  clock.advance(61_000);
  set("degraded");
  clock.advance(5000);
  t.ok(since() < 0, "a new trouble, in the time of the clock as it is now");
});

t.test("Prometheus sees one status of three for each part, and when it began", async (t) => {
  const { set, history, metric } = start({ status: "ok" });
  t.equal(await metric('remora_health{part="redis",status="ok"}'), 1);
  set("down");
  history.report();
  t.equal(await metric('remora_health{part="redis",status="ok"}'), 0);
  t.equal(await metric('remora_health{part="redis",status="down"}'), 1);
  t.equal(await metric('remora_health{part="ca",status="ok"}'), 1);
  t.equal(await metric('remora_health_since_timestamp_seconds{part="redis"}'), Date.UTC(2026, 0, 1) / 1000);
});
