// How a pod that was decided to be injected gets its sidecar: native or legacy, how traffic is captured, which version, how many resources. Everything that
// depends on the cluster around it is settled here; `desired-pod.ts` only builds. Pure; a pod that cannot get one is refused with the reason.
import type { AnnotationValues } from "../annotations/annotations.ts";
import { type Refusal, refuse } from "../decide/decide.ts";
import { type Fit, type FitSubject, fitResource, type Needs, type WantedShare } from "./fit-resources.ts";
import type { SidecarKind } from "./marker.ts";
import { nativeSidecars, type Pod } from "../pod/pod.ts";
import { podSecurityLevel } from "./pod-security.ts";
import { hasNetworkHandler } from "./probes.ts";
import { quotaWarnings } from "./quota-room.ts";
import type { InjectorSettings } from "../settings.ts";
import { chooseKind } from "./sidecar-kind.ts";
import type { Surroundings } from "../surroundings.ts";

/** `resources` of one of our containers, as the pod spells them. */
export interface PlannedResources {
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
}

/** What is built. */
export interface SidecarPlan {
  /** The settings that pod, namespace and platform give. */
  readonly values: AnnotationValues;
  readonly kind: SidecarKind;
  readonly capture: "transparent" | "explicit";
  /** The track it follows; null where none is named. */
  readonly channel: string | null;
  /** The sidecar's version. */
  readonly version: string;
  readonly image: string;
  readonly sidecarResources: PlannedResources;
  /** Of the init container; null where there is none. */
  readonly initResources: PlannedResources | null;
  /** Sentences without full stops, for people who ask why. */
  readonly why: { readonly kind: string; readonly capture: string };
  /** What the owner of the pod should know. */
  readonly warnings: readonly string[];
}

/** Below this Node would be short of memory or hold up requests: from the sidecar's own figures (bench/README.md, "What a sidecar costs"), with a margin. */
const SIDECAR_NEEDS: Readonly<Record<"cpu" | "memory", Needs>> = {
  cpu: { leastLimit: 100, usualLimit: 1000, mostRequest: 1000 },
  memory: { leastLimit: 96 * 2 ** 20, usualLimit: 256 * 2 ** 20, mostRequest: 2 ** 30 },
};
const INIT_NEEDS: Readonly<Record<"cpu" | "memory", Needs>> = {
  cpu: { leastLimit: 50, usualLimit: 500, mostRequest: 1000 },
  memory: { leastLimit: 64 * 2 ** 20, usualLimit: 128 * 2 ** 20, mostRequest: 2 ** 30 },
};
const INIT_WANTS: Readonly<Record<"cpu" | "memory", WantedShare>> = {
  cpu: { request: "10m", limit: null },
  memory: { request: "32Mi", limit: "128Mi" },
};

/** Plans the sidecar of `pod`. `settings` are those of the version that it gets. */
export function planSidecar(
  pod: Pod,
  values: AnnotationValues,
  surroundings: Surroundings,
  settings: InjectorSettings,
): SidecarPlan | Refusal {
  const capture = chooseCapture(values, surroundings, settings);
  if ("action" in capture) return capture;
  const kind = chooseKind(values["native-sidecar"] ?? null, settings.nativeSidecar, surroundings.oldestKubelet);
  const conflict = kind.kind === "legacy" && capture.capture === "transparent" ? legacyConflict(pod, kind.why) : null;
  if (conflict !== null) return conflict;
  const sidecar = fitAll({ what: "sidecar", annotated: true, pod, lasting: true, surroundings }, wantsOf(values, settings), SIDECAR_NEEDS);
  if ("action" in sidecar) return sidecar;
  const init =
    capture.capture === "explicit"
      ? null
      : fitAll({ what: "container remora-init", annotated: false, pod, lasting: false, surroundings }, INIT_WANTS, INIT_NEEDS);
  if (init !== null && "action" in init) return init;
  return {
    values,
    kind: kind.kind,
    capture: capture.capture,
    channel: values.channel ?? settings.channel,
    version: settings.version,
    image: values.image ?? settings.image,
    sidecarResources: sidecar.resources,
    initResources: init?.resources ?? null,
    why: { kind: kind.why, capture: capture.why },
    warnings: [
      ...capture.warnings,
      ...(kind.warning === null ? [] : [kind.warning]),
      ...sidecar.changes,
      ...(init?.changes ?? []),
      ...quotaWarnings(pod, sidecar.resources, surroundings),
    ],
  };
}

interface CaptureChoice {
  readonly capture: SidecarPlan["capture"];
  readonly why: string;
  readonly warnings: readonly string[];
}

function chooseCapture(values: AnnotationValues, { namespace }: Surroundings, settings: InjectorSettings): CaptureChoice | Refusal {
  const wanted = values.capture ?? settings.capture;
  const level = podSecurityLevel(namespace);
  if (wanted === "explicit") return { capture: "explicit", why: "it is asked for", warnings: [] };
  if (level === "privileged") return { capture: "transparent", why: "iptables redirects", warnings: [] };
  const forbids = `namespace ${namespace.name} enforces the Pod Security level ${level}, which forbids the capability NET_ADMIN that redirecting takes`;
  if (wanted === "auto") {
    return {
      capture: "explicit",
      why: forbids,
      warnings: [
        `capture is explicit, so only what the app sends to the sidecar's port ${settings.outboundPort} travels in the mesh: ${forbids}`,
      ],
    };
  }
  return refuse(
    "pod_security",
    `${forbids}; annotate the pod or its namespace with remora.io/capture: auto, or explicit, to go without redirecting`,
  );
}

/** The kubelet waits for a user's native sidecar before it starts a plain container, and would ask ours about it meanwhile. */
function legacyConflict(pod: Pod, why: string): Refusal | null {
  const names = nativeSidecars(pod)
    .filter(hasNetworkHandler)
    .map(({ name }) => name);
  if (names.length === 0) return null;
  return refuse(
    "legacy_conflict",
    `probes and hooks of ${names.join(", ")} would be asked of a sidecar that starts after them (${why}); set remora.io/native-sidecar: "true"`,
  );
}

function wantsOf(values: AnnotationValues, settings: InjectorSettings): Readonly<Record<"cpu" | "memory", WantedShare>> {
  return {
    cpu: { request: values["cpu-request"] ?? settings.cpuRequest, limit: values["cpu-limit"] ?? settings.cpuLimit },
    memory: { request: values["memory-request"] ?? settings.memoryRequest, limit: values["memory-limit"] ?? settings.memoryLimit },
  };
}

function fitAll(
  subject: FitSubject,
  wants: Readonly<Record<"cpu" | "memory", WantedShare>>,
  needs: Readonly<Record<"cpu" | "memory", Needs>>,
): { readonly resources: PlannedResources; readonly changes: readonly string[] } | Refusal {
  const cpu = fitResource(subject, "cpu", wants.cpu, needs.cpu);
  const memory = fitResource(subject, "memory", wants.memory, needs.memory);
  if (cpu.kind === "conflict") return refuse("resource_bounds", cpu.detail);
  if (memory.kind === "conflict") return refuse("resource_bounds", memory.detail);
  return {
    resources: {
      requests: { cpu: cpu.request, memory: memory.request },
      limits: { ...limitOf("cpu", cpu), ...limitOf("memory", memory) },
    },
    changes: [...cpu.changes, ...memory.changes],
  };
}

function limitOf(resource: "cpu" | "memory", { limit }: Extract<Fit, { kind: "fits" }>): Readonly<Record<string, string>> {
  return limit === null ? {} : { [resource]: limit };
}
