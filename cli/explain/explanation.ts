// What the injector does with one workload and why, as plain data: made by the very functions that the webhook runs, so that it cannot say anything
// else. Pure. The shape is a contract (`schema`): scripts read it.
import { ANNOTATION_NAMES, ANNOTATION_PREFIX, ANNOTATIONS, type AnnotationName } from "../../injector/annotations/annotations.ts";
import { placeOf, type WorkloadOwner } from "../../injector/platform/channels.ts";
import type { Asker, Decision } from "../../injector/decide/decide.ts";
import type { PatchOperation } from "../../injector/patch/difference.ts";
import { type InjectionDetails, injectPod } from "../../injector/inject.ts";
import { ownerOf } from "../../injector/pod/owner.ts";
import type { Pod } from "../../injector/pod/pod.ts";
import { resolveSettings, type SettingOrigin } from "../../injector/annotations/resolve-settings.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../../injector/settings.ts";
import type { Surroundings } from "../../injector/surroundings.ts";
import { type ExplainedCapture, readCapture } from "./capture.ts";
import { type ExplainedProbe, probesChanged } from "./probes.ts";

/** Changes with any change that could break a reader. */
export const EXPLANATION_SCHEMA = "remora.io/explanation/v1";

/** What is explained. */
export interface Subject {
  /** As the API writes it. */
  readonly kind: string;
  readonly name: string;
  readonly namespace: string;
  /** The pod, or the pod as the workload's controller would ask for it. */
  readonly pod: unknown;
}

/** Who gave a value: besides pod, namespace and platform the installation (settings of the injector), or nobody. */
export type Origin = SettingOrigin | "installation" | "default";

/** One annotation's setting. */
export interface ExplainedSetting {
  /** Name of the annotation, with prefix. */
  readonly name: string;
  /** As written; for `default` what holds then, in words. */
  readonly value: string;
  readonly origin: Origin;
  /** False for a value that is refused; the mistake is in the decision's message. */
  readonly allowed: boolean;
}

/** Channel and version of the sidecar. */
export interface ExplainedRelease {
  /** `kind/name`, whose place in a rollout counts. */
  readonly owner: string;
  /** 0 to 99.99. */
  readonly place: number;
  readonly channel: string;
  readonly version: string;
  readonly why: string;
}

/** How the sidecar runs. */
export interface ExplainedSidecar {
  readonly kind: "native" | "legacy";
  readonly image: string;
  /** Why it is of that kind. */
  readonly why: string;
}

/** The decision and all that follows from it. */
export interface Explanation {
  readonly schema: typeof EXPLANATION_SCHEMA;
  readonly subject: { readonly kind: string; readonly name: string; readonly namespace: string };
  readonly decision: { readonly action: Decision["action"]; readonly reason: Decision["reason"]; readonly message: string };
  readonly warnings: readonly string[];
  /** What was assumed, because it could not be known. */
  readonly notes: readonly string[];
  /** Null unless the pod gets a sidecar; so the four below. */
  readonly sidecar: ExplainedSidecar | null;
  readonly release: ExplainedRelease | null;
  readonly capture: (ExplainedCapture & { readonly why: string }) | null;
  readonly probes: readonly ExplainedProbe[];
  readonly patch: readonly PatchOperation[];
  /** In the order of `remora annotations`. */
  readonly settings: readonly ExplainedSetting[];
}

/** Explains what becomes of `subject`. */
export function explain(
  subject: Subject,
  surroundings: Surroundings,
  asker: Asker,
  settings: InjectorSettings,
  notes: readonly string[],
): Explanation {
  const { kind, name, namespace, pod: original } = subject;
  const { decision, patch, pod, warnings, details } = injectPod(original, surroundings, asker, settings);
  const injected = decision.action === "inject" ? pod : null;
  return {
    schema: EXPLANATION_SCHEMA,
    subject: { kind, name, namespace },
    decision: { action: decision.action, reason: decision.reason, message: decision.message },
    warnings,
    notes,
    sidecar: details === null ? null : { kind: details.plan.kind, image: details.plan.image, why: details.plan.why.kind },
    release: details === null ? null : readRelease(details, asker.owner ?? ownerOf(original as Pod, surroundings.namespace.name)),
    capture: injected === null || details === null ? null : { ...readCapture(injected), why: details.plan.why.capture },
    probes: injected === null ? [] : probesChanged(original as Pod, injected, settings.adminPort), // an injected pod has the shape of one
    patch,
    settings: explainSettings(original, surroundings, settings, decidedElsewhere(details, surroundings, settings)),
  };
}

