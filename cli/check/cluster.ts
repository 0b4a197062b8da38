// What the checks know of a cluster: objects read once and kept, lists in pages, and the words for what could not be read. Owns no judgement.
import { Unreadable } from "./unreadable.ts";
import type { CheckApi } from "./api.ts";
import { type ApiObject, at, listAt, numberAt, textAt } from "./json.ts";
import type { FetchRegistry } from "../explain/registry-view.ts";
import { systemClock } from "../../core/clock.ts";
import { READ_TOKEN_HEADER, readerCredential } from "../../injector/rollout/read-credential.ts";
import type { KubernetesObject } from "../../injector/installation.ts";

const PAGE_ITEMS = 500;
/** More objects of one kind than this are not read: a check is no inventory. */
const MAX_ITEMS = 50_000;

/** Whether somebody may do something. */
export interface Access {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string;
  readonly name?: string;
  readonly namespace?: string;
}

/** A cluster, read lazily. Every method rejects with {@link Unreadable} where the API server refuses. */
export interface Cluster {
  readonly api: CheckApi;
  readonly controlNamespace: string;
  /** The objects of `remora install`, for this namespace. */
  readonly shipped: readonly KubernetesObject[];
  readonly nowMs: () => number;
  readonly registry: FetchRegistry;
  /** Null when there is none. */
  get(path: string): Promise<ApiObject | null>;
  list(path: string): Promise<readonly ApiObject[]>;
  /** May the user of the command do this? */
  mayI(access: Access): Promise<boolean>;
  /** May that service account? */
  may(account: { readonly namespace: string; readonly name: string }, access: Access): Promise<boolean>;
}

/** What a cluster is made of. */
export interface ClusterParts extends Pick<Cluster, "api" | "controlNamespace" | "shipped" | "nowMs"> {
  /** Null: through the API server to the control plane's Service. */
  readonly registry: FetchRegistry | null;
}

/** Makes one; what is read is kept until it is thrown away. */
export function createCluster({ api, controlNamespace, shipped, nowMs, registry }: ClusterParts): Cluster {
  const gets = new Map<string, Promise<ApiObject | null>>();
  const lists = new Map<string, Promise<readonly ApiObject[]>>();

  async function read(path: string, headers?: Readonly<Record<string, string>>): Promise<ApiObject | null> {
    const { status, body } = await api.call("GET", path, undefined, headers);
    if (status === 404) return null;
    if (status !== 200) throw new Unreadable(`GET ${path}`, status, body);
    return body as ApiObject;
  }

  async function readAll(path: string): Promise<readonly ApiObject[]> {
    const found: ApiObject[] = [];
    let next = "";
    do {
      const page: ApiObject | null = await read(`${path}?limit=${PAGE_ITEMS}${next === "" ? "" : `&continue=${encodeURIComponent(next)}`}`);
      found.push(...listAt(page, "items"));
      next = textAt(page, "metadata", "continue");
    } while (next !== "" && found.length < MAX_ITEMS);
    return found;
  }

  async function review(kind: string, spec: object): Promise<boolean> {
    const path = `/apis/authorization.k8s.io/v1/${kind}`;
    const { status, body } = await api.call("POST", path, { spec });
    if (status !== 201 && status !== 200) throw new Unreadable(`POST ${path}`, status, body);
    return at(body, "status", "allowed") === true;
  }

  const credential = readerCredential(
    controlNamespace,
    async (path, body) => (await api.call("POST", path, body)).body,
    () => systemClock.monoMs(),
  );

  const throughApiServer: FetchRegistry = async (path) => {
    const token = await credential();
    const headers = token === null ? {} : { [READ_TOKEN_HEADER]: token };
    const found = await read(`/api/v1/namespaces/${controlNamespace}/services/remora-control:admin/proxy${path}`, headers);
    if (found === null) throw new Error(`there is no Service ${controlNamespace}/remora-control`);
    return found;
  };

  return {
    api,
    controlNamespace,
    shipped,
    nowMs,
    registry: registry ?? throughApiServer,
    get: (path) => remember(gets, path, () => read(path)),
    list: (path) => remember(lists, path, () => readAll(path)),
    mayI: (access) => review("selfsubjectaccessreviews", { resourceAttributes: attributes(access) }),
    may: ({ namespace, name }, access) =>
      review("subjectaccessreviews", {
        user: `system:serviceaccount:${namespace}:${name}`,
        groups: ["system:serviceaccounts", `system:serviceaccounts:${namespace}`, "system:authenticated"],
        resourceAttributes: attributes(access),
      }),
  };
}

function attributes({ verb, group, resource, subresource, name, namespace }: Access): object {
  return {
    verb,
    group,
    resource,
    ...(subresource === undefined ? {} : { subresource }),
    ...(name === undefined ? {} : { name }),
    ...(namespace === undefined ? {} : { namespace }),
  };
}

function remember<Value>(known: Map<string, Promise<Value>>, key: string, make: () => Promise<Value>): Promise<Value> {
  const found = known.get(key) ?? make();
  known.set(key, found);
  return found;
}

/** A Deployment of the control plane; null when there is none. */
export function deployment(cluster: Cluster, name: string): Promise<ApiObject | null> {
  return cluster.get(`/apis/apps/v1/namespaces/${cluster.controlNamespace}/deployments/${name}`);
}

/** A Secret of the control plane; null when there is none. */
export function secret(cluster: Cluster, name: string): Promise<ApiObject | null> {
  return cluster.get(`/api/v1/namespaces/${cluster.controlNamespace}/secrets/${name}`);
}

/** A Secret's or ConfigMap's entry, decoded. */
export function secretText(object: ApiObject | null, key: string): string {
  return Buffer.from(textAt(object, "data", key), "base64").toString("utf8");
}

/** The variables of a Deployment's first container that have plain values. */
export function variables(object: ApiObject | null): Readonly<Record<string, string>> {
  const [container] = listAt(object, "spec", "template", "spec", "containers");
  return Object.fromEntries(listAt(container, "env").map((variable) => [textAt(variable, "name"), textAt(variable, "value")]));
}

/** Pods that are not over. */
export async function livingPods(cluster: Cluster): Promise<readonly ApiObject[]> {
  const pods = await cluster.list("/api/v1/pods");
  return pods.filter(
    (pod) => !["Succeeded", "Failed"].includes(textAt(pod, "status", "phase")) && at(pod, "metadata", "deletionTimestamp") === undefined,
  );
}

/** Its replicas as asked for. */
export function replicasOf(object: ApiObject): number {
  return at(object, "spec", "replicas") === undefined ? 1 : numberAt(object, "spec", "replicas");
}
