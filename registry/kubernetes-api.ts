// The part of the Kubernetes API that the registry reads, through the client library: lists in pages, each bounded in time, and watches. The library is
// large and loads only here.
import type { CoreV1Api, DiscoveryV1Api } from "@kubernetes/client-node";
import type { Clock } from "../core/clock.ts";
import type { ListPage, StartWatch } from "../core/kubernetes/watched-list.ts";

/** Kinds that are watched, by their names in paths. */
export const WATCHED_KINDS = ["services", "endpointslices", "pods", "namespaces"] as const;
/** One of {@link WATCHED_KINDS}. */
export type WatchedKind = (typeof WATCHED_KINDS)[number];

/** One page of the list of each kind, over all namespaces, and a watch at any path. */
export interface KubernetesApi {
  readonly paths: Readonly<Record<WatchedKind, string>>;
  readonly lists: Readonly<Record<WatchedKind, (page: { readonly limit: number; readonly _continue?: string }) => Promise<ListPage>>>;
  readonly watch: StartWatch;
}

/** A page takes a slow API server a second or two. */
const PAGE_TIMEOUT_MS = 30_000;

/** Loads the client. `kubeconfig` is its YAML text; without it the pod's service account is used, or the user's default. */
export async function connectKubernetesApi(clock: Clock, kubeconfig?: string): Promise<KubernetesApi> {
  const client = await import("@kubernetes/client-node");
  const config = new client.KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(kubeconfig);
  const core: CoreV1Api = config.makeApiClient(client.CoreV1Api);
  const discovery: DiscoveryV1Api = config.makeApiClient(client.DiscoveryV1Api);
  const bounded = (page: Promise<ListPage>) => withinMs(page, PAGE_TIMEOUT_MS, clock);
  return {
    paths: {
      services: "/api/v1/services",
      endpointslices: "/apis/discovery.k8s.io/v1/endpointslices",
      pods: "/api/v1/pods",
      namespaces: "/api/v1/namespaces",
    },
    lists: {
      services: (page) => bounded(core.listServiceForAllNamespaces(page)),
      endpointslices: (page) => bounded(discovery.listEndpointSliceForAllNamespaces(page)),
      pods: (page) => bounded(core.listPodForAllNamespaces(page)),
      namespaces: (page) => bounded(core.listNamespace(page)),
    },
    watch: (path, query, onEvent, onEnd) => new client.Watch(config).watch(path, { ...query }, onEvent, onEnd),
  };
}

function withinMs<Value>(work: Promise<Value>, ms: number, clock: Clock): Promise<Value> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(ms, () => reject(new Error(`no answer within ${ms / 1000} s`)));
    work.then(resolve, reject).finally(() => timer.cancel());
  });
}
