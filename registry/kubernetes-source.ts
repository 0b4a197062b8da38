// Services as the Kubernetes API server defines them (design 8): Services, EndpointSlices, Pods and Namespaces, watched, joined by pod UID and address.
// While the API server is away, the last known objects stay in force.
import type { Clock, Timer } from "../core/clock.ts";
import { RegistryError } from "../core/errors.ts";
import { followList, type ObjectChange, type WatchedList } from "../core/kubernetes/watched-list.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { connectKubernetesApi, WATCHED_PATHS, type WatchedKind } from "./kubernetes-api.ts";
import { createCatalog } from "./kubernetes-catalog.ts";
import { readNamespace, readPod } from "./kubernetes-pods.ts";
import { readService, readSlice } from "./kubernetes-services.ts";
import { createPodDirectory } from "./pod-directory.ts";
import type { ServiceEntry, ServiceSource, SourceProblem } from "./service-source.ts";
import { createSourceMetrics } from "./source-metrics.ts";

const SYNC_TIMEOUT_MS = 90_000;
const GATHER_MS = 20;
/** Longer than it takes to begin a watch anew that the API server ended as it was told to. */
const STALE_AFTER_MS = 5_000;
/** Pods are up to 30 KB each: 3 MB for a page of them, which does not keep heartbeats waiting for long. */
const PAGE_ITEMS = 100;

/** What changes with the ports that pods skip: answers about instances by their own addresses. */
const INSTANCES: ReadonlySet<string> = new Set([""]);

/** Settings of {@link startKubernetesSource}. */
export interface KubernetesSourceOptions {
  /** Text of a kubeconfig; without it the pod's service account is used, or the user's default. */
  readonly kubeconfig?: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics?: Metrics;
  /** How long the first lists may take. Default 90000. */
  readonly syncTimeoutMs?: number;
  /** How long one watch lasts; silent for 5 s more, it is taken for dead. Default 25. */
  readonly watchSeconds?: number;
}

/** Lists everything, then follows. Raises `RegistryError("unavailable")` when the API server does not answer the first lists. */
export async function startKubernetesSource(options: KubernetesSourceOptions): Promise<ServiceSource> {
  const { clock, random, log, watchSeconds } = options;
  const api = await connectKubernetesApi(clock, options.kubeconfig);
  const catalog = createCatalog();
  const pods = createPodDirectory(clock, (namespace) => namespaces.facts.get("")?.get(namespace)?.skippedPorts);
  const listeners = new Set<(serviceIds: ReadonlySet<string>) => void>();
  const stale = new Set<string>();
  let gathering: Timer | null = null;

  /** Makes the entries anew that changed, a moment later and together: a rollout touches one slice many times. */
  function markStale(serviceIds: Iterable<string>): void {
    for (const id of serviceIds) stale.add(id);
    if (stale.size > 0) gathering ??= clock.after(GATHER_MS, rebuild);
  }

  function rebuild(): void {
    gathering?.cancel();
    gathering = null;
    const changed = new Set([...stale].filter((id) => catalog.rebuild(id)));
    stale.clear();
    if (changed.size > 0) for (const run of listeners) run(changed);
  }

  function follow<Facts extends { readonly resourceVersion: string }>(
    kind: WatchedKind,
    read: (object: unknown) => Facts | null,
    onChange: (changes: readonly ObjectChange<Facts>[]) => void,
  ): WatchedList<Facts> {
    return followList<Facts>({
      what: kind,
      path: WATCHED_PATHS[kind],
      list: (page) => api.list(WATCHED_PATHS[kind], page),
      watch: api.watch,
      read,
      isSame: (before, after) => before.resourceVersion !== "" && before.resourceVersion === after.resourceVersion,
      onChange,
      onList: () => counted.listed(kind),
      onFailure: () => counted.failed(kind),
      pageItems: PAGE_ITEMS,
      ...(watchSeconds === undefined ? {} : { watchSeconds }),
      clock,
      random,
      log,
    });
  }

  const counted = createSourceMetrics(options.metrics ?? null);
  const services = follow("services", readService, (changes) => markStale(catalog.takeServices(changes)));
  const slices = follow("endpointslices", readSlice, (changes) => markStale(catalog.takeSlices(changes)));
  const podList = follow("pods", readPod, (changes) => pods.take(changes));
  const namespaces = follow("namespaces", readNamespace, (changes) => {
    if (changes.length > 0) for (const run of listeners) run(INSTANCES);
  });
  const lists = { services, endpointslices: slices, pods: podList, namespaces };
  counted.observe(lists);

  async function close(): Promise<void> {
    gathering?.cancel();
    pods.close();
    for (const list of Object.values(lists)) list.close();
  }

  function problem(): SourceProblem | null {
    const troubled = Object.values(lists).filter((list) => list.problem() !== null || list.staleMs() > STALE_AFTER_MS);
    if (troubled.length === 0) return null;
    const staleMs = Math.max(...troubled.map((list) => list.staleMs()));
    const why = troubled.map((list) => list.problem()).find((sentence) => sentence !== null);
    const age = `what is known of the cluster is ${Math.round(staleMs / 1000)} s old`;
    return { message: why === undefined ? age : `${age}: ${why}`, since: Math.round(clock.nowMs() - staleMs) };
  }

  const synced = Promise.all(Object.values(lists).map((list) => list.synced));
  if (!(await settlesWithin(synced, options.syncTimeoutMs ?? SYNC_TIMEOUT_MS, clock))) {
    const known = Object.values(lists).flatMap((list) => list.problem() ?? []);
    await close();
    throw new RegistryError(
      "unavailable",
      `the Kubernetes API server did not list services, endpointslices, pods and namespaces: ${known.join("; ") || "no answer"}`,
    );
  }
  rebuild();

  /** A cluster address is one Service's alone. That of a load balancer may be a pod's too, and the pod is who has it. */
  function byVirtualAddress(address: string): ServiceEntry | undefined {
    const entry = catalog.byClusterAddress(address);
    if (entry !== undefined) return entry;
    for (const _pod of pods.at(address)) return undefined;
    return catalog.byBalancerAddress(address);
  }

  return {
    kind: "kubernetes",
    service: (serviceId) => catalog.entries.get(serviceId),
    all: () => catalog.entries.values(),
    byVirtualAddress,
    selecting: catalog.selecting,
    pods,
    grants: () => [],
    onChange(run) {
      listeners.add(run);
      return () => void listeners.delete(run);
    },
    problem,
    close,
  };
}

function settlesWithin(work: Promise<unknown>, ms: number, clock: Clock): Promise<boolean> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, () => resolve(false));
    void work.then(() => {
      timer.cancel();
      resolve(true);
    });
  });
}
