// What `/api/v1/health` of a sidecar says (design 12): its certificate and its link to the registry, each with what is wrong.
import type { HealthCheck, HealthReport } from "../../core/admin-routes.ts";
import type { Clock } from "../../core/clock.ts";

/** Share of a leaf's life below which an unrenewed certificate is a warning. */
const LOW_CERTIFICATE_RATIO = 0.1;
/** A registry that accepted no heartbeat for longer than this, ms, counts as away: the lease. */
const REGISTRY_AWAY_MS = 15_000;

/** What the report looks at; null while the sidecar has none yet. */
export interface HealthSources {
  readonly certificate: { readonly validFromMs: number; readonly expiresAtMs: number } | null;
  /** Time since the registry last accepted a heartbeat. */
  readonly heartbeatAgeMs: number | null;
  /** The processes that serve; null where this one does. */
  readonly workers: readonly { readonly state: string }[] | null;
}

/** `down` without a valid certificate, `degraded` when it is late, the registry is away or a worker is not listening. */
export function healthOf({ certificate, heartbeatAgeMs, workers }: HealthSources, clock: Clock): HealthReport {
  if (certificate === null || heartbeatAgeMs === null) {
    return { status: "down", checks: { certificate: { status: "down", message: "no certificate yet" } } };
  }
  const { validFromMs, expiresAtMs } = certificate;
  const leftMs = expiresAtMs - clock.nowMs();
  const isLow = leftMs < (expiresAtMs - validFromMs) * LOW_CERTIFICATE_RATIO;
  const isAway = heartbeatAgeMs > REGISTRY_AWAY_MS;
  const missing = workers?.filter(({ state }) => state !== "listening").length ?? 0;
  const ends = `ends ${new Date(expiresAtMs).toISOString()}`;
  return {
    status: leftMs <= 0 ? "down" : isLow || isAway || missing > 0 ? "degraded" : "ok",
    checks: {
      certificate: { status: leftMs <= 0 ? "down" : isLow ? "degraded" : "ok", message: ends },
      registry: isAway
        ? { status: "degraded", message: `no heartbeat was accepted for ${Math.round(heartbeatAgeMs / 1000)} s` }
        : { status: "ok" },
      ...(workers === null ? {} : { workers: workersCheck(missing, workers.length) }),
    },
  };
}

function workersCheck(missing: number, all: number): HealthCheck {
  return missing === 0 ? { status: "ok" } : { status: "degraded", message: `${missing} of ${all} workers are not listening` };
}
