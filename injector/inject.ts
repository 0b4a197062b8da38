// Everything the injector knows about one pod, in order: shape, facts, decision, plan, pod as it should be, patch. Pure; the webhook and the command
// line both call it, so that what `remora inject` shows is what the cluster gets.
import { AdmissionError } from "../core/errors.ts";
import { type ChannelChoice, versionFor } from "./platform/channels.ts";
import { type Asker, type Decision, decide, type Refusal, refuse } from "./decide/decide.ts";
import { type DesiredPod, desiredPod } from "./patch/desired-pod.ts";
import { difference, type PatchOperation } from "./patch/difference.ts";
import { directAsks } from "./patch/kubelet-asks.ts";
import { ownerOf } from "./pod/owner.ts";
import { type SidecarPlan, planSidecar } from "./patch/plan.ts";
import type { Platform } from "./platform/platform.ts";
import { type Pod, parsePod } from "./pod/pod.ts";
import { sizeProblem } from "./pod/pod-size.ts";
import { type PodReport, reportPod } from "./decide/report.ts";
import { releasedSettings } from "./rollout/release.ts";
import type { InjectorSettings } from "./settings.ts";
import { readMarker } from "./patch/marker.ts";
import type { Surroundings } from "./surroundings.ts";

/** What became of one pod. */
export interface Injection {
  readonly decision: Decision;
  /** From the pod as it was to the pod as it should be; empty unless `decision.action` is "inject". */
  readonly patch: readonly PatchOperation[];
  /** The pod as it should be; null when it could not be read as one. */
  readonly pod: Pod | null;
  /** For people: unknown annotations, and what will not work as they may expect. Only where something is done or was asked for. */
  readonly warnings: readonly string[];
  /** How the sidecar was put in, for who explains it; null unless it was. */
  readonly details: InjectionDetails | null;
}

/** What an injection did, in its own words. */
export interface InjectionDetails {
  readonly plan: SidecarPlan;
  readonly choice: ChannelChoice;
  /** Probes and hooks that now ask the sidecar, `<container>/<kind>`. */
  readonly redirected: readonly string[];
}

/** Decides about `value`, a pod or pod template as it was sent, and builds the result. Never throws for anything that `value` contains. */
export function injectPod(value: unknown, surroundings: Surroundings, asker: Asker, settings: InjectorSettings): Injection {
  const pod = readPod(value);
  if (typeof pod === "string") return unchanged({ action: "refuse", reason: "malformed_pod", message: pod }, null, []);
  const report = reportPod(pod, surroundings, settings);
  const decision = decide(report, asker, settings);
  switch (decision.action) {
    case "skip":
      return unchanged(decision, pod, skipWarnings(decision, pod, report, settings));
    case "refuse":
      return unchanged(decision, pod, report.annotations.warnings);
    case "inject": {
      const { platform, namespace } = surroundings;
      const choice = versionFor(platform, asker.owner ?? ownerOf(pod, namespace.name), decision.values.channel ?? null);
      const released = releasedSettings(settings, choice);
      const plan = planSidecar(pod, decision.values, surroundings, released);
      if (isRefusal(plan)) return unchanged(plan, pod, report.annotations.warnings);
      const desired = desiredPod(pod, namespace.name, plan, released);
      const problem = sizeProblem(desired.pod);
      if (problem !== null) return unchanged(refuse("too_large", problem), pod, report.annotations.warnings);
      return {
        decision,
        patch: difference(pod, desired.pod),
        pod: desired.pod,
        warnings: [
          ...report.annotations.warnings,
          ...report.concerns,
          ...plan.warnings,
          ...desired.concerns,
          ...channelWarnings(choice, platform),
        ],
        details: { plan, choice, redirected: redirectedBy(desired) },
      };
    }
  }
}

function unchanged(decision: Decision, pod: Pod | null, warnings: readonly string[]): Injection {
  return { decision, patch: [], pod, warnings, details: null };
}

function isRefusal(plan: SidecarPlan | Refusal): plan is Refusal {
  return "action" in plan;
}

function redirectedBy({ asks }: DesiredPod): readonly string[] {
  return [...Object.keys(asks.appProbes), ...Object.keys(asks.appHooks)];
}

/** The sidecar comes all the same, in the version of the control plane: a name that is spelled wrongly stops no deployment. */
function channelWarnings({ channel, version }: ChannelChoice, { channels }: Platform): readonly string[] {
  if (version !== null || channels.size === 0) return [];
  return [
    `there is no channel ${channel}; the sidecar is of the control plane's own version (channels: ${[...channels.keys()].join(", ")})`,
  ];
}

/** The error's sentence when the value is not a pod. */
function readPod(value: unknown): Pod | string {
  try {
    return parsePod(value);
  } catch (error) {
    if (error instanceof AdmissionError) return error.message;
    throw error;
  }
}

/** What nobody can have meant is said out loud; every other skip is what was asked for. */
function skipWarnings(
  decision: Extract<Decision, { action: "skip" }>,
  pod: Pod,
  report: PodReport,
  settings: InjectorSettings,
): readonly string[] {
  switch (decision.reason) {
    case "pod_label_unknown":
    case "namespace_label_unknown":
      return [decision.message];
    case "already_injected":
      return lateContainerWarnings(pod, report, settings);
    default:
      return [];
  }
}

/** A pod is injected once. What another webhook adds after that is captured like the rest, but the kubelet's probes of it have no way in. */
function lateContainerWarnings(pod: Pod, report: PodReport, settings: InjectorSettings): readonly string[] {
  if (readMarker(pod)?.capture !== "transparent") return [];
  const { values } = report.annotations;
  const options = { adminPort: settings.adminPort, uncaptured: values["skip-inbound-ports"] ?? [], hookToken: () => "" };
  return directAsks(pod, options).map(
    (container) =>
      `container ${container} came after the sidecar: where the mode is strict its probes and hooks are refused, unless its ports are in remora.io/skip-inbound-ports`,
  );
}