function readRelease({ plan, choice }: InjectionDetails, owner: WorkloadOwner): ExplainedRelease {
  const { channel, why } = choice;
  return { owner: `${owner.kind.toLowerCase()}/${owner.name}`, place: placeOf(owner), channel, version: plan.version, why };
}

function explainSettings(
  original: unknown,
  surroundings: Surroundings,
  settings: InjectorSettings,
  decided: Readonly<Partial<Record<AnnotationName, Decided>>>,
): readonly ExplainedSetting[] {
  const own = annotationsOf(original);
  const { namespace } = surroundings;
  const { values, origins, mistakes } = resolveSettings(own, surroundings);
  const installed = installationValues(settings);
  return ANNOTATION_NAMES.map((name) => {
    const key = ANNOTATION_PREFIX + name;
    const isWrong = mistakes.some((mistake) => mistake.includes(`annotation ${key}: `));
    const origin = isWrong ? (own[key] === undefined ? "namespace" : "pod") : origins.get(name);
    if (origin === "platform") return { name: key, value: String(values[name]), origin, allowed: true };
    if (origin !== undefined) {
      const text = (origin === "pod" ? own : namespace.annotations)[key] ?? "";
      return { name: key, value: text.trim(), origin, allowed: !isWrong };
    }
    const value = installed[name];
    const found: Decided =
      decided[name] ?? (value === undefined ? { value: ANNOTATIONS[name].default, origin: "default" } : { value, origin: "installation" });
    return { name: key, ...found, allowed: true };
  });
}

/** A value that nobody wrote for this pod, and whose it is. */
type Decided = Pick<ExplainedSetting, "value" | "origin">;

/** Image and channel, which the platform's channels give where no annotation does. */
function decidedElsewhere(
  details: InjectionDetails | null,
  { platform }: Surroundings,
  settings: InjectorSettings,
): Readonly<Partial<Record<AnnotationName, Decided>>> {
  const isUsual = settings.image === defaultInjectorSettings(settings.version).image;
  const usual: Decided = { value: settings.image, origin: isUsual ? "default" : "installation" };
  if (details === null || platform.channels.size === 0) return { image: usual };
  const { plan, choice } = details;
  return {
    channel: { value: choice.channel, origin: "platform" },
    image: choice.version === null ? usual : { value: plan.image, origin: "platform" },
  };
}

/** What the platform team set when it installed the injector; what it left alone is the table's default. */
function installationValues(settings: InjectorSettings): Readonly<Partial<Record<AnnotationName, string>>> {
  const given: readonly (readonly [AnnotationName, string | boolean | null])[] = [
    ["mode", settings.mode],
    ["capture", settings.capture],
    ["channel", settings.channel],
    ["native-sidecar", settings.nativeSidecar],
    ["cpu-request", settings.cpuRequest],
    ["cpu-limit", settings.cpuLimit],
    ["memory-request", settings.memoryRequest],
    ["memory-limit", settings.memoryLimit],
  ];
  const differing = given.filter(([name, value]) => value !== null && String(value) !== ANNOTATIONS[name].default);
  return Object.fromEntries(differing.map(([name, value]) => [name, String(value)]));
}

function annotationsOf(pod: unknown): Readonly<Record<string, string>> {
  const annotations = (pod as { readonly metadata?: { readonly annotations?: unknown } | null } | null)?.metadata?.annotations;
  if (typeof annotations !== "object" || annotations === null) return {};
  return Object.fromEntries(Object.entries(annotations).filter((entry): entry is [string, string] => typeof entry[1] === "string"));
}
