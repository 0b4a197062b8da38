// What the fleet does while it is measured. Each scenario ends with one flat result, so that results of several runs make a table.
import { setTimeout as sleep } from "node:timers/promises";
import { privateMbOf } from "./meter.ts";
import type { ControlBenchOptions } from "./options.ts";
import type { Counts } from "./tally.ts";
import type { World } from "./world.ts";

/** Sidecars started in a second, when starting is not what is measured. */
const RAMP_PER_SECOND = 500;
const SETTLE_TIMEOUT_MS = 120_000;
/** Between the last start and the first measured heartbeat: the jitter of a heartbeat's first interval is over. */
const CALM_MS = 8_000;
/** The control plane's default; how long it is waited for. */
const USUAL_INTERVAL_S = 5;
const USUAL_TIMEOUT_MS = 120_000;
/** Instances replaced in a second of a rolling deployment. */
const ROLL_PER_SECOND = 50;

/** What a scenario found. */
export interface Result extends Counts {
  readonly scenario: string;
  readonly sidecars: number;
  readonly connections: number;
  readonly replicas: number;
  readonly seconds: number;
  readonly perSecond: number;
  /** What the probe saw, which is not busy: see probe.ts. The fleet's own latencies are mostly the simulator's. */
  readonly probe: Counts;
  /** Cores that the replicas used, all together; what one heartbeat cost, other work included. */
  readonly cores: number;
  readonly microsPerHeartbeat: number;
  readonly idleMb: number;
  readonly privateMb: number;
  readonly peakMb: number;
  readonly redisCores: number | null;
  readonly redisMicrosPerHeartbeat: number | null;
  readonly redisMb: number | null;
  /** Leases that ended because nobody renewed them in time, per replica's metric. */
  readonly expired: number;
  /** From the event to the last sidecar that is settled again, s; null where nothing happened. */
  readonly settledSeconds: number | null;
  /** Streams that the replicas hold open at the end: two for each sidecar, those of the probe too. */
  readonly streams: number;
}

/** Starts the fleet, then plays `happen` while everything is measured. */
async function play(
  world: World,
  options: ControlBenchOptions,
  happen: (world: World) => Promise<number | null>,
  followsSpread = false,
): Promise<Result> {
  const { fleet, tally, replicas } = world;
  const idleMb = privateMbOf(replicas.map(({ pid }) => pid));
  await fleet.start((options.sidecars / RAMP_PER_SECOND) * 1000);
  await fleet.untilSettled(SETTLE_TIMEOUT_MS);
  const probe = await world.startProbe();
  await untilUsual(world);
  await sleep(CALM_MS);
  const expiredBefore = await expired(world);
  tally.reset(followsSpread);
  probe.begin();
  const end = world.measure();
  const settledSeconds = await happen(world);
  const { plane, redis } = end();
  const counts = tally.counts();
  const probed = await probe.end();
  const heartbeats = counts.answers + probed.answers;
  return {
    ...counts,
    scenario: options.scenario,
    sidecars: options.sidecars,
    connections: fleet.connections,
    replicas: replicas.length,
    seconds: plane.seconds,
    perSecond: heartbeats / plane.seconds,
    probe: probed,
    cores: plane.cores,
    microsPerHeartbeat: (plane.cpuMs * 1000) / heartbeats,
    idleMb,
    privateMb: plane.privateMb,
    peakMb: plane.peakMb,
    redisCores: redis?.cores ?? null,
    redisMicrosPerHeartbeat: redis === null ? null : (redis.cpuMs * 1000) / heartbeats,
    redisMb: redis?.privateMb ?? null,
    expired: (await expired(world)) - expiredBefore,
    settledSeconds,
    streams: (await total(world, "remora_registry_heartbeat_streams")) + (await total(world, "remora_registry_watchers")),
  };
}

/** Starting may have made the registry ask for fewer heartbeats; what is measured is the usual interval. */
async function untilUsual({ replicas }: World): Promise<void> {
  const endMonoMs = performance.now() + USUAL_TIMEOUT_MS;
  for (const replica of replicas) {
    while ((await replica.metric("remora_registry_heartbeat_interval_seconds")) > USUAL_INTERVAL_S && performance.now() < endMonoMs)
      await sleep(1000);
  }
}

const expired = (world: World) => total(world, "remora_registry_expired_total");

/** A metric of all replicas together. */
async function total({ replicas }: World, metric: string): Promise<number> {
  const each = await Promise.all(replicas.map((replica) => replica.metric(metric)));
  return each.reduce((sum, one) => sum + one, 0);
}

/** Heartbeats and nothing else. */
export function playSteady(world: World, options: ControlBenchOptions): Promise<Result> {
  return play(world, options, async () => {
    await sleep(options.seconds * 1000);
    return null;
  });
}

/** Every connection is cut at once; everybody comes back with the sidecar's own backoff. */
export function playDisconnect(world: World, options: ControlBenchOptions): Promise<Result> {
  return play(world, options, async ({ fleet }) => {
    fleet.cutAll();
    await sleep(100); // the cuts are noticed
    const tookMs = 100 + (await fleet.untilSettled(SETTLE_TIMEOUT_MS));
    await sleep(Math.max(0, options.seconds * 1000 - tookMs));
    return tookMs / 1000;
  });
}

/** Instances leave and others take their places, one after the other; watchers hear of each. */
export function playRolling(world: World, options: ControlBenchOptions): Promise<Result> {
  return play(
    world,
    options,
    async ({ fleet }) => {
      await fleet.roll(Math.min(options.sidecars, options.seconds * ROLL_PER_SECOND), ROLL_PER_SECOND);
      return (await fleet.untilSettled(SETTLE_TIMEOUT_MS)) / 1000;
    },
    true,
  );
}
