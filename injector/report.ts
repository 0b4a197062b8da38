// What is known about a pod before anything is decided: facts only, gathered in one pass, free of I/O. `decide.ts` judges them.
import { INJECT_LABEL, INJECTED_ANNOTATION } from "./annotations.ts";
import { allContainers, type Container, type Pod, runningContainers } from "./pod.ts";
import { type ResolvedSettings, resolveSettings } from "./resolve-settings.ts";
import type { InjectorSettings } from "./settings.ts";
import type { Surroundings } from "./surroundings.ts";

/** Names of everything that the injector adds. */
export const SIDECAR_CONTAINER = "remora-sidecar";
export const INIT_CONTAINER = "remora-init";
export const TOKEN_VOLUME = "remora-token";
export const STATE_VOLUME = "remora-state";

const SYSTEM_NAMESPACES: ReadonlySet<string> = new Set(["kube-system", "kube-public", "kube-node-lease"]);
const MIRROR_ANNOTATION = "kubernetes.io/config.mirror";
const OS_LABELS = ["kubernetes.io/os", "beta.kubernetes.io/os"];
const OTHER_MESHES: ReadonlyMap<string, string> = new Map([
  ["istio-proxy", "Istio"],
  ["linkerd-proxy", "Linkerd"],
  ["consul-dataplane", "Consul"],
  ["kuma-sidecar", "Kuma"],
  ["daprd", "Dapr"],
]);

/** A switch label: what it says, or `unknown` for any other value (empty and wrong case included). */
export type SwitchLabel = "absent" | "enabled" | "disabled" | "unknown";

/** Facts about one pod. */
export interface PodReport {
  readonly namespace: string;
  readonly podLabel: SwitchLabel;
  readonly systemNamespace: boolean;
  readonly mirrorPod: boolean;
  readonly injected: boolean;
  readonly hostNetwork: boolean;
  readonly windows: boolean;
  /** The other mesh whose sidecar is there, or null. */
  readonly otherMesh: string | null;
  readonly annotations: ResolvedSettings;
  /** Containers that run as the sidecar's user id. */
  readonly runsAsProxy: readonly string[];
  /** Containers and volumes named like ours, e.g. "container remora-init". */
  readonly takenNames: readonly string[];
  /** Ports of the sidecar that a container declares, e.g. "15001 (container web)". */
  readonly takenPorts: readonly string[];
  /** Sentences for people about what will not work as they may expect. */
  readonly concerns: readonly string[];
}

/** Gathers the facts. The namespace is that of the surroundings; a pod under admission may not say so itself. */
export function reportPod(pod: Pod, surroundings: Surroundings, settings: InjectorSettings): PodReport {
  const namespace = surroundings.namespace.name;
  const annotations = pod.metadata?.annotations;
  const takenNames = namesTaken(pod);
  return {
    namespace,
    podLabel: readSwitch(pod.metadata?.labels?.[INJECT_LABEL]),
    systemNamespace: SYSTEM_NAMESPACES.has(namespace) || namespace === settings.controlNamespace,
    mirrorPod: annotations !== null && annotations !== undefined && Object.hasOwn(annotations, MIRROR_ANNOTATION),
    injected: annotations?.[INJECTED_ANNOTATION] !== undefined && takenNames.includes(`container ${SIDECAR_CONTAINER}`),
    hostNetwork: pod.spec.hostNetwork === true,
    windows: isWindows(pod),
    otherMesh: otherMesh(pod),
    annotations: resolveSettings(annotations, surroundings),
    runsAsProxy: allContainers(pod)
      .filter((container) => effectiveUid(pod, container) === settings.proxyUid)
      .map(({ name }) => name),
    takenNames,
    takenPorts: portsTaken(pod, settings),
    concerns: findConcerns(pod),
  };
}

/** Reads the value of `remora.io/inject`. Only the two exact words mean anything. */
export function readSwitch(value: string | null | undefined): SwitchLabel {
  if (value === undefined || value === null) return "absent";
  return value === "enabled" || value === "disabled" ? value : "unknown";
}

function isWindows(pod: Pod): boolean {
  return pod.spec.os?.name === "windows" || OS_LABELS.some((name) => pod.spec.nodeSelector?.[name] === "windows");
}

function otherMesh(pod: Pod): string | null {
  for (const { name } of allContainers(pod)) {
    const mesh = OTHER_MESHES.get(name);
    if (mesh !== undefined) return mesh;
  }
  return null;
}

function effectiveUid(pod: Pod, container: Container): number | undefined {
  return container.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser;
}

function namesTaken(pod: Pod): readonly string[] {
  const containers = allContainers(pod).filter(({ name }) => name === SIDECAR_CONTAINER || name === INIT_CONTAINER);
  const volumes = (pod.spec.volumes ?? []).filter(({ name }) => name === TOKEN_VOLUME || name === STATE_VOLUME);
  return [...containers.map(({ name }) => `container ${name}`), ...volumes.map(({ name }) => `volume ${name}`)];
}

function portsTaken(pod: Pod, settings: InjectorSettings): readonly string[] {
  const ours = [settings.outboundPort, settings.inboundPort, settings.adminPort];
  return runningContainers(pod).flatMap((container) =>
    (container.ports ?? [])
      .filter((port) => ours.includes(port.containerPort) && (port.protocol ?? "TCP") === "TCP")
      .map((port) => `${port.containerPort} (container ${container.name})`),
  );
}

function findConcerns(pod: Pod): readonly string[] {
  const concerns: string[] = [];
  for (const container of runningContainers(pod)) {
    for (const port of container.ports ?? []) {
      if ((port.protocol ?? "TCP") === "TCP") continue;
      concerns.push(`container ${container.name}: port ${port.containerPort} is ${port.protocol}, which does not pass through the sidecar`);
    }
  }
  const { dnsPolicy } = pod.spec;
  if (dnsPolicy === "Default" || dnsPolicy === "None") {
    concerns.push(`dnsPolicy ${dnsPolicy} may not resolve the control plane's name; ClusterFirst does`);
  }
  return concerns;
}
