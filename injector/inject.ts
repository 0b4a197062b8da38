// Everything the injector knows about one pod, in order: shape, facts, decision, pod as it should be, patch. Pure; the webhook and the command
// line both call it, so that what `remora inject` shows is what the cluster gets.
import { AdmissionError } from "../core/errors.ts";
import { type ChannelChoice, versionFor } from "./channels.ts";
import { type Asker, type Decision, decide } from "./decide.ts";
import { desiredPod } from "./desired-pod.ts";
import { difference, type PatchOperation } from "./difference.ts";
import { ownerOf } from "./owner.ts";
import type { Platform } from "./platform.ts";
import { type Pod, parsePod } from "./pod.ts";
import { reportPod } from "./report.ts";
import { releasedSettings } from "./rollout/release.ts";
import type { InjectorSettings } from "./settings.ts";
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
}

/** Decides about `value`, a pod or pod template as it was sent, and builds the result. Never throws for anything that `value` contains. */
export function injectPod(value: unknown, surroundings: Surroundings, asker: Asker, settings: InjectorSettings): Injection {
  const pod = readPod(value);
  if (typeof pod === "string")
    return { decision: { action: "refuse", reason: "malformed_pod", message: pod }, patch: [], pod: null, warnings: [] };
  const report = reportPod(pod, surroundings, settings);
  const decision = decide(report, asker, settings);
  switch (decision.action) {
    case "skip":
      return { decision, patch: [], pod, warnings: skipWarnings(decision) };
    case "refuse":
      return { decision, patch: [], pod, warnings: report.annotations.warnings };
    case "inject": {
      const { platform, namespace } = surroundings;
      const choice = versionFor(platform, ownerOf(pod, namespace.name), decision.values.channel ?? null);
      const desired = desiredPod(pod, decision.values, releasedSettings(settings, choice));
      const warnings = [...report.annotations.warnings, ...report.concerns, ...desired.concerns, ...channelWarnings(choice, platform)];
      return { decision, patch: difference(pod, desired.pod), pod: desired.pod, warnings };
    }
  }
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

/** A label that nobody can have meant is said out loud; every other skip is what was asked for. */
function skipWarnings(decision: Extract<Decision, { action: "skip" }>): readonly string[] {
  return decision.reason === "pod_label_unknown" || decision.reason === "namespace_label_unknown" ? [decision.message] : [];
}
