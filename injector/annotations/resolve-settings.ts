// The settings of one pod, and where each comes from: what Remora does by default, then the namespace's annotations, then the pod's own, all within
// what the platform enforces. Pure. What nobody gives stays absent: then the injector's own settings and the sidecar's defaults hold.
import {
  ANNOTATION_NAMES,
  ANNOTATION_PREFIX,
  ANNOTATIONS,
  type AnnotationName,
  type AnnotationReading,
  type AnnotationValues,
  readAnnotations,
} from "./annotations.ts";
import { enforcedValues, objectionTo, unknownChannel } from "./enforcement.ts";
import type { Surroundings } from "../surroundings.ts";

/** Who gave a value. */
export type SettingOrigin = "namespace" | "pod" | "platform";

/** What {@link resolveSettings} found. */
export interface ResolvedSettings extends AnnotationReading {
  /** One for each of `values`. */
  readonly origins: ReadonlyMap<AnnotationName, SettingOrigin>;
}

type Annotations = Readonly<Record<string, string>>;

const NOTHING: Annotations = {};

/** Merges the annotations of a pod with those of its namespace, within the bounds of the platform. Never throws. */
export function resolveSettings(podAnnotations: Annotations | null | undefined, surroundings: Surroundings): ResolvedSettings {
  const { namespace, platform } = surroundings;
  const own = readAnnotations(podAnnotations);
  const given = readAnnotations(defaultsFor(podAnnotations, namespace.annotations), placeOfNamespace(namespace.name));
  const values: AnnotationValues = { ...given.values, ...own.values };
  const origins = new Map<AnnotationName, SettingOrigin>();
  // A mistake in the namespace's annotation counts as one: what it was to restrict would be open.
  const mistakes = [...own.mistakes, ...given.mistakes];
  for (const name of ANNOTATION_NAMES) {
    if (values[name] === undefined) continue;
    const origin = own.values[name] === undefined ? "namespace" : "pod";
    const text = (origin === "pod" ? podAnnotations : namespace.annotations)?.[ANNOTATION_PREFIX + name] ?? "";
    const objection = objectionTo(name, values, text, platform);
    if (objection !== null) mistakes.push(origin === "pod" ? objection : placeOfNamespace(namespace.name) + objection);
    origins.set(name, origin);
  }
  const warnings = [...own.warnings, ...withoutEffect(own.values, "namespace", "a pod")];
  return { ...withEnforced(values, origins, enforcedValues(platform)), mistakes, warnings };
}

/** The annotations of a namespace itself: mistakes and warnings for who writes them, `values` as its pods get them. */
export function readNamespaceDefaults({ namespace, platform }: Pick<Surroundings, "namespace" | "platform">): AnnotationReading {
  const { values, mistakes, warnings } = readAnnotations(namespace.annotations);
  const objections = ANNOTATION_NAMES.flatMap((name) => {
    if (values[name] === undefined || ANNOTATIONS[name].scope === "pod") return [];
    const objection = objectionTo(name, values, namespace.annotations[ANNOTATION_PREFIX + name] ?? "", platform);
    return objection === null ? [] : [objection];
  });
  const channel = unknownChannel(values, platform);
  return {
    values,
    mistakes: [...mistakes, ...objections, ...(channel === null ? [] : [channel])],
    warnings: [...warnings, ...withoutEffect(values, "pod", "a namespace")],
  };
}

/** The namespace's annotations that can be defaults of this pod: what the pod gives itself does not matter there, even where it is wrong. */
function defaultsFor(podAnnotations: Annotations | null | undefined, namespaceAnnotations: Annotations): Annotations {
  if (!Object.keys(namespaceAnnotations).some((key) => key.startsWith(ANNOTATION_PREFIX))) return NOTHING; // nearly every namespace
  const usable = ANNOTATION_NAMES.filter(
    (name) => ANNOTATIONS[name].scope !== "pod" && podAnnotations?.[ANNOTATION_PREFIX + name] === undefined,
  );
  const entries = usable.flatMap((name) => {
    const text = Object.hasOwn(namespaceAnnotations, ANNOTATION_PREFIX + name) ? namespaceAnnotations[ANNOTATION_PREFIX + name] : undefined;
    return text === undefined ? [] : [[ANNOTATION_PREFIX + name, text] as const];
  });
  return Object.fromEntries(entries);
}

function withEnforced(
  values: AnnotationValues,
  origins: Map<AnnotationName, SettingOrigin>,
  enforced: AnnotationValues,
): Pick<ResolvedSettings, "values" | "origins"> {
  const added = Object.entries(enforced).filter(([name]) => {
    const value = values[name as AnnotationName];
    return value === undefined || value === "auto";
  });
  for (const [name] of added) origins.set(name as AnnotationName, "platform");
  return { values: { ...values, ...Object.fromEntries(added) }, origins };
}

function withoutEffect(values: AnnotationValues, scope: "pod" | "namespace", place: string): readonly string[] {
  const misplaced = ANNOTATION_NAMES.filter((name) => values[name] !== undefined && ANNOTATIONS[name].scope === scope);
  return misplaced.map((name) => `annotation ${ANNOTATION_PREFIX}${name} has no effect on ${place}: it is for a ${scope}`);
}

function placeOfNamespace(name: string): string {
  return `namespace ${name}, `;
}
