// The pods of a workload as they run: do they carry a sidecar, which one, is it what they would get now, and what does the registry hear of them?
import { INJECTED_ANNOTATION } from "../../injector/annotations/annotations.ts";
import type { Asker } from "../../injector/decide/decide.ts";
import { injectPod } from "../../injector/inject.ts";
import { parseMarker } from "../../injector/patch/marker.ts";
import { SIDECAR_CONTAINER } from "../../injector/pod/names.ts";
import { allContainers, type Pod, parsePod } from "../../injector/pod/pod.ts";
import type { InjectorSettings } from "../../injector/settings.ts";
import type { Surroundings } from "../../injector/surroundings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";
import { differencesOf } from "./drift.ts";
import type { ExplainedInstance, RegistryView } from "./registry-view.ts";

/** What the marker of a pod says. */
export interface RunningSidecar {
  readonly version: string;
  readonly channel: string | null;
  readonly kind: "native" | "legacy";
  readonly capture: "transparent" | "explicit";
  readonly image: string;
}

/** One pod. */
export interface ExplainedPod {
  readonly name: string;
  readonly uid: string;
  /** `Running`, `Pending`, … */
  readonly phase: string;
  /** Null where there is none, or no marker of ours. */
  readonly sidecar: RunningSidecar | null;
  /** What a pod made now would have otherwise, in sentences; empty when nothing. */
  readonly differences: readonly string[];
  /** Null where the registry does not know it, or is not known itself. */
  readonly instance: ExplainedInstance | null;
}

/** The pod without its sidecar, as it was sent to the API server; the pod itself where it has none. */
export function originalOf(value: unknown): unknown {
  const pod = readPod(value);
  return (pod === null ? null : uninjectPod(pod)) ?? value;
}

/** Describes one pod as the API server holds it. */
export function explainPod(
  value: unknown,
  surroundings: Surroundings,
  asker: Asker,
  settings: InjectorSettings,
  registry: RegistryView,
): ExplainedPod {
  const pod = readPod(value);
  const { metadata, status } = (value ?? {}) as {
    readonly metadata?: { readonly name?: string; readonly uid?: string };
    readonly status?: { readonly phase?: string };
  };
  const uid = metadata?.uid ?? "";
  const sidecar = pod === null ? null : readSidecar(pod);
  return {
    name: metadata?.name ?? "",
    uid,
    phase: status?.phase ?? "Unknown",
    sidecar,
    differences: pod === null ? [] : differences(pod, sidecar, surroundings, asker, settings),
    instance: registry.known ? (registry.instances.get(uid) ?? null) : null,
  };
}

function differences(
  pod: Pod,
  sidecar: RunningSidecar | null,
  surroundings: Surroundings,
  asker: Asker,
  settings: InjectorSettings,
): readonly string[] {
  const { decision, pod: wanted } = injectPod(uninjectPod(pod) ?? pod, surroundings, asker, settings);
  if (decision.action !== "inject" || wanted === null) {
    return sidecar === null ? [] : [`it would get no sidecar (${decision.reason}): ${decision.message}`];
  }
  return sidecar === null ? [`it would get a sidecar (${decision.reason})`] : differencesOf(pod, wanted);
}

function readSidecar(pod: Pod): RunningSidecar | null {
  const marker = parseMarker(pod.metadata?.annotations?.[INJECTED_ANNOTATION] ?? "");
  if (marker === null) return null;
  const { version, channel = null, sidecar: kind, capture } = marker;
  const image = allContainers(pod).find(({ name }) => name === SIDECAR_CONTAINER)?.image ?? "";
  return { version, channel, kind, capture, image };
}

function readPod(value: unknown): Pod | null {
  try {
    return parsePod(value);
  } catch {
    return null; // the API server knows kinds of pods that we do not; nothing can be said of them
  }
}
