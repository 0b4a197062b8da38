// Services as the Kubernetes API server defines them (design 8): Services, EndpointSlices and Pods, watched, joined by pod UID and address. The
// client library is large and loads only here. A watch that breaks is started again; until then the last known objects stay in force.
import type {
  CoreV1Api,
  DiscoveryV1Api,
  Informer,
  KubeConfig,
  KubernetesListObject,
  KubernetesObject,
  V1EndpointSlice,
  V1Pod,
  V1Service,
} from "@kubernetes/client-node";
import type { Clock, Timer } from "../core/clock.ts";
import { RegistryError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { createCatalog } from "./kubernetes-catalog.ts";
import type { ServiceSource } from "./service-source.ts";

const SYNC_TIMEOUT_MS = 15_000;
const RESTART_LEAST_MS = 200;
const RESTART_MOST_MS = 10_000;
const GATHER_MS = 20;

/** Settings of {@link startKubernetesSource}. */
export interface KubernetesSourceOptions {
  /** Text of a kubeconfig; without it the pod's service account is used, or the user's default. */
  readonly kubeconfig?: string;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  /** How long the first lists may take. Default 15000. */
  readonly syncTimeoutMs?: number;
}

/** Lists everything, then follows. Raises `RegistryError("unavailable")` when the API server does not answer the first lists. */
export async function startKubernetesSource(options: KubernetesSourceOptions): Promise<ServiceSource> {
  const { clock, random, log } = options;
  const client = await import("@kubernetes/client-node");
  const config: KubeConfig = new client.KubeConfig();
  if (options.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(options.kubeconfig);
  const core: CoreV1Api = config.makeApiClient(client.CoreV1Api);
  const discovery: DiscoveryV1Api = config.makeApiClient(client.DiscoveryV1Api);

  const catalog = createCatalog();
  const listeners = new Set<(serviceIds: ReadonlySet<string>) => void>();
  const stale = new Set<string>();
  const problems = new Map<string, string>();
  const followed: { stop(): void }[] = [];
  let gathering: Timer | null = null;
  let closed = false;

  /** Builds the entries anew that changed, a moment later and together: a rollout touches one slice many times. */
  function markStale(serviceId: string | null): void {
    if (serviceId === null) return;
    stale.add(serviceId);
    gathering ??= clock.after(GATHER_MS, rebuild);
  }

  function rebuild(): void {
    gathering?.cancel();
    gathering = null;
    const changed = new Set([...stale].filter((id) => catalog.rebuild(id)));
    stale.clear();
    if (changed.size > 0) for (const run of listeners) run(changed);
  }

  /** Starts one informer and resolves with its first list. */
  function follow<T extends KubernetesObject>(
    what: string,
    path: string,
    list: () => Promise<KubernetesListObject<T>>,
    put: (object: T) => void,
    remove: (object: T) => void,
  ): Promise<void> {
    const informer: Informer<T> = client.makeInformer<T>(config, path, list);
    let failures = 0;
    let restart: Timer | null = null;
    informer.on("add", put);
    informer.on("update", put);
    informer.on("delete", remove);
    followed.push({
      stop() {
        restart?.cancel();
        void informer.stop();
      },
    });

    return new Promise((synced) => {
      async function start(): Promise<void> {
        try {
          await informer.start();
          if (!problems.has(what)) synced();
        } catch (error) {
          fail(error);
        }
      }

      function fail(error: unknown): void {
        if (closed) return;
        const message = error instanceof Error ? error.message : String(error);
        if (problems.get(what) !== message) log.warn({ what, problem: message }, "the watch of the API server broke; starting it again");
        problems.set(what, message);
        const ceiling = Math.min(RESTART_MOST_MS, RESTART_LEAST_MS * 2 ** Math.min(failures, 16));
        failures += 1;
        restart?.cancel();
        restart = clock.after(ceiling * (0.5 + random() / 2), () => {
          problems.delete(what);
          void start();
        });
      }

      informer.on("error", fail);
      informer.on("connect", () => {
        failures = 0;
      });
      void start();
    });
  }

  const synced = Promise.all([
    follow<V1Service>(
      "services",
      "/api/v1/services",
      () => core.listServiceForAllNamespaces(),
      (service) => markStale(catalog.putService(service)),
      (service) => markStale(catalog.removeService(service)),
    ),
    follow<V1EndpointSlice>(
      "endpointslices",
      "/apis/discovery.k8s.io/v1/endpointslices",
      () => discovery.listEndpointSliceForAllNamespaces(),
      (slice) => markStale(catalog.putSlice(slice)),
      (slice) => markStale(catalog.removeSlice(slice)),
    ),
    follow<V1Pod>(
      "pods",
      "/api/v1/pods",
      () => core.listPodForAllNamespaces(),
      (pod) => catalog.putPod(pod),
      (pod) => catalog.removePod(pod),
    ),
  ]);

  async function close(): Promise<void> {
    closed = true;
    gathering?.cancel();
    for (const informer of followed) informer.stop();
  }

  if (!(await settlesWithin(synced, options.syncTimeoutMs ?? SYNC_TIMEOUT_MS, clock))) {
    await close();
    const known = [...problems].map(([what, problem]) => `${what}: ${problem}`).join("; ");
    throw new RegistryError(
      "unavailable",
      `the Kubernetes API server did not list services, endpointslices and pods: ${known || "no answer"}`,
    );
  }
  rebuild();

  return {
    kind: "kubernetes",
    service: (serviceId) => catalog.entries.get(serviceId),
    all: () => catalog.entries.values(),
    byVirtualAddress: (address) => catalog.entries.get(catalog.byAddress.get(address) ?? ""),
    selecting: catalog.selecting,
    pod: (instanceId) => catalog.pods.get(instanceId),
    grants: () => [],
    onChange(run) {
      listeners.add(run);
      return () => void listeners.delete(run);
    },
    problem: () => [...problems].map(([what, problem]) => `${what}: ${problem}`)[0] ?? null,
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
