// What is asked of the Kubernetes API about the cluster around a pod: lists, watches and single reads, each bounded in time.
import type { Environment } from "../../core/config.ts";
import { findKubeAccess } from "./kube-access.ts";
import { CALL_TIMEOUT_MS, createKubeHttp, type KubeHttp } from "./kube-http.ts";
import { PLATFORM_CONFIG_MAP } from "../platform/platform.ts";
import type { ListPage, StartWatch } from "../../core/kubernetes/watched-list.ts";

/** One page of a list. */
export interface PageRequest {
  readonly limit: number;
  readonly _continue?: string;
}

/** The API as the view of the cluster uses it. Lists reject with an error whose `code` is the API server's status. */
export interface ClusterApi {
  readonly namespaces: (page: PageRequest) => Promise<ListPage>;
  readonly nodes: (page: PageRequest) => Promise<ListPage>;
  /** Of one namespace where it is given. */
  readonly limitRanges: (page: PageRequest, namespace?: string) => Promise<ListPage>;
  /** Of one namespace where it is given. */
  readonly quotas: (page: PageRequest, namespace?: string) => Promise<ListPage>;
  /** At most one: the ConfigMap of the platform team. */
  readonly platform: (page: PageRequest) => Promise<ListPage>;
  /** Null when there is none. */
  readonly namespace: (name: string, timeoutMs?: number) => Promise<unknown>;
  readonly watch: StartWatch;
  /** Namespace of the control plane, where the ConfigMap is. */
  readonly controlNamespace: string;
}

/** Finds the cluster; see `findKubeAccess`. */
export async function connectClusterApi(
  controlNamespace: string,
  options: { readonly kubeconfig?: string; readonly env?: Environment } = {},
): Promise<ClusterApi> {
  return createClusterApi(createKubeHttp(await findKubeAccess({ env: {}, ...options })), controlNamespace);
}

/** The same on a connection that is there already. */
export function createClusterApi(http: KubeHttp, controlNamespace: string): ClusterApi {
  const inNamespace = (namespace: string | undefined) =>
    namespace === undefined ? "/api/v1" : `/api/v1/namespaces/${encodeURIComponent(namespace)}`;
  return {
    controlNamespace,
    namespaces: (page) => listPage(http, "/api/v1/namespaces", page),
    nodes: (page) => listPage(http, "/api/v1/nodes", page),
    limitRanges: (page, namespace) => listPage(http, `${inNamespace(namespace)}/limitranges`, page),
    quotas: (page, namespace) => listPage(http, `${inNamespace(namespace)}/resourcequotas`, page),
    platform: (page) =>
      listPage(http, `${inNamespace(controlNamespace)}/configmaps`, page, { fieldSelector: `metadata.name=${PLATFORM_CONFIG_MAP}` }),
    namespace: (name, timeoutMs = CALL_TIMEOUT_MS) =>
      call(
        `read namespace ${name}`,
        () => http.call("GET", `/api/v1/namespaces/${encodeURIComponent(name)}`, { timeoutMs }),
        [404],
        timeoutMs,
      ),
    watch: http.watch,
  };
}

/** One page of the list at `path`. */
export async function listPage(
  http: KubeHttp,
  path: string,
  { limit, _continue }: PageRequest,
  more: Readonly<Record<string, string>> = {},
): Promise<ListPage> {
  const query = new URLSearchParams({ ...more, limit: String(limit), ...(_continue === undefined ? {} : { continue: _continue }) });
  const answer = (await bounded(() => http.call("GET", `${path}?${query}`))) as {
    readonly items?: readonly unknown[];
    readonly metadata?: { readonly resourceVersion?: string; readonly continue?: string };
  } | null;
  const { resourceVersion, continue: next } = answer?.metadata ?? {};
  return {
    items: answer?.items ?? [],
    metadata: { ...(resourceVersion === undefined ? {} : { resourceVersion }), ...(next === undefined ? {} : { _continue: next }) },
  };
}

/** A time as the API wants it where it counts microseconds: six digits after the point. */
export function microTime(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, -1)}000Z`;
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
