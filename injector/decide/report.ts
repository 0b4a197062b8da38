// What is known about a pod before anything is decided: facts only, gathered in one pass, free of I/O. `decide.ts` judges them.
import { INJECT_LABEL } from "../annotations/annotations.ts";
import { mountsTaken, namesTaken, portsTaken } from "./collisions.ts";
import { findConcerns } from "./concerns.ts";
import { mayOptOut } from "../annotations/enforcement.ts";
import { repositoryOf } from "../pod/image-reference.ts";
import { itemsOf, fieldsOf } from "../pod/loose-fields.ts";
import { readMarker } from "../patch/marker.ts";
import { SIDECAR_CONTAINER } from "../pod/names.ts";
import { isWindows } from "./operating-system.ts";
import { matchesPattern } from "../platform/pattern.ts";
import { findOtherMesh } from "./other-mesh.ts";
import { allContainers, type Container, type Pod } from "../pod/pod.ts";
import { type ResolvedSettings, resolveSettings } from "../annotations/resolve-settings.ts";
import type { InjectorSettings } from "../settings.ts";
import type { Surroundings } from "../surroundings.ts";

const SYSTEM_NAMESPACES: ReadonlySet<string> = new Set(["kube-system", "kube-public", "kube-node-lease"]);
const MIRROR_ANNOTATION = "kubernetes.io/config.mirror";
/** Where the kubelet has a pod from: `api`, or a `file` or `http` address of its own. */
const SOURCE_ANNOTATION = "kubernetes.io/config.source";

/** A switch label: what it says, or `unknown` for any other value (empty and wrong case included). */
export type SwitchLabel = "absent" | "enabled" | "disabled" | "unknown";

/** A sidecar of ours that is already there. */
export interface OwnSidecar {
  readonly container: string;
  /** What gives it away. */
  readonly by: "name" | "image";
  /** Name, image and marker all say so: nobody only pretends. */
  readonly isGenuine: boolean;
}

/** Facts about one pod. */
export interface PodReport {
  readonly namespace: string;
  readonly podLabel: SwitchLabel;
  /** What the surroundings know of the namespace's label. */
  readonly namespaceLabel: SwitchLabel;
  /** False where the platform does not let workloads of the namespace opt out. */
  readonly mayOptOut: boolean;
  readonly systemNamespace: boolean;
  readonly mirrorPod: boolean;
  readonly staticPod: boolean;
  readonly ownSidecar: OwnSidecar | null;
  readonly hostNetwork: boolean;
  readonly windows: boolean;
  /** The other mesh whose sidecar is there, and what gives it away; or null. */
  readonly otherMesh: string | null;
  readonly annotations: ResolvedSettings;
  /** Containers that run as the sidecar's user id. */
  readonly runsAsProxy: readonly string[];
  /** Containers, volumes and port names like ours, e.g. "container remora-init". */
  readonly takenNames: readonly string[];
  /** Mounts of our volumes or at our paths, e.g. "volume remora-token (container web)". */
  readonly takenMounts: readonly string[];
  /** Ports of the sidecar that a container uses, e.g. "15001 (container web)". */
  readonly takenPorts: readonly string[];
  /** Sentences for people about what will not work as they may expect. */
  readonly concerns: readonly string[];
}

/** Gathers the facts. The namespace is that of the surroundings; a pod under admission may not say so itself. */
export function reportPod(pod: Pod, surroundings: Surroundings, settings: InjectorSettings): PodReport {
  const { namespace, platform } = surroundings;
  const annotations = pod.metadata?.annotations;
  const resolved = resolveSettings(annotations, surroundings);
  return {
    namespace: namespace.name,
    podLabel: readSwitch(ownText(pod.metadata?.labels, INJECT_LABEL)),
    namespaceLabel: readSwitch(ownText(namespace.labels, INJECT_LABEL)),
    mayOptOut: mayOptOut(platform, namespace.name),
    systemNamespace: SYSTEM_NAMESPACES.has(namespace.name) || namespace.name === settings.controlNamespace,
    mirrorPod: ownText(annotations, MIRROR_ANNOTATION) !== undefined || belongsToNode(pod),
    staticPod: !["api", undefined].includes(ownText(annotations, SOURCE_ANNOTATION)),
    ownSidecar: findOwnSidecar(pod, (image) => mayBeSidecar(image, resolved, surroundings, settings), settings),
    hostNetwork: pod.spec.hostNetwork === true,
    windows: isWindows(pod),
    otherMesh: findOtherMesh(pod),
    annotations: resolved,
    runsAsProxy: allContainers(pod)
      .filter((container) => effectiveUid(pod, container) === settings.proxyUid)
      .map(({ name }) => name),
    takenNames: namesTaken(pod),
    takenMounts: mountsTaken(pod),
    takenPorts: portsTaken(pod, settings),
    concerns: findConcerns(pod, settings),
  };
}

/** Reads the value of `remora.io/inject`. Only the two exact words mean anything. */
export function readSwitch(value: string | null | undefined): SwitchLabel {
  if (value === undefined || value === null) return "absent";
  return value === "enabled" || value === "disabled" ? value : "unknown";
}

/** Only the kubelet makes pods that belong to a Node: mirrors of its static pods. */
function belongsToNode(pod: Pod): boolean {
  return itemsOf(pod.metadata?.["ownerReferences"]).some((reference) => {
    const { apiVersion, kind } = fieldsOf(reference);
    return apiVersion === "v1" && kind === "Node";
  });
}

function findOwnSidecar(pod: Pod, isAllowed: (image: string) => boolean, { image }: InjectorSettings): OwnSidecar | null {
  const ours = repositoryOf(image);
  const isOurs = (container: Container) => typeof container.image === "string" && repositoryOf(container.image) === ours;
  const named = allContainers(pod).find(({ name }) => name === SIDECAR_CONTAINER);
  if (named !== undefined) {
    const isMarked = readMarker(pod) !== null;
    return { container: named.name, by: "name", isGenuine: isMarked && isAllowed(named.image ?? "") && servesTraffic(named) };
  }
  const imaged = allContainers(pod).find((container) => isOurs(container) && servesTraffic(container));
  return imaged === undefined ? null : { container: imaged.name, by: "image", isGenuine: false };
}

/** Another webhook may have changed the registry of our image, so without a rule of the platform the last part of its name is enough. */
function mayBeSidecar(image: string, { values }: ResolvedSettings, { platform }: Surroundings, settings: InjectorSettings): boolean {
  if (image === values.image || repositoryOf(image) === repositoryOf(settings.image)) return true;
  const { images } = platform.enforced;
  if (images !== null) return images.some((pattern) => matchesPattern(pattern, image));
  return lastPart(repositoryOf(image)) === lastPart(repositoryOf(settings.image));
}

function lastPart(repository: string): string {
  return repository.slice(repository.lastIndexOf("/") + 1);
}

/** The image serves for every part of Remora: one that runs another command, such as `remora check`, is no sidecar. */
function servesTraffic(container: Container): boolean {
  const words = [...itemsOf(container["command"]), ...itemsOf(container["args"])];
  return words.length === 0 || words.includes("sidecar");
}

function effectiveUid(pod: Pod, container: Container): number | undefined {
  return container.securityContext?.runAsUser ?? pod.spec.securityContext?.runAsUser;
}

function ownText(texts: Readonly<Record<string, string>> | null | undefined, key: string): string | undefined {
  return texts != null && Object.hasOwn(texts, key) ? texts[key] : undefined;
}
