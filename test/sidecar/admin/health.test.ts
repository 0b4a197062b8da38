import t from "tap";
import { healthOf } from "../../../sidecar/admin/health.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const HOUR_MS = 3_600_000;

t.test("health tells a good certificate from a late and an expired one, and a registry that is away", async (t) => {
  const clock = createFakeClock();
  const nowMs = clock.nowMs();
  const report = (leftMs: number, heartbeatAgeMs = 100) =>
    healthOf({ certificate: { validFromMs: nowMs - 24 * HOUR_MS + leftMs, expiresAtMs: nowMs + leftMs }, heartbeatAgeMs }, clock);
  t.match(report(12 * HOUR_MS), { status: "ok", checks: { certificate: { status: "ok" }, registry: { status: "ok" } } });
  t.match(report(2 * HOUR_MS), { status: "degraded", checks: { certificate: { status: "degraded" } } });
  t.match(report(0), { status: "down", checks: { certificate: { status: "down" } } });
  t.match(report(12 * HOUR_MS, 20_000), {
    status: "degraded",
    checks: { registry: { status: "degraded", message: "no heartbeat was accepted for 20 s" } },
  });
  t.match(healthOf({ certificate: null, heartbeatAgeMs: null }, clock), { status: "down" });
});
