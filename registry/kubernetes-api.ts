// The part of the Kubernetes API that the registry reads, through the client library: lists in pages, each bounded in time, and watches. The library is
// large and loads only here. Lists are taken as plain JSON, as watches are: its typed calls copy every field of every object, of which we keep a few.
import type { KubeConfig } from "@kubernetes/client-node";
import type { Clock } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import { fieldsOf, listOf, textOf } from "../core/kubernetes/json-fields.ts";
import type { ListPage, StartWatch } from "../core/kubernetes/watched-list.ts";

/** Kinds that are watched, by their names in paths. */
export const WATCHED_KINDS = ["services", "endpointslices", "pods", "namespaces"] as const;
/** One of {@link WATCHED_KINDS}. */
export type WatchedKind = (typeof WATCHED_KINDS)[number];

/** Where all objects of a kind are, over all namespaces. */
export const WATCHED_PATHS: Readonly<Record<WatchedKind, string>> = {
  services: "/api/v1/services",
  endpointslices: "/apis/discovery.k8s.io/v1/endpointslices",
  pods: "/api/v1/pods",
  namespaces: "/api/v1/namespaces",
};

/** Lists and watches at any path. */
export interface KubernetesApi {
  /** One page. Rejects with an error whose `code` is the API server's status, or with another one after 30 s. */
  list(path: string, page: { readonly limit: number; readonly _continue?: string }): Promise<ListPage>;
  readonly watch: StartWatch;
}

/** A page takes a slow API server a second or two. */
const PAGE_TIMEOUT_MS = 30_000;

/** Loads the client. `kubeconfig` is its YAML text; without it the pod's service account is used, or the user's default. */
export async function connectKubernetesApi(clock: Clock, kubeconfig?: string): Promise<KubernetesApi> {
  const client = await import("@kubernetes/client-node");
  const config: KubeConfig = new client.KubeConfig();
  if (kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(kubeconfig);
  const http = new client.IsomorphicFetchHttpLibrary();

  async function getJson(path: string, signal: AbortSignal): Promise<unknown> {
    const cluster = config.getCurrentCluster();
    if (cluster === null) throw new ConfigError("invalid_settings", "the kubeconfig names no cluster");
    const request = new client.RequestContext(cluster.server.replace(/\/$/, "") + path, client.HttpMethod.GET);
    request.setHeaderParam("Accept", "application/json");
    request.setSignal(signal);
    await config.applySecurityAuthentication(request);
    const { httpStatusCode, body } = await http.send(request).toPromise();
    const text = await body.text();
    if (httpStatusCode === 200) return JSON.parse(text);
    throw Object.assign(new Error(`the API server answers ${httpStatusCode}`), { code: httpStatusCode });
  }

  return {
    async list(path, { limit, _continue }) {
      const query = new URLSearchParams({ limit: String(limit), ...(_continue === undefined ? {} : { continue: _continue }) });
      const patience = new AbortController();
      const timer = clock.after(PAGE_TIMEOUT_MS, () => patience.abort(new Error(`no answer within ${PAGE_TIMEOUT_MS / 1000} s`)));
      try {
        return readPage(await getJson(`${path}?${query}`, patience.signal));
      } finally {
        timer.cancel();
      }
    },
    watch: (path, query, onEvent, onEnd) => new client.Watch(config).watch(path, { ...query }, onEvent, onEnd),
  };
}

function readPage(answer: unknown): ListPage {
  const metadata = fieldsOf(fieldsOf(answer)["metadata"]);
  return {
    items: listOf(fieldsOf(answer)["items"]),
    metadata: { resourceVersion: textOf(metadata["resourceVersion"]), _continue: textOf(metadata["continue"]) },
  };
}
