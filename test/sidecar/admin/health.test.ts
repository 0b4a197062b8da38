import t from "tap";
import { healthOf } from "../../../sidecar/admin/health.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const HOUR_MS = 3_600_000;

t.test("health tells a good certificate from a late and an expired one, and a registry that is away", async (t) => {
  const clock = createFakeClock();
  const nowMs = clock.nowMs();
  const report = (leftMs: number, heartbeatAgeMs = 100, workers: readonly { state: string }[] | null = null) =>
    healthOf({ certificate: { validFromMs: nowMs - 24 * HOUR_MS + leftMs, expiresAtMs: nowMs + leftMs }, heartbeatAgeMs, workers }, clock);
  t.match(report(12 * HOUR_MS), { status: "ok", checks: { certificate: { status: "ok" }, registry: { status: "ok" } } });
  t.match(report(2 * HOUR_MS), { status: "degraded", checks: { certificate: { status: "degraded" } } });
  t.match(report(0), { status: "down", checks: { certificate: { status: "down" } } });
  t.match(report(12 * HOUR_MS, 20_000), {
    status: "degraded",
    checks: { registry: { status: "degraded", message: "no heartbeat was accepted for 20 s" } },
  });
  t.match(report(12 * HOUR_MS, 100, [{ state: "listening" }, { state: "listening" }]), {
    status: "ok",
    checks: { workers: { status: "ok" } },
  });
  t.match(report(12 * HOUR_MS, 100, [{ state: "listening" }, { state: "waiting" }]), {
    status: "degraded",
    checks: { workers: { status: "degraded", message: "1 of 2 workers are not listening" } },
  });
  t.match(healthOf({ certificate: null, heartbeatAgeMs: null, workers: null }, clock), { status: "down" });
});
