// The mesh as a rollout sees it: pods as the API server knows them, joined by uid with instances as the registry knows them. Pure. A pod without an
// instance has lost its heartbeat; an instance without a pod runs outside of the cluster.
import { versionFor, type WorkloadOwner } from "../platform/channels.ts";
import type { Platform } from "../platform/platform.ts";
import type { PodFacts } from "./pod-facts.ts";
import type { Share } from "./proportion.ts";
import type { SeenInstance, SeenLoad } from "./tally.ts";

/** An instance as `GET /api/v1/instances` shows it. */
export interface RegistryInstance {
  /** The pod's uid in Kubernetes. */
  readonly instanceId: string;
  readonly epoch: number;
  readonly namespace: string;
  readonly identity: string;
  readonly version: string;
  readonly channel: string;
  readonly state: "starting" | "ready" | "draining";
  readonly load: (SeenLoad & { readonly inFlight: number; readonly p99Ms: number }) | null;
}

/** One moment of the mesh. */
export interface Fleet {
  readonly pods: readonly PodFacts[];
  /** Channel that a namespace's annotation gives its pods, by namespace. */
  readonly namespaceChannels: ReadonlyMap<string, string>;
  readonly instances: readonly RegistryInstance[];
}

/** One workload: the pods of one owner. */
export interface Workload {
  readonly owner: WorkloadOwner;
  /** `namespace/kind/name`, kind in lower case. */
  readonly key: string;
  /** Pods with a sidecar that have not ended. */
  readonly pods: readonly PodFacts[];
  /** What new pods of it would get; null where the platform names no versions. */
  readonly wanted: string | null;
  readonly channel: string;
  /** Pods whose sidecar is of another version than `wanted`. */
  readonly stale: readonly PodFacts[];
  /** True when every pod runs what is wanted and its instance is ready. */
  readonly settled: boolean;
}

/** `namespace/kind/name`. */
export function keyOf({ namespace, kind, name }: WorkloadOwner): string {
  return `${namespace}/${kind.toLowerCase()}/${name}`;
}

/** Workloads with a sidecar, by key. */
export function workloadsOf(fleet: Fleet, platform: Platform): ReadonlyMap<string, Workload> {
  const ready = new Map(fleet.instances.map((instance) => [instance.instanceId, instance.state === "ready"]));
  const grouped = new Map<string, PodFacts[]>();
  for (const pod of fleet.pods) {
    if (pod.version === null || pod.isOver) continue;
    const key = keyOf(pod.owner);
    const siblings = grouped.get(key);
    if (siblings === undefined) grouped.set(key, [pod]);
    else siblings.push(pod);
  }
  const workloads = new Map<string, Workload>();
  for (const [key, pods] of grouped) {
    const [first] = pods;
    if (first === undefined) continue;
    const { channel, version } = versionFor(
      platform,
      first.owner,
      first.askedChannel ?? fleet.namespaceChannels.get(first.namespace) ?? null,
    );
    // A pod whose annotation names an image has what it asked for, whatever the channel says.
    const stale = version === null ? [] : pods.filter((pod) => !pod.hasOwnImage && pod.version !== version);
    const settled = stale.length === 0 && pods.every((pod) => ready.get(pod.uid) === true);
    workloads.set(key, { owner: first.owner, key, pods, wanted: version, channel, stale, settled });
  }
  return workloads;
}

/** The instances as a tally counts them. What is in no pod is a workload by its identity. */
export function seenInstances(fleet: Fleet): readonly SeenInstance[] {
  const owners = new Map(fleet.pods.map((pod) => [pod.uid, keyOf(pod.owner)]));
  return fleet.instances.map(({ instanceId, epoch, version, identity, load }) => ({
    instanceId,
    epoch,
    version,
    workload: owners.get(instanceId) ?? identity,
    load,
  }));
}

/**
 * Pods of a version without a heartbeat, of all that are old enough to have one. `nowMs` is epoch time. Pods with an image of their own do not
 * count: nobody knows what is in it.
 */
export function lostHeartbeats(fleet: Fleet, version: string, nowMs: number, graceMs: number): Share {
  const alive = new Set(fleet.instances.map(({ instanceId }) => instanceId));
  let [count, of] = [0, 0];
  for (const pod of fleet.pods) {
    if (pod.version !== version || pod.hasOwnImage || pod.isOver || !pod.isScheduled || nowMs - pod.createdAtMs < graceMs) continue;
    of += 1;
    if (!alive.has(pod.uid)) count += 1;
  }
  return { count, of };
}
