// What a million sidecars cost, computed from what was measured: which resource ends first, how many replicas and how many shards of Redis. Pure.
import { MAX_LEASES } from "../../registry/lease-store.ts";

/** The mesh that is computed. */
const MESH = {
  sidecars: 1_000_000,
  heartbeatSeconds: 5,
  certificateSeconds: 0.7 * 86_400,
  lifeSeconds: 86_400,
  watchersOfEach: 50,
} as const;
/** Share of a core that is planned with. */
const PLANNED_RATIO = 0.6;
const BYTES_PER_GB = 1e9;

/** Costs, as measured. */
export interface Costs {
  /** On the control plane with leases in Redis, and on Redis: CPU of one heartbeat, µs. */
  readonly planeMicros: number;
  readonly redisMicros: number;
  /** On the control plane: one update of one watcher, one answer of the CA, µs. */
  readonly pushMicros: number;
  readonly certifyMicros: number;
  /** Private memory of a replica for a sidecar that is its own, for a TLS connection, and for a lease that it mirrors, bytes. */
  readonly sidecarBytes: number;
  readonly connectionBytes: number;
  readonly mirrorBytes: number;
}

/** The section as Markdown. */
export function sayPaper(costs: Costs): string {
  const { sidecars, heartbeatSeconds, certificateSeconds, lifeSeconds, watchersOfEach } = MESH;
  const heartbeats = sidecars / heartbeatSeconds;
  const certificates = sidecars / certificateSeconds + sidecars / lifeSeconds;
  const pushes = (2 * sidecars * watchersOfEach) / lifeSeconds; // it comes and it goes
  const work: readonly (readonly [string, number, number])[] = [
    ["heartbeats", heartbeats, costs.planeMicros],
    ["updates of watchers", pushes, costs.pushMicros],
    ["certificates", certificates, costs.certifyMicros],
  ];
  const cores = work.reduce((sum, [, perSecond, micros]) => sum + coresOf(perSecond, micros), 0);
  const replicas = Math.ceil(cores / PLANNED_RATIO);
  const redisCores = coresOf(heartbeats, costs.redisMicros);
  const shards = Math.ceil(redisCores / PLANNED_RATIO);
  const own = ((costs.sidecarBytes + costs.connectionBytes) * sidecars) / replicas;
  const mirrored = costs.mirrorBytes * sidecars;
  const rows = [
    ...work.map(
      ([name, perSecond, micros]) =>
        `| ${name} | ${perSecond.toFixed(0)}/s | ${micros.toFixed(0)} µs | ${coresOf(perSecond, micros).toFixed(1)} cores of all replicas |`,
    ),
    `| the same heartbeats on Redis | ${heartbeats.toFixed(0)}/s | ${costs.redisMicros.toFixed(0)} µs | ${redisCores.toFixed(1)} cores of all shards |`,
    `| memory for its own sidecars | ${(sidecars / replicas).toFixed(0)} a replica | ${kb(costs.sidecarBytes)} and ${kb(costs.connectionBytes)} for the connection | ${gb(own)} a replica |`,
    `| memory for everybody's leases | all ${sidecars.toLocaleString("en")} | ${kb(costs.mirrorBytes)} | ${gb(mirrored)} a replica, however many there are |`,
  ];
  const table = ["| what | how much | each | together |", "| --- | ---: | ---: | ---: |", ...rows].join("\n");
  return [
    `With a heartbeat each ${heartbeatSeconds} s, certificates renewed at 70 % of a day, and every instance replaced once a day under the eyes of ${watchersOfEach} watchers:`,
    table,
    `So N = ${replicas} replicas and M = ${shards} shards of Redis, each ${PLANNED_RATIO * 100} % busy. What grows with N is CPU and the memory of a replica's own sidecars; what does not is the mirror: each replica holds all leases (${gb(mirrored)}). That, and not CPU, ends first: a store takes at most ${MAX_LEASES.toLocaleString("en")} leases today (\`MAX_LEASES\`), and a million would need replicas that mirror only the services their own sidecars watch.`,
  ].join("\n\n");
}

const coresOf = (perSecond: number, micros: number) => (perSecond * micros) / 1e6;
const kb = (bytes: number) => `${(bytes / 1000).toFixed(1)} KB`;
const gb = (bytes: number) => `${(bytes / BYTES_PER_GB).toFixed(1)} GB`;
