// Pods that should have a sidecar and have none: they were made while the webhook was away, before their namespace was labelled, or by somebody who went
// around it. What should have been is asked of the very code that decides about new pods. Pure.
import type { WorkloadOwner } from "../platform/channels.ts";
import { decide } from "../decide/decide.ts";
import { AdmissionError } from "../../core/errors.ts";
import { parsePod, type Pod } from "../pod/pod.ts";
import { readSwitch, reportPod, type SwitchLabel } from "../decide/report.ts";
import { type PodFacts, readPodFacts } from "../rollout/pod-facts.ts";
import { RESTARTED_AT } from "../rollout/rollout-api.ts";
import type { InjectorSettings } from "../settings.ts";
import { noSurroundings, type Surroundings } from "../surroundings.ts";
import { INJECT_LABEL } from "../annotations/annotations.ts";

/** What is kept of a pod: its facts, and whether it should have a sidecar, in a namespace with the label and in any other. */
export interface WatchedPod extends PodFacts {
  readonly dueIfLabelled: boolean;
  readonly dueElsewhere: boolean;
  /** When its template says that it was restarted; null when never. */
  readonly restartedAt: string | null;
}

/** Reads a pod from a watch; null for what is no pod. */
export function readWatchedPod(object: unknown, settings: InjectorSettings): WatchedPod | null {
  const facts = readPodFacts(object);
  if (facts === null) return null;
  const pod = parsePod(object);
  const isMeshed = facts.version !== null;
  return {
    ...facts,
    dueIfLabelled: !isMeshed && isDue(pod, "enabled", noSurroundings(facts.namespace), settings),
    dueElsewhere: !isMeshed && isDue(pod, "absent", noSurroundings(facts.namespace), settings),
    restartedAt: pod.metadata?.annotations?.[RESTARTED_AT] ?? null,
  };
}

/** True for what would be injected, and for what would be refused: it was opted in all the same. */
function isDue(pod: Pod, label: SwitchLabel, surroundings: Surroundings, settings: InjectorSettings): boolean {
  return decide(reportPod(pod, surroundings, settings), { kind: "namespace", label }, settings).action !== "skip";
}

/** A workload with pods that lack their sidecar. */
export interface NakedWorkload {
  readonly owner: WorkloadOwner;
  readonly pods: readonly WatchedPod[];
}

/** All of them. `namespaceLabel` gives the namespace's inject label; pods of a namespace that is not known (null) are left out. */
export function nakedWorkloads(
  pods: Iterable<WatchedPod>,
  namespaceLabel: (namespace: string) => SwitchLabel | null,
): ReadonlyMap<string, NakedWorkload> {
  const found = new Map<string, { owner: WorkloadOwner; pods: WatchedPod[] }>();
  for (const pod of pods) {
    if (pod.isOver || !pod.isScheduled || (!pod.dueIfLabelled && !pod.dueElsewhere)) continue;
    const label = namespaceLabel(pod.namespace);
    if (label === null || !(label === "enabled" ? pod.dueIfLabelled : pod.dueElsewhere)) continue;
    const key = `${pod.owner.namespace}/${pod.owner.kind}/${pod.owner.name}`;
    const known = found.get(key);
    if (known === undefined) found.set(key, { owner: pod.owner, pods: [pod] });
    else known.pods.push(pod);
  }
  return found;
}

/** What would become of a pod if it were made again now: null when it gets its sidecar, else why it does not, as a sentence. */
export function obstacleTo(object: unknown, surroundings: Surroundings, settings: InjectorSettings): string | null {
  try {
    const pod = parsePod(object);
    const label = readSwitch(surroundings.namespace.labels[INJECT_LABEL]);
    const decision = decide(reportPod(pod, surroundings, settings), { kind: "namespace", label }, settings);
    return decision.action === "inject" ? null : decision.message;
  } catch (error) {
    if (error instanceof AdmissionError) return error.message;
    throw error;
  }
}
