// Since when each part of a process is as it is. Parts say how they are now; this looks at them regularly and at each question, remembers the changes, and shows
// them to `/api/v1/health` and to Prometheus. A part that goes up and down keeps the time of its first trouble: what is asked is how long it has been unwell.
import type { HealthCheck, HealthReport } from "./admin-routes.ts";
import type { Clock } from "./clock.ts";
import type { Metrics } from "./metrics.ts";

const LOOK_MS = 5000;
/** A part that was well for less than this has not been well: its trouble goes on since it began. */
const RECOVERED_AFTER_MS = 60_000;
const STATUSES = ["ok", "degraded", "down"] as const;

type Status = HealthCheck["status"];

/** Parts by name, as they are now. */
export type ReadHealth = () => Readonly<Record<string, HealthCheck>>;

/** What {@link createHealthHistory} needs. */
export interface HealthHistoryOptions {
  /** Must not throw. Its own `since` of a part that is unwell is believed. */
  readonly read: ReadHealth;
  readonly clock: Clock;
  readonly metrics: Metrics;
}

/** Health with its past. */
export interface HealthHistory {
  /** As it is now; `since` is set for every part. */
  report(): HealthReport;
  close(): Promise<void>;
}

interface Past {
  status: Status;
  sinceMs: number;
  /** The trouble before the present `ok`, monotonic where it ended; null: none that counts. */
  trouble: { readonly sinceMs: number; readonly endedMonoMs: number } | null;
}

/** Starts looking each 5 s; the first look is made at once. */
export function createHealthHistory({ read, clock, metrics }: HealthHistoryOptions): HealthHistory {
  const pasts = new Map<string, Past>();
  const gauge = metrics.gauge({
    name: "remora_health",
    help: "1 for the status that a part has, 0 for the others: ok, degraded (it does its work with something missing) or down.",
    labels: ["part", "status"],
  });
  const since = metrics.gauge({
    name: "remora_health_since_timestamp_seconds",
    help: "When the part came to be as it is, in seconds since the epoch.",
    labels: ["part"],
  });
  const changes = metrics.counter({ name: "remora_health_changes_total", help: "Changes of a part's status.", labels: ["part"] });

  function look(): Record<string, HealthCheck> {
    const seen: Record<string, HealthCheck> = {};
    for (const [part, check] of Object.entries(read())) {
      const past = pasts.get(part);
      const now = past === undefined ? begin(check) : follow(part, past, check);
      pasts.set(part, now);
      seen[part] = { ...check, since: now.sinceMs };
      for (const status of STATUSES) gauge.set({ part, status }, status === check.status ? 1 : 0);
      since.set({ part }, now.sinceMs / 1000);
    }
    return seen;
  }

  function begin({ status, since: own }: HealthCheck): Past {
    return { status, sinceMs: (status === "ok" ? undefined : own) ?? clock.nowMs(), trouble: null };
  }

  function follow(part: string, past: Past, check: HealthCheck): Past {
    if (past.status === check.status) return past;
    changes.inc({ part });
    const nowMs = clock.nowMs();
    if (check.status === "ok") return { status: "ok", sinceMs: nowMs, trouble: { sinceMs: past.sinceMs, endedMonoMs: clock.monoMs() } };
    // From degraded to down and back is one trouble, and so is one that stopped for a moment.
    const goesOn = past.status !== "ok" ? past.sinceMs : recent(past.trouble);
    return { status: check.status, sinceMs: goesOn ?? check.since ?? nowMs, trouble: null };
  }

  function recent(trouble: Past["trouble"]): number | null {
    return trouble !== null && clock.monoMs() - trouble.endedMonoMs < RECOVERED_AFTER_MS ? trouble.sinceMs : null;
  }

  for (const part of Object.keys(look())) changes.inc({ part }, 0);
  const timer = clock.every(LOOK_MS, look);

  return {
    report() {
      const checks = look();
      return { status: worst(Object.values(checks).map(({ status }) => status)), checks };
    },
    close() {
      timer.cancel();
      return Promise.resolve();
    },
  };
}

/** One part that is down makes the whole so; `ok` without any part. */
function worst(statuses: readonly Status[]): Status {
  return statuses.includes("down") ? "down" : statuses.includes("degraded") ? "degraded" : "ok";
}
