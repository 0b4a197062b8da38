// What is asked of the Kubernetes API about the cluster around a pod: lists, watches and single reads, each bounded in time. The client library is large
// and loads only when one connects.
import type { CoreV1Api, KubeConfig, Watch } from "@kubernetes/client-node";
import { PLATFORM_CONFIG_MAP } from "./platform.ts";
import type { ListPage, StartWatch } from "./watched-list.ts";

/** No call may take longer. */
export const CALL_TIMEOUT_MS = 10_000;

/** One page of a list, of one namespace where it is given and the kind has any. */
export interface PageRequest {
  readonly limit: number;
  readonly _continue?: string;
}

/** The API as the view of the cluster uses it. Lists reject with an error whose `code` is the API server's status. */
export interface ClusterApi {
  readonly namespaces: (page: PageRequest) => Promise<ListPage>;
  readonly nodes: (page: PageRequest) => Promise<ListPage>;
  readonly limitRanges: (page: PageRequest, namespace?: string) => Promise<ListPage>;
  readonly quotas: (page: PageRequest, namespace?: string) => Promise<ListPage>;
  /** At most one: the ConfigMap of the platform team. */
  readonly platform: (page: PageRequest) => Promise<ListPage>;
  /** Null when there is none. */
  readonly namespace: (name: string, timeoutMs?: number) => Promise<unknown>;
  readonly watch: StartWatch;
  /** Namespace of the control plane, where the ConfigMap is. */
  readonly controlNamespace: string;
}

/** Loads the client. `kubeconfig` is its YAML text; without it the pod's service account is used, or the user's default. */
export async function connectClusterApi(controlNamespace: string, options: { readonly kubeconfig?: string } = {}): Promise<ClusterApi> {
  const { CoreV1Api, KubeConfig, Watch } = await import("@kubernetes/client-node");
  const config: KubeConfig = new KubeConfig();
  if (options.kubeconfig === undefined) config.loadFromDefault();
  else config.loadFromString(options.kubeconfig);
  return createClusterApi(config.makeApiClient(CoreV1Api), new Watch(config), controlNamespace);
}

/** The same on a client that is there already. */
export function createClusterApi(core: CoreV1Api, watch: Watch, controlNamespace: string): ClusterApi {
  const fieldSelector = `metadata.name=${PLATFORM_CONFIG_MAP}`;
  return {
    controlNamespace,
    namespaces: (page) => bounded(() => core.listNamespace({ ...page })),
    nodes: (page) => bounded(() => core.listNode({ ...page })),
    limitRanges: (page, namespace) =>
      bounded(() =>
        namespace === undefined ? core.listLimitRangeForAllNamespaces({ ...page }) : core.listNamespacedLimitRange({ ...page, namespace }),
      ),
    quotas: (page, namespace) =>
      bounded(() =>
        namespace === undefined
          ? core.listResourceQuotaForAllNamespaces({ ...page })
          : core.listNamespacedResourceQuota({ ...page, namespace }),
      ),
    platform: (page) => bounded(() => core.listNamespacedConfigMap({ ...page, namespace: controlNamespace, fieldSelector })),
    namespace: (name, timeoutMs = CALL_TIMEOUT_MS) => call(`read namespace ${name}`, () => core.readNamespace({ name }), [404], timeoutMs),
    watch: (path, query, onEvent, onEnd) => watch.watch(path, { ...query }, onEvent, onEnd),
  };
}

/** Rejects when `run` takes too long; its own errors pass. */
export async function bounded<Value>(run: () => Promise<Value>, timeoutMs = CALL_TIMEOUT_MS): Promise<Value> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs / 1000} s`)), timeoutMs).unref();
  });
  try {
    return await Promise.race([run(), deadline]);
  } finally {
    clearTimeout(timer);
  }
}

/** Runs one call with a deadline. Null for the statuses in `expected`; anything else is an Error saying what was tried. */
export async function call<Value>(
  what: string,
  run: () => Promise<Value>,
  expected: readonly number[],
  timeoutMs = CALL_TIMEOUT_MS,
): Promise<Value | null> {
  try {
    return await bounded(run, timeoutMs);
  } catch (cause) {
    const code = (cause as { readonly code?: unknown } | null)?.code;
    if (typeof code === "number" && expected.includes(code)) return null;
    const why = typeof code === "number" ? `the API server answers ${code}` : cause instanceof Error ? cause.message : String(cause);
    throw new Error(`cannot ${what}: ${why}`, { cause });
  }
}
