// The validating webhook's decisions: what is wrong with a workload, a namespace or the platform's ConfigMap is said when it is applied, not when a
// ReplicaSet fails to make its pods. Pure. Only a mistake that is new refuses: who scales, labels or deletes what is wrong already must get through.
import { ConfigError } from "../../core/errors.ts";
import { nearestName } from "../../core/nearest.ts";
import { INJECT_LABEL } from "../annotations/annotations.ts";
import { mayOptOut } from "../annotations/enforcement.ts";
import type { AdmissionAnswer, AdmissionRequest } from "../webhook/envelope.ts";
import { PLATFORM_CONFIG_MAP, PLATFORM_KEY, parsePlatform } from "../platform/platform.ts";
import { readSwitch } from "../decide/report.ts";
import { readNamespaceDefaults } from "../annotations/resolve-settings.ts";
import type { InjectorSettings } from "../settings.ts";
import type { Surroundings } from "../surroundings.ts";
import { findPods, type PodPlace } from "../pod/workload.ts";
import { judgeTemplate, type TemplateFindings } from "./workload-findings.ts";

/** Why an object was let through or refused. */
export const VALIDATION_REASONS = {
  valid: "Nothing is wrong with it.",
  unchanged: "What could be wrong was there before and does not change.",
  not_ours: "Nothing in it concerns Remora.",
  invalid_annotation: "A remora.io annotation has a value that is not allowed.",
  opt_out_forbidden: "The platform does not let workloads of this namespace opt out of the mesh.",
  invalid_platform: "The ConfigMap of the platform has mistakes.",
} as const;

/** One of {@link VALIDATION_REASONS}. */
export type ValidationReason = keyof typeof VALIDATION_REASONS;

/** The answer, and the two words under which it is counted. */
export interface Validation {
  readonly answer: AdmissionAnswer;
  readonly result: "allowed" | "refused";
  readonly reason: ValidationReason;
}

/** A mistake under the reason that refuses it. */
interface Mistake {
  readonly reason: ValidationReason;
  readonly sentence: string;
}

interface Findings {
  readonly mistakes: readonly Mistake[];
  readonly warnings: readonly string[];
}

const NOTHING: Findings = { mistakes: [], warnings: [] };

/**
 * Judges what is to be created or changed. `surroundings` are those of the object's namespace; for a Namespace only their platform is read. Never
 * throws for anything in `request`.
 */
export function validate(request: AdmissionRequest, surroundings: Surroundings, settings: InjectorSettings): Validation {
  const { operation, subResource, resource, object } = request;
  if (subResource !== "" || (operation !== "CREATE" && operation !== "UPDATE") || isBeingDeleted(object)) return allowed("not_ours");
  const judge = judgeFor(resource, request, surroundings, settings);
  if (judge === null) return allowed("not_ours");
  const findings = judge(object);
  if (findings === NOTHING) return allowed("not_ours");
  const before = operation === "UPDATE" ? judge(request.oldObject) : NOTHING;
  const known = new Set(before.mistakes.map(({ sentence }) => sentence));
  const fresh = findings.mistakes.filter(({ sentence }) => !known.has(sentence));
  const old = findings.mistakes.filter(({ sentence }) => known.has(sentence)).map(({ sentence }) => `still wrong: ${sentence}`);
  const [first] = fresh;
  if (first === undefined) return allowed(old.length > 0 ? "unchanged" : "valid", [...old, ...findings.warnings]);
  const message = `remora refuses it (${first.reason}): ${fresh.map(({ sentence }) => sentence).join("; ")}`;
  return answered("refused", first.reason, message, [...old, ...findings.warnings]);
}

type Judge = (object: unknown) => Findings;

function judgeFor(
  { group, resource }: AdmissionRequest["resource"],
  request: AdmissionRequest,
  surroundings: Surroundings,
  settings: InjectorSettings,
): Judge | null {
  if (group === "" && resource === "namespaces") return (object) => judgeNamespace(object, request, surroundings, settings);
  if (group === "" && resource === "configmaps") return (object) => judgeConfigMap(object, request, settings);
  if (group === "" && resource === "pods") return (object) => judgePod(object, surroundings);
  if (!["", "apps", "batch"].includes(group)) return null;
  return (object) => judgeWorkload(object, surroundings, settings);
}

/** A controller makes its objects from what was judged when its owner was applied; refusing them later only hides the refusal. */
function judgeWorkload(object: unknown, surroundings: Surroundings, settings: InjectorSettings): Findings {
  if (isControlled(object)) return NOTHING;
  const places = findPods(object, INJECT_LABEL).filter((place): place is PodPlace => place.path !== null);
  if (places.length === 0) return NOTHING;
  const findings = places.map((place) => judgeTemplate(place, metadataOf(object), surroundings, settings));
  return { mistakes: findings.flatMap(mistakesOf), warnings: findings.flatMap(({ warnings }) => warnings) };
}

function mistakesOf({ mistakes, optOut }: TemplateFindings): readonly Mistake[] {
  return [
    ...mistakes.map((sentence) => ({ reason: "invalid_annotation", sentence }) as const),
    ...(optOut === null ? [] : [{ reason: "opt_out_forbidden", sentence: optOut } as const]),
  ];
}

