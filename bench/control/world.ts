// Everything that a scenario plays on: the store, the replicas and the fleet, started and closed together.
import { mkdtemp, rm } from "node:fs/promises";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { createThrowawayCa, type ThrowawayCa } from "../../test/support/throwaway-ca.ts";
import { manifestEnv } from "../load/manifest-env.ts";
import { createProcesses } from "../load/processes.ts";
import { createFleet, type Fleet, papersBy } from "./fleet.ts";
import { type Cost, meter } from "./meter.ts";
import type { ControlBenchOptions } from "./options.ts";
import { type Replica, startReplica } from "./plane.ts";
import { type Probe, startProbe } from "./probe.ts";
import { startRedisServer } from "./redis.ts";
import { Tally } from "./tally.ts";

const DAY_MS = 86_400_000;

/** What is running. */
export interface World {
  readonly ca: ThrowawayCa;
  readonly tally: Tally;
  readonly replicas: readonly Replica[];
  readonly fleet: Fleet;
  /** Those who measure latency, on the first replica; resolves when they are settled. */
  startProbe(): Promise<Probe>;
  /** Measures the replicas and, apart, Redis. */
  measure(): () => { readonly plane: Cost; readonly redis: Cost | null };
  close(): Promise<void>;
}

/** Starts it from the bundle `dist`, with what the manifest sets; nothing is connected yet. */
export async function createWorld(options: ControlBenchOptions, dist: string): Promise<World> {
  const env = await manifestEnv(dist, "control");
  const folder = await mkdtemp(join(tmpdir(), "remora-control-"));
  const processes = createProcesses();
  const ca = createThrowawayCa();
  const tally = new Tally(Date.now() + DAY_MS);
  let fleet: Fleet | null = null;
  let probe: Probe | null = null;

  async function close(): Promise<void> {
    probe?.close();
    fleet?.close();
    await processes.close();
    await rm(folder, { recursive: true, force: true });
  }

  try {
    const redis = options.store === "redis" ? await startRedisServer(folder, processes.start) : null;
    const replicas: Replica[] = [];
    for (let index = 0; index < options.replicas; index += 1) {
      const plane = {
        folder,
        ca,
        core: (options.core + index) % cpus().length,
        redisUrl: redis?.url ?? null,
        nodeFlags: options.nodeFlags,
        dist,
        env,
      };
      replicas.push(await startReplica(plane, processes.start));
    }
    fleet = createFleet({
      papersOf: papersBy(ca, "bench"),
      firstAddress: 0,
      tally,
      ports: replicas.map(({ grpcPort }) => grpcPort),
      ...options,
    });
    return {
      ca,
      tally,
      replicas,
      fleet,
      async startProbe() {
        probe = await startProbe({ ca, port: replicas[0]?.grpcPort ?? 0, watches: options.watches, busyCore: options.core });
        return probe;
      },
      measure() {
        const plane = meter(replicas.map(({ pid }) => pid));
        const store = redis === null ? null : meter([redis.pid]);
        return () => ({ plane: plane(), redis: store === null ? null : store() });
      },
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
