// What rollouts and the watchdog ask of the Kubernetes API: the platform's ConfigMap, pods, restarts of owners, Events, and the replicas of the registry.
// Every write states the version that it was made from, so that two people, or a person and the guard, never undo each other's word unseen.
import { systemClock } from "../../core/clock.ts";
import type { Environment } from "../../core/config.ts";
import { ConfigError } from "../../core/errors.ts";
import type { WorkloadOwner } from "../platform/channels.ts";
import { bounded, call, listPage, type PageRequest } from "../cluster/cluster-api.ts";
import { findKubeAccess } from "../cluster/kube-access.ts";
import { createKubeHttp } from "../cluster/kube-http.ts";
import { PLATFORM_CONFIG_MAP, PLATFORM_KEY } from "../platform/platform.ts";
import type { ListPage, StartWatch } from "../../core/kubernetes/watched-list.ts";
import { credentialBy, findRegistries } from "./find-registries.ts";
import { type LeaseLock, leaseLock } from "./lease-lock.ts";
import type { MakeEdit, PlatformEdit } from "./platform-edit.ts";
import { type PodFacts, readPodFacts } from "./pod-facts.ts";
import type { ReadCredential } from "./read-credential.ts";
import type { FetchJson } from "./registry-reader.ts";

/** As `kubectl rollout restart` sets it. */
export const RESTARTED_AT = "kubectl.kubernetes.io/restartedAt";
/** Name of ours in Events and field managers. */
const COMPONENT = "remora-rollout";
const PAGE_ITEMS = 500;
/** Tries of one edit against others; only the guard tries again, a person is told. */
const EDIT_ATTEMPTS = 5;
const CONFLICT = 409;
const GONE = 404;

/** The kinds that roll their pods when their template changes, each with its name in paths. */
export const RESTARTABLE_KINDS: ReadonlyMap<string, string> = new Map([
  ["Deployment", "deployments"],
  ["StatefulSet", "statefulsets"],
  ["DaemonSet", "daemonsets"],
]);

/** What came of a restart. `on_delete`: the owner is told, but only replaces pods that somebody deletes. */
export type RestartOutcome = "restarted" | "on_delete" | "paused" | "recent" | "gone" | "not_restartable";

/** How to restart. */
export interface RestartOptions {
  /** Only asks the API server whether it could be done. */
  readonly dryRun?: boolean;
  /** Nothing is done when somebody restarted it so shortly before. */
  readonly unlessWithinMs?: number;
}

/** Where an Event shows. */
export interface EventTarget {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
}

/** One Event. `reason` is a word in CamelCase, `message` a sentence. */
export interface RolloutEvent {
  readonly on: EventTarget;
  readonly type: "Normal" | "Warning";
  readonly reason: string;
  readonly message: string;
}

/** The API as rollouts use it. */
export interface RolloutApi {
  /** Namespace of the control plane. */
  readonly controlNamespace: string;
  /** Text of `platform.yaml`; empty where there is none. */
  readPlatform(): Promise<string>;
  /**
   * Edits `platform.yaml`. With `dryRun` nothing is written, but the API server checks it. With `retry` an edit that was made from an older text is
   * made again from the new one; else it is a ConfigError("invalid_value") that says so.
   */
  editPlatform(edit: MakeEdit, options?: { readonly dryRun?: boolean; readonly retry?: boolean }): Promise<PlatformEdit>;
  /** Every pod of the cluster. */
  pods(): Promise<readonly PodFacts[]>;
  /** One page, as watches of pods begin. */
  listPods(page: { readonly limit: number; readonly _continue?: string }): Promise<ListPage>;
  /** A pod as it is stored; null when it is gone. */
  readPod(namespace: string, name: string): Promise<unknown>;
  readonly watch: StartWatch;
  /** Annotation of every namespace that has it. */
  namespaceAnnotations(name: string): Promise<ReadonlyMap<string, string>>;
  /** Restarts an owner's pods as `kubectl rollout restart` does. */
  restart(owner: WorkloadOwner, nowMs: number, options?: RestartOptions): Promise<RestartOutcome>;
  /** Tells people. Never rejects: an Event is no more than a note. */
  note(event: RolloutEvent, nowMs: number): Promise<void>;
  /** Replicas of the registry by name, asked directly at their addresses or through the API server. */
  registries(way: "direct" | "proxy", credential?: ReadCredential): Promise<ReadonlyMap<string, FetchJson>>;
  /** The lock of that name, kept in a Lease in the namespace of the control plane. */
  lock(name: string, holder: string): LeaseLock;
}

