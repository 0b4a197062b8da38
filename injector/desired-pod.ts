// The pod as it should be: the pod as it is, plus our containers, volumes and marker, with the probes pointed at the sidecar. Pure; nothing of the
// user's changes but probes. The patch is computed afterwards as the difference.
import { type AnnotationValues, INJECTED_ANNOTATION } from "./annotations.ts";
import { initContainer, sidecarContainer, volumes } from "./containers.ts";
import { formatMarker, type MadePart, type Marker } from "./marker.ts";
import type { Pod } from "./pod.ts";
import { type ProbeRewrite, rewriteProbes } from "./probes.ts";
import type { InjectorSettings } from "./settings.ts";

/** Tells kubectl which container people mean. */
export const DEFAULT_CONTAINER_ANNOTATION = "kubectl.kubernetes.io/default-container";

/** A pod with its sidecar, and what its owner should know. */
export interface DesiredPod {
  readonly pod: Pod;
  readonly concerns: readonly string[];
}

/** Adds the sidecar to a pod that was decided to be injected. */
export function desiredPod(original: Pod, given: AnnotationValues, settings: InjectorSettings): DesiredPod {
  const capture = given.capture === "auto" ? "transparent" : (given.capture ?? settings.capture);
  const values: AnnotationValues = { ...given, capture };
  const native = values["native-sidecar"] ?? settings.nativeSidecar;
  const rewrite = probesFor(original, capture, values, settings);
  const sidecar = sidecarContainer(original, values, rewrite.appProbes, settings, native);
  const init = capture === "transparent" ? [initContainer(values, settings)] : [];
  // A native sidecar serves the user's init containers too. A plain one starts after them, so nothing is redirected until they are done.
  const before = native ? [...init, sidecar] : [];
  const after = native ? [] : init;
  const setsDefault = original.metadata?.annotations?.[DEFAULT_CONTAINER_ANNOTATION] === undefined;
  const marker: Marker = {
    version: settings.version,
    ...(settings.channel === null ? {} : { channel: values.channel ?? settings.channel }),
    sidecar: native ? "native" : "legacy",
    capture,
    defaultContainer: setsDefault,
    made: partsMade(original, before.length + after.length > 0),
    probes: rewrite.originals,
  };
  const { metadata, spec } = rewrite.pod;
  const annotations = {
    ...metadata?.annotations,
    ...(setsDefault ? { [DEFAULT_CONTAINER_ANNOTATION]: original.spec.containers[0]?.name ?? "" } : {}),
    [INJECTED_ANNOTATION]: formatMarker(marker),
  };
  const pod: Pod = {
    ...rewrite.pod,
    metadata: { ...metadata, annotations },
    spec: {
      ...spec,
      ...(before.length + after.length === 0 ? {} : { initContainers: [...before, ...(spec.initContainers ?? []), ...after] }),
      containers: [...(native ? [] : [sidecar]), ...spec.containers],
      volumes: [...(spec.volumes ?? []), ...volumes(settings)],
    },
  };
  return { pod, concerns: [...rewrite.concerns, ...completionConcerns(original, native)] };
}

/** Only redirected traffic is in the way of the kubelet, so explicit capture leaves every probe alone. */
function probesFor(pod: Pod, capture: Marker["capture"], values: AnnotationValues, settings: InjectorSettings): ProbeRewrite {
  if (capture === "explicit") return { pod, appProbes: {}, originals: {}, concerns: [] };
  return rewriteProbes(pod, settings.adminPort, values["skip-inbound-ports"] ?? []);
}

function completionConcerns(pod: Pod, native: boolean): readonly string[] {
  const { restartPolicy } = pod.spec;
  if (native || (restartPolicy !== "Never" && restartPolicy !== "OnFailure")) return [];
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
