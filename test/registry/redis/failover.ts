// A failover of Redis under the heartbeats of many sidecars: three real control planes, the real heartbeats of simulated sidecars, and a watcher of every
// service on each replica that notes who ever leaves its view. The master is killed with SIGKILL; what follows is Redis's own failover.
import { mkdtemp, rm } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Counts } from "../../../bench/control/tally.ts";
import { Tally } from "../../../bench/control/tally.ts";
import { createFleet, papersBy } from "../../../bench/control/fleet.ts";
import { createLink } from "../../../bench/control/link.ts";
import { type Replica, startReplica } from "../../../bench/control/plane.ts";
import { createProcesses } from "../../../bench/load/processes.ts";
import { registryService } from "../../../core/wire/load.ts";
import type { HeartbeatRequest, HeartbeatResponse, WatchRequest, WatchUpdate } from "../../../core/wire/registry.ts";
import type { Teardown } from "../../support/processes.ts";
import type { RedisServer } from "../../support/redis.ts";
import { startRedisCluster, startSentinelGroup } from "../../support/redis-groups.ts";
import { heartbeatOf } from "../harness.ts";
import { createThrowawayCa, type ThrowawayCa } from "../../support/throwaway-ca.ts";

const REPLICAS = 3;
const PER_SERVICE = 50;
/** Sidecars that are killed at the end, to see that views are alive. */
const DOOMED = 20;
const DOOMED_NAME = "doomed-";
const DAY_MS = 86_400_000;

/** What to play. */
export interface FailoverOptions {
  readonly kind: "sentinel" | "cluster";
  readonly sidecars: number;
  readonly heartbeatMs: number;
  readonly leaseMs: number;
  /** Time in which all sidecars start. */
  readonly rampMs: number;
}

/** What was seen. */
export interface FailoverReport {
  readonly sidecars: number;
  readonly heartbeats: Counts;
  /** Longest time that a replica was without Redis, from the kill on. */
  readonly withoutRedisMs: number;
  /** From the kill until every replica was well again. */
  readonly untilOkMs: number;
  /** Endpoints (instance id and port) that were ever absent from the view of any watcher, after all were there. */
  readonly missing: readonly string[];
  /** How long after their last heartbeat (all at once) the last of some killed sidecars was gone from every view. */
  readonly killedGoneMs: number;
}

/** Plays it; everything that it starts ends with `t`. */
export async function playFailover(
  t: Teardown,
  { kind, sidecars, heartbeatMs, leaseMs, rampMs }: FailoverOptions,
): Promise<FailoverReport> {
  const folder = await mkdtemp(join(tmpdir(), "remora-failover-"));
  const processes = createProcesses();
  t.teardown(async () => {
    await processes.close();
    await rm(folder, { recursive: true, force: true });
  });
  const redis = kind === "sentinel" ? await sentinelGroup(t) : await clusterGroup(t);
  const ca = createThrowawayCa();
  const env = {
    REMORA_HEARTBEAT_INTERVAL: `${heartbeatMs}ms`,
    REMORA_LEASE: `${leaseMs}ms`,
    REMORA_LOG_LEVEL: "error",
    ...redis.env,
  };
  const replicas: Replica[] = [];
  for (let core = 0; core < REPLICAS; core += 1)
    replicas.push(await startReplica({ folder, ca, core: core % 2, redisUrl: redis.url, nodeFlags: [], env }, processes.start));

  const tally = new Tally(Date.now() + DAY_MS);
  const ports = replicas.map(({ grpcPort }) => grpcPort);
  const fleet = createFleet({
    papersOf: papersBy(ca, "bench"),
    firstAddress: 0,
    tally,
    ports,
    sidecars,
    perService: PER_SERVICE,
    perConnection: PER_SERVICE,
    watches: 1,
  });
  t.teardown(() => fleet.close());
  const doomed = startDoomed(ca, ports[0] ?? 0, heartbeatMs);
  t.teardown(() => doomed.kill());
  const services = [...Array.from({ length: Math.ceil(sidecars / PER_SERVICE) }, (_, n) => `svc-${n}.bench`), "doomed.bench"];
  const views = ports.map((port) => watchAll(ca, port, services));
  t.teardown(() => {
    for (const view of views) view.close();
  });
  await fleet.start(rampMs);
  await fleet.untilSettled(60_000);
  await until("every view is whole", 60_000, () => views.every((view) => view.ids.size === sidecars + DOOMED));
  await sleep(heartbeatMs * 1.2);

  tally.reset();
  const missing = new Set<string>();
  for (const view of views) view.onLost = (id) => missing.add(id);
  const killedMonoMs = performance.now();
  await redis.killMaster();
  const withoutRedisMs = Math.max(...(await Promise.all(replicas.map((replica) => untilWell(replica, killedMonoMs)))));
  const untilOkMs = performance.now() - killedMonoMs;
  await sleep(leaseMs * 2);
  const heartbeats = tally.counts();
  for (const view of views) view.onLost = () => {};

  const doomedMonoMs = performance.now();
  doomed.kill();
  await until("the killed ones are gone", leaseMs * 4, () =>
    views.every((view) => ![...view.ids].some((id) => id.startsWith(DOOMED_NAME))),
  );
  return { sidecars, heartbeats, withoutRedisMs, untilOkMs, missing: [...missing], killedGoneMs: performance.now() - doomedMonoMs };
}

