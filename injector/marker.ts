// The annotation that the injector leaves on a pod: which version did what, and all that taking it back needs. It survives other webhooks that
// add things to the pod, because it names what was there before instead of describing positions.
import { PROBE_FIELDS, type Probe, type ProbeField } from "./pod.ts";

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
  /** True when the pod's `kubectl.kubernetes.io/default-container` is ours. */
  readonly defaultContainer: boolean;
  /** Parts that did not exist, or were null. */
  readonly made: Readonly<Partial<Record<MadePart, "absent" | "null">>>;
  /** The probes as they were, by container. */
  readonly probes: Readonly<Record<string, Partial<Record<ProbeField, Probe>>>>;
}

/** Prints a marker; `parseMarker(formatMarker(m))` equals `m`. */
export function formatMarker(marker: Marker): string {
  return JSON.stringify(marker);
}

/** Reads a marker; null when the text was not written by {@link formatMarker}. */
export function parseMarker(text: string): Marker | null {
  const value = parseObject(text);
  if (value === null) return null;
  const { version, channel, sidecar, capture, defaultContainer, made, probes } = value;
  if (typeof version !== "string" || typeof defaultContainer !== "boolean") return null;
  if (channel !== undefined && typeof channel !== "string") return null;
  if ((sidecar !== "native" && sidecar !== "legacy") || (capture !== "transparent" && capture !== "explicit")) return null;
  if (!isObject(made) || !isObject(probes)) return null;
  if (!Object.entries(made).every(([part, was]) => MADE_PARTS.some((known) => known === part) && (was === "absent" || was === "null")))
    return null;
  if (!Object.values(probes).every(areProbes)) return null;
  return { version, ...(channel === undefined ? {} : { channel }), sidecar, capture, defaultContainer, made, probes } as Marker; // each field was looked at above
}

function areProbes(value: unknown): boolean {
  return (
    isObject(value) && Object.entries(value).every(([field, probe]) => PROBE_FIELDS.some((known) => known === field) && isObject(probe))
  );
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
