// Where the replicas of the registry are: the pods of the control plane, asked at their addresses or through the API server.
import { call } from "../cluster/cluster-api.ts";
import type { KubeHttp } from "../cluster/kube-http.ts";
import { type ReadCredential, readerCredential } from "./read-credential.ts";
import { fetchFrom, proxyTo } from "./registry-http.ts";
import type { FetchJson } from "./registry-reader.ts";

const REGISTRY_LABELS = "app.kubernetes.io/part-of=remora,app.kubernetes.io/component=control";
const REGISTRY_ADMIN_PORT = 15014;

interface RegistryPod {
  readonly metadata?: { readonly name?: string; readonly deletionTimestamp?: string };
  readonly status?: { readonly phase?: string; readonly podIP?: string };
}

/** The running replicas by the names of their pods. Rejects when the pods cannot be listed. */
export async function findRegistries(
  http: KubeHttp,
  controlNamespace: string,
  way: "direct" | "proxy",
  credential: ReadCredential,
): Promise<ReadonlyMap<string, FetchJson>> {
  const query = new URLSearchParams({ labelSelector: REGISTRY_LABELS });
  const found = (await call(
    `list the control plane's pods in ${controlNamespace}`,
    () => http.call("GET", `/api/v1/namespaces/${encodeURIComponent(controlNamespace)}/pods?${query}`),
    [],
  )) as { readonly items?: readonly RegistryPod[] } | null;
  const replicas = new Map<string, FetchJson>();
  for (const pod of found?.items ?? []) {
    const [name, address] = [pod.metadata?.name, pod.status?.podIP];
    if (name === undefined || address === undefined || pod.status?.phase !== "Running" || pod.metadata?.deletionTimestamp !== undefined)
      continue;
    const host = address.includes(":") ? `[${address}]` : address;
    replicas.set(
      name,
      way === "direct"
        ? fetchFrom(`http://${host}:${REGISTRY_ADMIN_PORT}`, credential)
        : proxyTo(http, controlNamespace, `${name}:${REGISTRY_ADMIN_PORT}`, credential),
    );
  }
  return replicas;
}

/** A credential for reading through the API server with the rights of its caller. */
export function credentialBy(http: KubeHttp, controlNamespace: string, monoMs: () => number): ReadCredential {
  return readerCredential(
    controlNamespace,
    (path, value) => http.call("POST", path, { body: { type: "application/json", value } }),
    monoMs,
  );
}