interface Installation {
  readonly url: string;
  readonly env: Readonly<Record<string, string>>;
  killMaster(): Promise<void>;
}

async function sentinelGroup(t: Teardown): Promise<Installation> {
  const group = await startSentinelGroup(t);
  const master: RedisServer = await group.master();
  return { url: group.url, env: { REMORA_REDIS_SENTINEL_PASSWORD: group.sentinelPassword }, killMaster: () => master.kill() };
}

async function clusterGroup(t: Teardown): Promise<Installation> {
  const cluster = await startRedisCluster(t);
  return { url: cluster.url, env: {}, killMaster: async () => cluster.nodes[1]?.kill() };
}

/** Resolves with how long the replica was unwell: 0 when nobody saw it so within 5 s. */
async function untilWell({ adminPort }: Replica, fromMonoMs: number): Promise<number> {
  const isUnwell = async () => (await (await fetch(`http://127.0.0.1:${adminPort}/api/v1/health`)).text()).includes("redis:");
  while (!(await isUnwell())) {
    if (performance.now() - fromMonoMs > 5000) return 0;
    await sleep(20);
  }
  const sinceMonoMs = performance.now();
  await until("a replica is well again", 60_000, async () => !(await isUnwell()));
  return performance.now() - sinceMonoMs;
}

function linkAs(ca: ThrowawayCa, account: string, port: number) {
  const leaf = ca.leaf(account);
  return createLink(port, createSecureContext({ ca: ca.rootPem, key: leaf.keyPem, cert: leaf.certPem, minVersion: "TLSv1.3" }));
}

/** Heartbeats of a few instances over one connection, and the end of them all at once. */
function startDoomed(ca: ThrowawayCa, port: number, heartbeatMs: number): { kill(): void } {
  const link = linkAs(ca, "bench/doomed", port);
  const method = registryService["Heartbeat"];
  if (method === undefined) throw new Error("no Heartbeat");
  const calls = Array.from({ length: DOOMED }, (_, n) => {
    const call = link.open<HeartbeatRequest, HeartbeatResponse>(method);
    call.on("error", () => {}); // the end
    return { call, message: heartbeatOf({ instanceId: `${DOOMED_NAME}${n}`, services: ["doomed"], addresses: [`127.250.0.${n + 1}`] }) };
  });
  const beat = () => {
    for (const { call, message } of calls) call.write(message);
  };
  beat();
  const timer = setInterval(beat, heartbeatMs);
  return {
    kill() {
      clearInterval(timer);
      link.cut();
    },
  };
}

interface View {
  readonly ids: ReadonlySet<string>;
  onLost: (id: string) => void;
  close(): void;
}

/** What a watcher of every service of the fleet knows, as one set. */
function watchAll(ca: ThrowawayCa, port: number, services: readonly string[]): View {
  const link = linkAs(ca, "bench/viewer", port);
  const method = registryService["Watch"];
  if (method === undefined) throw new Error("no Watch");
  const call = link.open<WatchRequest, WatchUpdate>(method);
  const ids = new Set<string>();
  const byKey = new Map<string, Set<string>>();
  const view: View = {
    ids,
    onLost: () => {},
    close: () => link.cut(),
  };

  function lose(known: Set<string>, id: string): void {
    known.delete(id);
    ids.delete(id);
    view.onLost(id);
  }

  call.on("data", ({ key, full, upserts, removed }: WatchUpdate) => {
    const known = byKey.get(key) ?? new Set();
    byKey.set(key, known);
    const now = new Set(upserts.map(({ instanceId, port }) => `${instanceId}:${port}`)); // as `removed` names them
    if (full) for (const id of [...known]) if (!now.has(id)) lose(known, id);
    for (const id of removed) lose(known, id);
    for (const id of now) {
      known.add(id);
      ids.add(id);
    }
  });
  call.on("error", (error: Error) => view.onLost(`the watch ended: ${error.message}`));
  for (const name of services) {
    call.write({ key: name, service: { name, port: 0 }, unsubscribe: false, knownVersion: 0 });
  }
  return view;
}

async function until(what: string, timeoutMs: number, holds: () => boolean | Promise<boolean>): Promise<void> {
  const endMonoMs = performance.now() + timeoutMs;
  while (!(await holds())) {
    if (performance.now() > endMonoMs) throw new Error(`not within ${timeoutMs} ms: ${what}`);
    await sleep(20);
  }
}

/** The report in lines. */
export function describeFailover(kind: string, report: FailoverReport): string[] {
  const { heartbeats: counts } = report;
  const failures = Object.entries(counts.failures).map(([what, count]) => `${count} × ${what}`);
  return [
    `${kind}: ${report.sidecars} sidecars, ${REPLICAS} control planes`,
    `heartbeats answered ${counts.answers}, refused ${counts.refusals}, failed ${failures.length === 0 ? "0" : failures.join("; ")}`,
    `answers p50 ${counts.answer.p50.toFixed(1)} ms, p99 ${counts.answer.p99.toFixed(1)} ms, longest ${counts.answer.max.toFixed(0)} ms`,
    `longest time without Redis ${report.withoutRedisMs.toFixed(0)} ms; all well again ${report.untilOkMs.toFixed(0)} ms after the kill`,
    `live instances missing in any view: ${report.missing.length}`,
    `killed sidecars gone from every view after ${report.killedGoneMs.toFixed(0)} ms`,
  ];
}
