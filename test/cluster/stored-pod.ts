// Pods as the API server stored them, made comparable: what it draws by lot is given one name, and what belongs to Remora is told from what belongs to
// the owner.
import { isDeepStrictEqual } from "node:util";
import type { ApiObject } from "../support/kubernetes/api-client.ts";

export const SIDECAR = "remora-sidecar";
const OUR_CONTAINERS = [SIDECAR, "remora-init"];
const PROBES = ["livenessProbe", "readinessProbe", "startupProbe"] as const;
const HOOKS = ["postStart", "preStop"] as const;

/** A container with the fields that tests look at. */
export interface StoredContainer {
  readonly name: string;
  readonly lifecycle?: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly volumeMounts?: ReadonlyArray<{ readonly name: string; readonly mountPath: string }>;
  readonly [field: string]: unknown;
}

/** The parts of a pod that its owner wrote, or that somebody added. */
export interface StoredPod {
  readonly metadata: { readonly labels: Readonly<Record<string, string>>; readonly annotations: Readonly<Record<string, string>> };
  readonly spec: {
    readonly containers: readonly StoredContainer[];
    readonly initContainers?: readonly StoredContainer[];
    readonly volumes?: ReadonlyArray<{ readonly name: string }>;
    readonly [field: string]: unknown;
  };
}

/** Reads a stored pod; volumes whose names end in random letters lose them, and its owner has no id. */
export function storedPod({ metadata, spec }: ApiObject): StoredPod {
  const text = JSON.stringify(spec).replaceAll(/"kube-api-access-[a-z0-9]{5}"/g, '"kube-api-access"');
  const labels = Object.fromEntries(Object.entries(metadata.labels ?? {}).filter(([key]) => !key.endsWith("controller-uid")));
  return { metadata: { labels, annotations: metadata.annotations ?? {} }, spec: JSON.parse(text) };
}

/** True when the pod has a sidecar of ours. */
export function isInjected(pod: StoredPod): boolean {
  return sidecarOf(pod) !== undefined;
}

/** Our sidecar, wherever it stands. */
export function sidecarOf({ spec }: StoredPod): StoredContainer | undefined {
  return [...(spec.initContainers ?? []), ...spec.containers].find(({ name }) => name === SIDECAR);
}

/** The owner's containers, in order. */
export function ownContainers(containers: readonly StoredContainer[] | undefined): readonly StoredContainer[] {
  return (containers ?? []).filter(({ name }) => !OUR_CONTAINERS.includes(name));
}

/** What of a container may not change: everything but probes and hooks that go over the network. */
export function withoutNetworkProbes(container: StoredContainer): object {
  const rest: Record<string, unknown> = { ...container };
  for (const probe of PROBES) if (goesOverNetwork(rest[probe])) delete rest[probe];
  const hooks = Object.entries(container.lifecycle ?? {}).filter(([hook, handler]) => !isHook(hook) || !goesOverNetwork(handler));
  if (container.lifecycle !== undefined) rest["lifecycle"] = Object.fromEntries(hooks);
  return rest;
}

/** The timing of each probe, which no rewriting may change. */
export function probeTimes(container: StoredContainer): object {
  const timesOf = (probe: unknown) => {
    const { exec: _exec, httpGet: _http, tcpSocket: _tcp, grpc: _grpc, ...times } = probe as Record<string, unknown>;
    return times;
  };
  return Object.fromEntries(PROBES.filter((probe) => container[probe] !== undefined).map((probe) => [probe, timesOf(container[probe])]));
}

/** Names of the fields of `spec` that differ, apart from containers and volumes. */
export function changedFields(before: StoredPod, after: StoredPod): readonly string[] {
  const names = new Set([...Object.keys(before.spec), ...Object.keys(after.spec)]);
  for (const name of ["containers", "initContainers", "volumes"]) names.delete(name);
  return [...names].filter((name) => !isDeepStrictEqual(before.spec[name], after.spec[name]));
}

function isHook(name: string): boolean {
  return HOOKS.some((hook) => hook === name);
}

function goesOverNetwork(handler: unknown): boolean {
  const { httpGet, tcpSocket, grpc } = (handler ?? {}) as {
    readonly httpGet?: unknown;
    readonly tcpSocket?: unknown;
    readonly grpc?: unknown;
  };
  return httpGet !== undefined || tcpSocket !== undefined || grpc !== undefined;
}