/** Pods that opted out never reach the mutating webhook; here is where that is held against the platform. */
function judgePod(object: unknown, { namespace, platform }: Surroundings): Findings {
  const label = readSwitch(labelOf(object));
  const optsOut = label === "disabled" || label === "unknown";
  if (!optsOut || namespace.labels[INJECT_LABEL] !== "enabled" || mayOptOut(platform, namespace.name)) return NOTHING;
  return { mistakes: [{ reason: "opt_out_forbidden", sentence: VALIDATION_REASONS.opt_out_forbidden.slice(0, -1) }], warnings: [] };
}

function judgeNamespace(object: unknown, request: AdmissionRequest, { platform }: Surroundings, settings: InjectorSettings): Findings {
  const { name: named, labels, annotations } = metadataOf(object);
  const name = typeof named === "string" ? named : request.name;
  const facts = { name, labels: textsOf(labels), annotations: textsOf(annotations) };
  const { mistakes, warnings } = readNamespaceDefaults({ namespace: facts, platform });
  return {
    mistakes: [
      ...mistakes.map((sentence) => ({ reason: "invalid_annotation", sentence }) as const),
      ...leavingMesh(facts.labels, object, request, mayOptOut(platform, name)),
    ],
    warnings: [...labelWarnings(facts.labels, name, settings), ...warnings],
  };
}

/** A namespace whose label is taken away opts all its workloads out. */
function leavingMesh(
  labels: Readonly<Record<string, string>>,
  object: unknown,
  { operation, oldObject }: AdmissionRequest,
  isAllowed: boolean,
): readonly Mistake[] {
  const wasEnabled = operation === "UPDATE" && object !== oldObject && textsOf(metadataOf(oldObject)["labels"])[INJECT_LABEL] === "enabled";
  if (isAllowed || !wasEnabled || labels[INJECT_LABEL] === "enabled") return [];
  return [{ reason: "opt_out_forbidden", sentence: `the platform does not let this namespace lose its label ${INJECT_LABEL}=enabled` }];
}

function labelWarnings(labels: Readonly<Record<string, string>>, name: string, { controlNamespace }: InjectorSettings): readonly string[] {
  const label = readSwitch(labels[INJECT_LABEL]);
  if (label === "unknown") return [`the label ${INJECT_LABEL} is neither enabled nor disabled, so no pod of the namespace gets a sidecar`];
  if (label === "enabled" && name === controlNamespace)
    return ["the control plane's own namespace never gets sidecars, whatever its label says"];
  return [];
}

function judgeConfigMap(object: unknown, { namespace, name }: AdmissionRequest, { controlNamespace }: InjectorSettings): Findings {
  if (namespace !== controlNamespace || (metadataOf(object)["name"] ?? name) !== PLATFORM_CONFIG_MAP) return NOTHING;
  const data = textsOf(isObject(object) ? object["data"] : undefined);
  const text = data[PLATFORM_KEY];
  if (text !== undefined) return { mistakes: mistakesInPlatform(text), warnings: [] };
  const nearest = nearestName(
    PLATFORM_KEY,
    Object.keys(data).map((key) => key.slice(0, 100)),
  );
  const instead = nearest === null ? "nothing is decided" : `nothing is decided; rename ${nearest}`;
  return { mistakes: [], warnings: [`the ConfigMap has no key ${PLATFORM_KEY}, so ${instead}`] };
}

function mistakesInPlatform(text: string): readonly Mistake[] {
  try {
    parsePlatform(text);
    return [];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    const { mistakes } = error.fields;
    const sentences = Array.isArray(mistakes) ? (mistakes as readonly string[]) : [error.message];
    return sentences.map((sentence) => ({ reason: "invalid_platform", sentence }));
  }
}

function allowed(reason: ValidationReason, warnings: readonly string[] = []): Validation {
  return answered("allowed", reason, VALIDATION_REASONS[reason], warnings);
}

function answered(result: Validation["result"], reason: ValidationReason, message: string, warnings: readonly string[]): Validation {
  return {
    result,
    reason,
    answer: {
      allowed: result === "allowed",
      patch: [],
      message,
      warnings: warnings.map((warning) => `remora: ${warning}`),
      audit: { validation: result, reason },
    },
  };
}

type Fields = Readonly<Record<string, unknown>>;

function isBeingDeleted(object: unknown): boolean {
  return metadataOf(object)["deletionTimestamp"] !== undefined;
}

function isControlled(object: unknown): boolean {
  const owners = metadataOf(object)["ownerReferences"];
  return Array.isArray(owners) && owners.some((owner) => isObject(owner) && owner["controller"] === true);
}

function labelOf(object: unknown): string | undefined {
  return textsOf(metadataOf(object)["labels"])[INJECT_LABEL];
}

function metadataOf(object: unknown): Fields {
  const metadata = isObject(object) ? object["metadata"] : undefined;
  return isObject(metadata) ? metadata : {};
}

function textsOf(value: unknown): Readonly<Record<string, string>> {
  if (!isObject(value)) return {};
  return Object.fromEntries(Object.entries(value).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
