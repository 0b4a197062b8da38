// What the injector knows of the cluster around a pod, at hand when a pod comes: namespaces, nodes, bounds on resources and the platform team's
// decisions, all watched. A request reads one immutable snapshot and never waits, but for a namespace that was made a moment ago.
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { ClusterApi } from "./cluster-api.ts";
import { oldest, readKubelet, readLimitRange, readNamespace, readPlatform, readQuota } from "./cluster-facts.ts";
import { defaultPlatform, PLATFORM_CONFIG_MAP, type Platform } from "../platform/platform.ts";
import type { NamespaceFacts, Surroundings } from "../surroundings.ts";
import { followList, type WatchedList } from "../../core/kubernetes/watched-list.ts";

/** A view that heard nothing for longer is said to be stale; it is used all the same. */
export const STALE_AFTER_MS = 60_000;
/** A namespace that the watch does not know yet is asked for while a pod waits; the API server gives up on us after 5 s. */
const NAMESPACE_READ_MS = 2_000;
/** Namespaces read in that way are remembered until the watch brings them, this many and this long. */
const MAX_REMEMBERED = 256;
const REMEMBERED_MS = 30_000;

/** What the view works with. */
export interface ClusterViewOptions {
  readonly api: ClusterApi;
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The cluster, as it was a moment ago. */
export interface ClusterView {
  /** Around pods of that namespace; null when the namespace is not known (yet), or {@link ClusterView.missing} says why nothing is. */
  surroundings(namespaceName: string): Surroundings | null;
  /** Asks for a namespace that is not known yet. Rejects when the API server does not answer in 2 s; null when there is no such namespace. */
  readNamespace(namespaceName: string): Promise<Surroundings | null>;
  /** What the platform team decided; null while that is not known. A file with mistakes leaves the one before in force. */
  platform(): Platform | null;
  /** Why no pod can be judged yet, or null. */
  missing(): string | null;
  /** What is wrong though pods can be judged, or null. */
  trouble(): string | null;
  /** Settled once everything was listed; the platform may be unreadable all the same. */
  readonly synced: Promise<void>;
  /** Calls `run` after each change of {@link platform}; returns what ends that. */
  onPlatform(run: (platform: Platform) => void): () => void;
  close(): void;
}

/** Starts the watches; does not wait for them. */
export function startClusterView({ api, clock, random, log, metrics }: ClusterViewOptions): ClusterView {
  const snapshots = new Map<string, Surroundings>();
  const remembered = new Map<string, { readonly facts: NamespaceFacts; readonly untilMonoMs: number }>();
  const reading = new Map<string, Promise<Surroundings | null>>();
  const listeners = new Set<(platform: Platform) => void>();
  let oldestKubelet: string | null = null;
  let platform: Platform | null = null;
  let mistakes: string | null = null;
  let isSynced = false;

  const common = { watch: api.watch, clock, random, log };
  const forget = () => snapshots.clear();
  const namespaces = followList({
    ...common,
    what: "namespaces",
    path: "/api/v1/namespaces",
    list: api.namespaces,
    read: readNamespace,
    onChange: forget,
  });
  const nodes: WatchedList<string> = followList({
    ...common,
    what: "nodes",
    path: "/api/v1/nodes",
    list: api.nodes,
    read: readKubelet,
    // Nodes change every few seconds in a large cluster, the oldest version of them hardly ever.
    onChange() {
      const found = oldest(new Set(nodes.facts.get("")?.values() ?? []));
      if (found === oldestKubelet) return;
      oldestKubelet = found;
      forget();
    },
  });
  const limitRanges = followList({
    ...common,
    what: "limitranges",
    path: "/api/v1/limitranges",
    list: api.limitRanges,
    read: readLimitRange,
    onChange: forget,
  });
  const quotas = followList({
    ...common,
    what: "resourcequotas",
    path: "/api/v1/resourcequotas",
    list: api.quotas,
    read: readQuota,
    onChange: forget,
  });
  const platforms: WatchedList<Platform | { readonly mistakes: string }> = followList({
    ...common,
    what: `ConfigMap ${api.controlNamespace}/${PLATFORM_CONFIG_MAP}`,
    path: `/api/v1/namespaces/${api.controlNamespace}/configmaps`,
    fieldSelector: `metadata.name=${PLATFORM_CONFIG_MAP}`,
    list: api.platform,
    read: readPlatform,
    onChange: () => takePlatform(platforms.facts.get(api.controlNamespace)?.get(PLATFORM_CONFIG_MAP) ?? defaultPlatform),
  });
  const lists = [namespaces, nodes, limitRanges, quotas, platforms];

  function takePlatform(found: Platform | { readonly mistakes: string }): void {
    if ("mistakes" in found) {
      if (found.mistakes !== mistakes) log.error({ mistakes: found.mistakes, inForce: platform !== null }, "platform settings not taken");
      mistakes = found.mistakes;
      return;
    }
    mistakes = null;
    if (found === platform) return;
    if (platform !== null) log.info({ place: platformPlace }, "platform settings changed");
    platform = found;
    forget();
    for (const run of listeners) run(found);
  }

  function build(facts: NamespaceFacts): Surroundings | null {
    if (platform === null) return null;
    const { name } = facts;
    return Object.freeze({
      namespace: facts,
      oldestKubelet,
      limitRanges: [...(limitRanges.facts.get(name)?.values() ?? [])],
      quotas: [...(quotas.facts.get(name)?.values() ?? [])],
      platform,
    });
  }

  function surroundings(name: string): Surroundings | null {
    const known = snapshots.get(name);
    if (known !== undefined) return known;
    if (!isSynced) return null;
    const watched = namespaces.facts.get("")?.get(name);
    if (watched === undefined) return recall(name);
    remembered.delete(name);
    const built = build(watched);
    if (built !== null) snapshots.set(name, built); // as many as there are namespaces
    return built;
  }

  function recall(name: string): Surroundings | null {
    const known = remembered.get(name);
    if (known === undefined) return null;
    if (known.untilMonoMs >= clock.monoMs()) return build(known.facts);
    remembered.delete(name);
    return null;
  }

  function readNamespaceNow(name: string): Promise<Surroundings | null> {
    const running = reading.get(name) ?? fetchNamespace(name).finally(() => reading.delete(name));
    reading.set(name, running);
    return running;
  }

  async function fetchNamespace(name: string): Promise<Surroundings | null> {
    const found = await api.namespace(name, NAMESPACE_READ_MS);
    if (found === null) return null;
    const facts = readNamespace(found);
    const [first] = remembered.keys();
    if (remembered.size >= MAX_REMEMBERED && first !== undefined) remembered.delete(first);
    remembered.set(name, { facts, untilMonoMs: clock.monoMs() + REMEMBERED_MS });
    return build(facts);
  }

  const staleMs = () => Math.max(...lists.map((list) => list.staleMs()));
  const problem = () => lists.map((list) => list.problem()).find((sentence) => sentence !== null) ?? null;
  const platformPlace = `ConfigMap ${api.controlNamespace}/${PLATFORM_CONFIG_MAP}`;
  metrics.gauge({
    name: "remora_cluster_view_stale_seconds",
    help: "Time since the view of the cluster last was in touch with the API server; 0 while every watch stands.",
    read: () => staleMs() / 1000,
  });
  const synced = Promise.all(lists.map((list) => list.synced)).then(() => {
    isSynced = true;
  });

  return {
    surroundings,
    readNamespace: readNamespaceNow,
    platform: () => platform,
    missing() {
      if (!isSynced) return `the cluster is not known yet${problem() === null ? "" : `: ${problem()}`}`;
      // Fails closed: what the platform team enforces is not known, so nothing may be let through.
      if (platform === null) return `${platformPlace} cannot be understood: ${mistakes}`;
      return null;
    },
    trouble() {
      if (mistakes !== null) return `${platformPlace} is not taken, what it said before holds: ${mistakes}`;
      const stale = staleMs();
      if (stale < STALE_AFTER_MS) return null;
      return `the view of the cluster is ${Math.round(stale / 1000)} s old${problem() === null ? "" : `: ${problem()}`}`;
    },
    synced,
    onPlatform(run) {
      listeners.add(run);
      return () => void listeners.delete(run);
    },
    close() {
      for (const list of lists) list.close();
    },
  };
}

const PAGE_ITEMS = 100;

/**
 * Reads the surroundings of one namespace once, for the command line. What the user may not list is left out and said through `onUnknown`. Rejects when
 * there is no such namespace, or the platform's ConfigMap has mistakes.
 */
export async function readSurroundings(
  api: ClusterApi,
  namespaceName: string,
  onUnknown: (sentence: string) => void = () => {},
): Promise<Surroundings> {
  const namespace = await api.namespace(namespaceName);
  if (namespace === null) throw new Error(`there is no namespace ${namespaceName}`);
  const [nodes, limitRanges, quotas, platforms] = await Promise.all([
    listAll("nodes", api.nodes, onUnknown),
    listAll("limitranges", (page) => api.limitRanges(page, namespaceName), onUnknown),
    listAll("resourcequotas", (page) => api.quotas(page, namespaceName), onUnknown),
    listAll(`ConfigMap ${api.controlNamespace}/${PLATFORM_CONFIG_MAP}`, api.platform, onUnknown),
  ]);
  const [configMap] = platforms;
  const platform = configMap === undefined ? defaultPlatform : readPlatform(configMap);
  if ("mistakes" in platform)
    throw new Error(`ConfigMap ${api.controlNamespace}/${PLATFORM_CONFIG_MAP} cannot be understood: ${platform.mistakes}`);
  return {
    namespace: readNamespace(namespace),
    oldestKubelet: oldest(nodes.map(readKubelet).filter((version) => version !== null)),
    limitRanges: limitRanges.map(readLimitRange),
    quotas: quotas.map(readQuota),
    platform,
  };
}

async function listAll(what: string, list: ClusterApi["nodes"], onUnknown: (sentence: string) => void): Promise<readonly unknown[]> {
  const items: unknown[] = [];
  let next: string | undefined;
  try {
    do {
      const page = await list({ limit: PAGE_ITEMS, ...(next === undefined ? {} : { _continue: next }) });
      items.push(...page.items);
      next = page.metadata?._continue;
    } while (next !== undefined && next !== "");
    return items;
  } catch (error) {
    if ((error as { readonly code?: unknown }).code !== 403) throw error;
    onUnknown(`you may not list ${what}, so they are taken as unknown`);
    return [];
  }
}
