// The annotation that the injector leaves on a pod: which version did what, and all that taking it back needs. It survives other webhooks that
// add things to the pod, because it names what was there before instead of describing positions.
import { INJECTED_ANNOTATION } from "../annotations/annotations.ts";
import { HOOKS, type Hook, type Pod, PROBE_FIELDS, type Probe, type ProbeField, type ProbeHandler } from "../pod/pod.ts";

/** How the sidecar runs in the pod. */
export type SidecarKind = "native" | "legacy";

/** Parts of a pod that the injector may have to make; what was there instead. */
export const MADE_PARTS = ["metadata", "metadata.annotations", "spec.initContainers", "spec.volumes"] as const;
/** One of {@link MADE_PARTS}. */
export type MadePart = (typeof MADE_PARTS)[number];

/** The content of `remora.io/injected`. */
export interface Marker {
  /** Version of the sidecar. */
  readonly version: string;
  /** Channel that it came by; absent where the installation has none, and in what earlier versions wrote. */
  readonly channel?: string;
  readonly sidecar: SidecarKind;
  readonly capture: "transparent" | "explicit";
  /** What we set `kubectl.kubernetes.io/default-container` to; false where it is the owner's. Earlier versions wrote true for whatever was set. */
  readonly defaultContainer: string | boolean;
  /** Parts that did not exist, or were null. */
  readonly made: Readonly<Partial<Record<MadePart, "absent" | "null">>>;
  /** The probes as they were, by container. */
  readonly probes: Readonly<Record<string, Partial<Record<ProbeField, Probe>>>>;
  /** The http hooks as they were, by container; absent where none was changed. */
  readonly hooks?: Readonly<Record<string, Partial<Record<Hook, ProbeHandler>>>>;
}

/** Prints a marker; `parseMarker(formatMarker(m))` equals `m`. */
export function formatMarker(marker: Marker): string {
  return JSON.stringify(marker);
}

/** The marker that a pod carries; null when there is none that can be read. */
export function readMarker({ metadata }: Pod): Marker | null {
  const annotations = metadata?.annotations;
  if (annotations == null || !Object.hasOwn(annotations, INJECTED_ANNOTATION)) return null;
  return parseMarker(annotations[INJECTED_ANNOTATION] ?? "");
}

/** Reads a marker; null when the text was not written by {@link formatMarker}. */
export function parseMarker(text: string): Marker | null {
  const value = parseObject(text);
  if (value === null) return null;
  const { version, channel, sidecar, capture, defaultContainer, made, probes, hooks } = value;
  if (typeof version !== "string" || (typeof defaultContainer !== "boolean" && typeof defaultContainer !== "string")) return null;
  if (channel !== undefined && typeof channel !== "string") return null;
  if ((sidecar !== "native" && sidecar !== "legacy") || (capture !== "transparent" && capture !== "explicit")) return null;
  if (!isObject(made) || !isObject(probes)) return null;
  if (!Object.entries(made).every(([part, was]) => MADE_PARTS.some((known) => known === part) && (was === "absent" || was === "null")))
    return null;
  if (!Object.values(probes).every((fields) => areObjectsUnder(fields, PROBE_FIELDS))) return null;
  if (hooks !== undefined && !(isObject(hooks) && Object.values(hooks).every((fields) => areObjectsUnder(fields, HOOKS)))) return null;
  const optional = { ...(channel === undefined ? {} : { channel }), ...(hooks === undefined ? {} : { hooks }) };
  return { version, ...optional, sidecar, capture, defaultContainer, made, probes } as Marker; // each field was looked at above
}

function areObjectsUnder(value: unknown, keys: readonly string[]): boolean {
  return isObject(value) && Object.entries(value).every(([key, item]) => keys.includes(key) && isObject(item));
}

function parseObject(text: string): Readonly<Record<string, unknown>> | null {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : null;
  } catch {
    return null;
  }
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
