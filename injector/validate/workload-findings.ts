// What is wrong, or only odd, about the pod template of a workload: what `/validate` refuses or warns about at `kubectl apply`, long before the first
// pod is made from it. Pure.
import { ANNOTATION_PREFIX, INJECT_LABEL, INJECTED_ANNOTATION, shorten } from "../annotations/annotations.ts";
import { mayOptOut, unknownChannel } from "../annotations/enforcement.ts";
import { injectPod } from "../inject.ts";
import { readSwitch, type SwitchLabel } from "../decide/report.ts";
import { resolveSettings } from "../annotations/resolve-settings.ts";
import type { InjectorSettings } from "../settings.ts";
import type { Surroundings } from "../surroundings.ts";
import type { PodPlace } from "../pod/workload.ts";

/** Sentences without full stops. */
export interface TemplateFindings {
  /** Each names annotation, value and what is allowed. */
  readonly mistakes: readonly string[];
  /** Set when the template opts out where the platform does not let it. */
  readonly optOut: string | null;
  readonly warnings: readonly string[];
}

/** Judges the template at `place`; `holder` is the metadata of the workload itself. */
export function judgeTemplate(
  place: PodPlace,
  holder: Readonly<Record<string, unknown>>,
  surroundings: Surroundings,
  settings: InjectorSettings,
): TemplateFindings {
  const { namespace, platform } = surroundings;
  const inNamespace = readSwitch(namespace.labels[INJECT_LABEL]);
  const injection = injectPod(place.value, surroundings, { kind: "namespace", label: inNamespace }, settings);
  const { decision } = injection;
  const label = labelOfTemplate(place.value);
  const resolved = resolveSettings(annotationsOf(place.value), surroundings);
  const channel = unknownChannel(resolved.values, platform);
  const mistakes = [...resolved.mistakes, ...(channel === null ? [] : [channel])];
  // A pod that gets no sidecar is not harmed by what its annotations say.
  const areHarmless = decision.action === "skip";
  const isRefused = decision.action === "refuse" && decision.reason !== "invalid_annotation";
  const optsOut = inNamespace === "enabled" && (label === "disabled" || label === "unknown") && !mayOptOut(platform, namespace.name);
  return {
    mistakes: areHarmless ? [] : mistakes,
    optOut: optsOut
      ? `the platform does not let workloads of namespace ${namespace.name} opt out (label ${INJECT_LABEL} of the pod template)`
      : null,
    warnings: [
      ...(areHarmless ? mistakes.map((sentence) => `${sentence} (it would be refused if the pods got a sidecar)`) : []),
      ...(isRefused ? [`its pods will be refused (${decision.reason}): ${decision.message}`] : []),
      ...injection.warnings,
      ...misplacedLabel(place, label),
      ...misplacedAnnotations(place, holder),
    ],
  };
}

/** An annotation or a label on the Deployment says nothing to its pods. */
function misplacedAnnotations({ owner }: PodPlace, { annotations }: Readonly<Record<string, unknown>>): readonly string[] {
  if (typeof annotations !== "object" || annotations === null) return [];
  const ours = Object.keys(annotations).filter((key) => key.startsWith(ANNOTATION_PREFIX) && key !== INJECTED_ANNOTATION);
  return ours.map((key) => `annotation ${shorten(key)} has no effect on ${owner}; it belongs on the pod template`);
}

function misplacedLabel({ owner, labelMisplaced }: PodPlace, label: SwitchLabel): readonly string[] {
  return labelMisplaced && label === "absent"
    ? [`the label ${INJECT_LABEL} has no effect on ${owner}; it belongs on the pod template`]
    : [];
}

function labelOfTemplate(value: unknown): SwitchLabel {
  const label = metadataField(value, "labels")[INJECT_LABEL];
  return readSwitch(label === undefined || label === null ? undefined : String(label));
}

/** What is no text makes the template malformed, which the API server says itself. */
function annotationsOf(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(metadataField(value, "annotations"));
  return Object.fromEntries(entries.filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

function metadataField(value: unknown, field: "labels" | "annotations"): Readonly<Record<string, unknown>> {
  const metadata = (value as { readonly metadata?: Readonly<Record<string, unknown>> | null } | null)?.metadata;
  const found = metadata?.[field];
  return typeof found === "object" && found !== null ? (found as Readonly<Record<string, unknown>>) : {};
}
