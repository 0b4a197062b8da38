// What the control plane watches over besides admission: pods without their sidecar, and rollouts. All replicas watch and count; the holder of a Lease
// alone tells, restarts and halts. Nothing here is on the path of a request, and its failures leave the webhook untouched.
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { ClusterView } from "../cluster/cluster-view.ts";
import type { EventRecorder } from "../webhook/events.ts";
import type { Fleet } from "../rollout/fleet.ts";
import { createGuard } from "../rollout/guard.ts";
import { type FetchJson, readRegistry } from "../rollout/registry-reader.ts";
import type { RolloutApi } from "../rollout/rollout-api.ts";
import type { InjectorSettings } from "../settings.ts";
import { followList } from "../../core/kubernetes/watched-list.ts";
import { readWatchedPod, type WatchedPod } from "./naked-pods.ts";
import { createWatchdog } from "./watchdog.ts";

/** Time between two rounds; the lease lasts three of them. */
const ROUND_MS = 5_000;
/** Name of the Lease. */
export const OVERSEER_LEASE = "remora-overseer";
const CHANNEL_ANNOTATION = "remora.io/channel";

/** What the overseer works with. */
export interface OverseerOptions {
  readonly api: RolloutApi;
  readonly view: ClusterView;
  readonly events: EventRecorder;
  readonly settings: InjectorSettings;
  /** Replicas of the registry; asked anew each time, as they come and go. */
  readonly registries: () => Promise<ReadonlyMap<string, FetchJson>>;
  /** Unique to this process. */
  readonly holder: string;
  /** Default 5 s. */
  readonly roundMs?: number;
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A running overseer. */
export interface Overseer {
  /** What keeps it from watching, or null. */
  trouble(): string | null;
  /** Ends the round under way and gives the Lease up. */
  close(): Promise<void>;
}

/** Starts watching; does not wait for anything. */
export function startOverseer(options: OverseerOptions): Overseer {
  const { api, view, events, settings, clock, random, log, metrics, roundMs = ROUND_MS } = options;
  const lock = api.lock(OVERSEER_LEASE, options.holder);
  const pods = followList<WatchedPod>({
    what: "pods",
    path: "/api/v1/pods",
    list: api.listPods,
    watch: api.watch,
    read: (object) => readWatchedPod(object, settings),
    onChange: () => {},
    clock,
    random,
    log,
  });
  const leads = metrics.gauge({ name: "remora_overseer_leader", help: "1 in the replica that watches over rollouts and naked pods." });
  let isSynced = false;
  let isLeader = false;
  let trouble: string | null = null;
  let closed = false;
  let running: Promise<void> = Promise.resolve();
  let timer: Timer | null = null;
  void pods.synced.then(() => {
    isSynced = true;
  });

  function* everyPod(): Iterable<WatchedPod> {
    for (const siblings of pods.facts.values()) yield* siblings.values();
  }

  async function fleet(): Promise<Fleet> {
    const { instances, problems } = await readRegistry(await options.registries());
    if (problems.length > 0) log.warn({ problems }, "a replica of the registry does not answer");
    const namespaceChannels = new Map<string, string>();
    for (const namespace of pods.facts.keys()) {
      const channel = view.surroundings(namespace)?.namespace.annotations[CHANNEL_ANNOTATION];
      if (channel !== undefined) namespaceChannels.set(namespace, channel);
    }
    return { pods: [...everyPod()], namespaceChannels, instances };
  }

  const common = { platform: () => view.platform(), events, clock, log, metrics };
  const guard = createGuard({ ...common, api, fleet });
  const watchdog = createWatchdog({
    ...common,
    api,
    pods: everyPod,
    surroundings: (namespace) => view.surroundings(namespace),
    settings,
  });

  /** Fails closed: who cannot renew the Lease does not act, as another may hold it already. */
  async function hold(): Promise<boolean> {
    try {
      const held = await lock.hold(clock.nowMs(), clock.monoMs());
      trouble = null;
      return held;
    } catch (error) {
      const message = `the Lease ${OVERSEER_LEASE} cannot be renewed: ${error instanceof Error ? error.message : String(error)}`;
      if (trouble !== message) log.warn({ err: error }, "this replica watches over nothing until it can renew its Lease");
      trouble = message;
      return false;
    }
  }

  async function round(): Promise<void> {
    if (!isSynced || view.platform() === null) return;
    const held = await hold();
    if (held !== isLeader)
      log.info({ lease: OVERSEER_LEASE, leads: held }, held ? "watching over rollouts and naked pods" : "another replica watches now");
    isLeader = held;
    leads.set(held ? 1 : 0);
    if (!held) {
      watchdog.count();
      return;
    }
    await guard.look();
    await watchdog.round();
  }

  function next(): void {
    if (closed) return;
    timer = clock.after(roundMs * (0.8 + 0.4 * random()), () => {
      running = round()
        .catch((error: unknown) => log.error({ err: error }, "a round of the overseer failed"))
        .finally(next);
    });
  }

  next();
  return {
    trouble: () => trouble ?? pods.problem(),
    async close() {
      closed = true;
      timer?.cancel();
      await running;
      pods.close();
      if (isLeader) await lock.release();
    },
  };
}
