// What the registry counts. Labels are closed sets: no name of a workload is ever a label here.
import type { Counter, Gauge, GaugeChild, Metrics } from "../core/metrics.ts";

/** The registry's metrics. */
export interface RegistryMetrics {
  readonly instances: Gauge;
  readonly heartbeatStreams: GaugeChild;
  readonly watchers: GaugeChild;
  readonly subscriptions: GaugeChild;
  readonly heartbeats: Counter;
  readonly refused: Counter;
  readonly updates: Counter;
  readonly sweeps: Counter;
  readonly expired: Counter;
  readonly degraded: GaugeChild;
}

/** Registers them. */
export function createRegistryMetrics(metrics: Metrics): RegistryMetrics {
  const gauge = (name: string, help: string) => metrics.gauge({ name, help }).child();
  const counter = (name: string, help: string, labels: readonly string[] = []) => metrics.counter({ name, help, labels });
  return {
    instances: metrics.gauge({ name: "remora_registry_instances", help: "Instances with a lease, by state.", labels: ["state"] }),
    heartbeatStreams: gauge("remora_registry_heartbeat_streams", "Open heartbeat streams."),
    watchers: gauge("remora_registry_watchers", "Open watch streams."),
    subscriptions: gauge("remora_registry_subscriptions", "Destinations watched, over all streams."),
    heartbeats: counter("remora_registry_heartbeats_total", "Announcements, accepted or refused.", ["outcome"]),
    refused: counter("remora_registry_refused_total", "Announcements and calls refused, by reason.", ["reason"]),
    updates: counter("remora_registry_updates_total", "Updates sent to watchers: full, delta or unchanged.", ["kind"]),
    sweeps: counter("remora_registry_sweeps_total", "Runs of the sweeper."),
    expired: counter("remora_registry_expired_total", "Leases that this replica ended because nobody renewed them."),
    degraded: gauge("remora_registry_degraded", "1 while the shared store is away."),
  };
}