interface ConfigMap {
  readonly metadata?: object;
  readonly data?: Readonly<Record<string, string>>;
}

/** Finds the cluster; see `findKubeAccess`. */
export async function connectRolloutApi(
  controlNamespace: string,
  options: { readonly kubeconfig?: string; readonly env?: Environment } = {},
): Promise<RolloutApi> {
  const http = createKubeHttp(await findKubeAccess({ env: {}, ...options }));
  const asReader = credentialBy(http, controlNamespace, () => systemClock.monoMs());
  const place = `ConfigMap ${controlNamespace}/${PLATFORM_CONFIG_MAP}`;
  const configMaps = `/api/v1/namespaces/${controlNamespace}/configmaps`;

  async function readConfigMap(): Promise<ConfigMap | null> {
    return (await call(`read ${place}`, () => http.call("GET", `${configMaps}/${PLATFORM_CONFIG_MAP}`), [GONE])) as ConfigMap | null;
  }

  /** False when somebody else was faster. */
  async function write(found: ConfigMap | null, text: string, dryRun: boolean): Promise<boolean> {
    const query = new URLSearchParams({ fieldManager: COMPONENT, ...(dryRun ? { dryRun: "All" } : {}) });
    if (found === null) {
      const value = {
        apiVersion: "v1",
        kind: "ConfigMap",
        metadata: { name: PLATFORM_CONFIG_MAP, labels: { "app.kubernetes.io/part-of": "remora" } },
        data: { [PLATFORM_KEY]: text },
      };
      const body = { type: "application/json", value } as const;
      return (await call(`create ${place}`, () => http.call("POST", `${configMaps}?${query}`, { body }), [CONFLICT])) !== null;
    }
    // The whole object as it was read, its resourceVersion with it: the API server refuses it when that is not the newest.
    const body = { type: "application/json", value: { ...found, data: { ...found.data, [PLATFORM_KEY]: text } } } as const;
    const url = `${configMaps}/${PLATFORM_CONFIG_MAP}?${query}`;
    return (await call(`replace ${place}`, () => http.call("PUT", url, { body }), [CONFLICT, GONE])) !== null;
  }

  const listPods = (page: PageRequest) => listPage(http, "/api/v1/pods", page);

  async function listAll(list: (page: { limit: number; _continue?: string }) => Promise<ListPage>): Promise<readonly unknown[]> {
    const items: unknown[] = [];
    let next: string | undefined;
    do {
      const page = await list({ limit: PAGE_ITEMS, ...(next === undefined ? {} : { _continue: next }) });
      items.push(...page.items);
      next = page.metadata?._continue;
    } while (next !== undefined && next !== "");
    return items;
  }

  return {
    controlNamespace,
    watch: http.watch,
    readPlatform: async () => (await readConfigMap())?.data?.[PLATFORM_KEY] ?? "",
    async editPlatform(edit, { dryRun = false, retry = false } = {}) {
      for (let attempt = 1; attempt <= (retry ? EDIT_ATTEMPTS : 1); attempt += 1) {
        const found = await readConfigMap();
        const text = found?.data?.[PLATFORM_KEY] ?? "";
        const made = edit(text);
        if (made.text === text || (await write(found, made.text, dryRun))) return made;
      }
      throw new ConfigError("invalid_value", `${place} was changed by somebody else at the same time; look at it and say it again`);
    },
    async pods() {
      const items = await listAll(listPods);
      return items.map(readPodFacts).filter((pod) => pod !== null);
    },
    listPods,
    readPod: (namespace, name) =>
      call(`read Pod ${namespace}/${name}`, () => http.call("GET", `${pathOf("v1", "pods", namespace)}/${encodeURIComponent(name)}`), [
        GONE,
      ]),
    async namespaceAnnotations(name) {
      const items = await listAll((page) => listPage(http, "/api/v1/namespaces", page));
      const found = items.flatMap((item) => {
        const { metadata } = item as {
          readonly metadata?: { readonly name?: string; readonly annotations?: Readonly<Record<string, string>> };
        };
        const value = metadata?.annotations?.[name];
        return metadata?.name === undefined || value === undefined ? [] : [[metadata.name, value] as const];
      });
      return new Map(found);
    },
    async restart(owner, nowMs, { dryRun = false, unlessWithinMs = 0 } = {}) {
      const { kind, namespace, name } = owner;
      if (!RESTARTABLE_KINDS.has(kind)) return "not_restartable";
      const what = `${kind} ${namespace}/${name}`;
      const path = `${pathOf("apps/v1", RESTARTABLE_KINDS.get(kind) ?? "", namespace)}/${encodeURIComponent(name)}`;
      const found = (await call(`read ${what}`, () => http.call("GET", path), [GONE])) as RollingOwner | null;
      if (found === null) return "gone";
      // kubectl refuses this too: nothing would happen until somebody resumes it, and then at a moment that nobody chose.
      if (found.spec?.paused === true) return "paused";
      const before = Date.parse(found.spec?.template?.metadata?.annotations?.[RESTARTED_AT] ?? "");
      if (nowMs - before < unlessWithinMs) return "recent";
      const restartedAt = new Date(nowMs).toISOString().replace(/\.\d+Z$/, "Z");
      const value = { spec: { template: { metadata: { annotations: { [RESTARTED_AT]: restartedAt } } } } };
      const body = { type: "application/merge-patch+json", value } as const;
      const query = new URLSearchParams({ fieldManager: COMPONENT, ...(dryRun ? { dryRun: "All" } : {}) });
      const patched = await call(`restart ${what}`, () => http.call("PATCH", `${path}?${query}`, { body }), [GONE]);
      if (patched === null) return "gone";
      return found.spec?.updateStrategy?.type === "OnDelete" ? "on_delete" : "restarted";
    },
    async note({ on, type, reason, message }, nowMs) {
      const instant = new Date(nowMs).toISOString().replace(/\.\d+Z$/, "Z");
      const value = {
        apiVersion: "v1",
        kind: "Event",
        metadata: { generateName: `${on.name.slice(0, 200)}.`, namespace: on.namespace },
        involvedObject: on,
        type,
        reason,
        message: message.slice(0, 1024),
        source: { component: COMPONENT },
        reportingComponent: COMPONENT,
        reportingInstance: COMPONENT,
        firstTimestamp: instant,
        lastTimestamp: instant,
        count: 1,
      };
      const body = { type: "application/json", value } as const;
      await bounded(() => http.call("POST", pathOf("v1", "events", on.namespace), { body })).catch(() => {});
    },
    registries: (way, credential = asReader) => findRegistries(http, controlNamespace, way, credential),
    lock: (name, holder) => leaseLock(http, { name, namespace: controlNamespace, holder }),
  };
}

/** Path of a kind of object in one namespace. */
function pathOf(apiVersion: string, resource: string, namespace: string): string {
  return `/${apiVersion.includes("/") ? "apis" : "api"}/${apiVersion}/namespaces/${encodeURIComponent(namespace)}/${resource}`;
}

interface RollingOwner {
  readonly spec?: {
    readonly paused?: boolean;
    readonly updateStrategy?: { readonly type?: string };
    readonly template?: { readonly metadata?: { readonly annotations?: Readonly<Record<string, string>> } };
  };
}
