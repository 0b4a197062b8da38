// The pod as it should be: the pod as it is, plus our containers, volumes and marker, with what the kubelet asks of the app pointed at the sidecar. Pure;
// nothing of the user's changes but probes and http hooks. The patch is computed afterwards as the difference.
import { INJECTED_ANNOTATION } from "../annotations/annotations.ts";
import { initContainer, sidecarContainer, volumes } from "./containers.ts";
import { hookToken } from "./hooks.ts";
import { nothingRedirected, type RedirectedAsks, redirectAsks } from "./kubelet-asks.ts";
import { formatMarker, type MadePart, type Marker } from "./marker.ts";
import type { SidecarPlan } from "./plan.ts";
import type { Container, Pod } from "../pod/pod.ts";
import type { InjectorSettings } from "../settings.ts";

/** Tells kubectl which container people mean. */
export const DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container";

/** A pod with its sidecar, and what its owner should know. */
export interface DesiredPod {
  readonly pod: Pod;
  readonly asks: RedirectedAsks;
  readonly concerns: readonly string[];
}

/** Adds the sidecar to a pod of `namespace` as planned. */
export function desiredPod(original: Pod, namespace: string, plan: SidecarPlan, settings: InjectorSettings): DesiredPod {
  const asks = asksOf(original, namespace, plan, settings);
  const { before, first, after } = addedContainers(original, plan, asks, settings);
  const setsDefault = original.metadata?.annotations?.[DEFAULT_CONTAINER_ANNOTATION] === undefined;
  const defaultContainer = original.spec.containers[0]?.name ?? "";
  const addsInit = before.length + after.length > 0;
  const marker: Marker = {
    version: plan.version,
    ...(settings.channel === null || plan.channel === null ? {} : { channel: plan.channel }),
    sidecar: plan.kind,
    capture: plan.capture,
    defaultContainer: setsDefault ? defaultContainer : false,
    made: partsMade(original, addsInit),
    probes: asks.probes,
    ...(Object.keys(asks.hooks).length === 0 ? {} : { hooks: asks.hooks }),
  };
  const { metadata, spec } = asks.pod;
  const annotations = {
    ...metadata?.annotations,
    ...(setsDefault ? { [DEFAULT_CONTAINER_ANNOTATION]: defaultContainer } : {}),
    [INJECTED_ANNOTATION]: formatMarker(marker),
  };
  const pod: Pod = {
    ...asks.pod,
    metadata: { ...metadata, annotations },
    spec: {
      ...spec,
      ...(addsInit ? { initContainers: [...before, ...(spec.initContainers ?? []), ...after] } : {}),
      containers: [...first, ...spec.containers],
      volumes: [...(spec.volumes ?? []), ...volumes(settings)],
    },
  };
  return { pod, asks, concerns: [...asks.concerns, ...completionConcerns(original, plan)] };
}

/** Where our containers go among the init containers, and in front of the plain ones. */
interface AddedContainers {
  readonly before: readonly Container[];
  readonly first: readonly Container[];
  readonly after: readonly Container[];
}

/** A native sidecar serves the user's init containers too. A plain one starts after them, so nothing is redirected until they are done. */
function addedContainers(pod: Pod, plan: SidecarPlan, asks: RedirectedAsks, settings: InjectorSettings): AddedContainers {
  const sidecar = sidecarContainer(pod, plan, asks, settings);
  const init = plan.initResources === null ? [] : [initContainer(plan, plan.initResources, settings)];
  return plan.kind === "native" ? { before: [...init, sidecar], first: [], after: [] } : { before: [], first: [sidecar], after: init };
}

/** Only redirected traffic is in the way of the kubelet, so explicit capture leaves every probe and hook alone. */
function asksOf(pod: Pod, namespace: string, { capture, values }: SidecarPlan, settings: InjectorSettings): RedirectedAsks {
  if (capture === "explicit") return nothingRedirected(pod);
  let token: string | null = null;
  return redirectAsks(pod, {
    adminPort: settings.adminPort,
    uncaptured: values["skip-inbound-ports"] ?? [],
    // Made from the whole pod, which may be large: once, and only where it has http hooks.
    hookToken() {
      token ??= hookToken(pod, namespace, settings.hookKey);
      return token;
    },
  });
}

function completionConcerns(pod: Pod, { kind }: SidecarPlan): readonly string[] {
  const { restartPolicy } = pod.spec;
  if (kind === "native" || (restartPolicy !== "Never" && restartPolicy !== "OnFailure")) return [];
  return [
    "a sidecar that is a plain container keeps running after the app, so the pod completes only when the app ends with POST /exit on the admin port",
  ];
}

function partsMade(pod: Pod, addsInitContainers: boolean): Marker["made"] {
  const parts: readonly (readonly [MadePart, unknown])[] = [
    ["metadata", pod.metadata],
    ["metadata.annotations", pod.metadata?.annotations],
    ...(addsInitContainers ? ([["spec.initContainers", pod.spec.initContainers]] as const) : []),
    ["spec.volumes", pod.spec.volumes],
  ];
  const missing = parts.filter(([, value]) => value === undefined || value === null);
  return Object.fromEntries(missing.map(([part, value]) => [part, value === undefined ? "absent" : "null"]));
}
