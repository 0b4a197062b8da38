// The workload that a pod belongs to, as people name it: the Deployment behind the ReplicaSet, the CronJob behind the Job. Read from what the pod says
// of itself when it is admitted, so that no question to the API server is needed and all replicas give the same answer.
import type { WorkloadOwner } from "../platform/channels.ts";
import { type Pod, podName } from "./pod.ts";

/** ReplicaSets are named NAME-HASH with the hash in one of these labels; who made them depends on which. */
const TEMPLATE_HASHES: readonly (readonly [label: string, kind: string])[] = [
  ["pod-template-hash", "Deployment"],
  ["rollouts-pod-template-hash", "Rollout"], // Argo Rollouts
];
/** A CronJob's Jobs are named NAME-MINUTES with the minutes since 1970 of their turn: these are 2017 to 2065. A date such as 20260101 is none. */
const CRON_TURN = /-([2-4][0-9]{7}|50[0-9]{6})$/;
const FIRST_TURN = 25_000_000;

/** The owner of `pod` in `namespace`. A pod that nobody controls is its own owner, by its name or the prefix of its generated name. */
export function ownerOf(pod: Pod, namespace: string): WorkloadOwner {
  const controller = controllerOf(pod);
  if (controller === null)
    return { namespace, kind: "Pod", name: pod.metadata?.name ?? pod.metadata?.generateName?.replace(/-+$/, "") ?? podName(pod) };
  switch (controller.kind) {
    case "ReplicaSet":
      return { namespace, ...ownerOfReplicaSet(controller, pod.metadata?.labels ?? {}) };
    case "Job":
      return { namespace, ...ownerOfJob(controller) };
    default:
      return { namespace, ...controller };
  }
}

interface Controller {
  readonly kind: string;
  readonly name: string;
}

/** At most one reference is the controller's; a pod made by hand may have references without one. */
function controllerOf(pod: Pod): Controller | null {
  const references = pod.metadata?.["ownerReferences"];
  for (const reference of Array.isArray(references) ? references : []) {
    if (typeof reference !== "object" || reference === null) continue;
    const { controller, kind, name } = reference as Readonly<Record<string, unknown>>; // each field is looked at below
    if (controller === true && typeof kind === "string" && typeof name === "string") return { kind, name };
  }
  return null;
}

function ownerOfReplicaSet({ kind, name }: Controller, labels: Readonly<Record<string, string>>): Controller {
  for (const [label, maker] of TEMPLATE_HASHES) {
    const hash = Object.hasOwn(labels, label) ? labels[label] : undefined;
    if (hash !== undefined && hash !== "" && name.length > hash.length + 1 && name.endsWith(`-${hash}`))
      return { kind: maker, name: name.slice(0, -hash.length - 1) };
  }
  return { kind, name };
}

function ownerOfJob({ kind, name }: Controller): Controller {
  const turn = CRON_TURN.exec(name);
  if (turn === null || turn.index === 0 || Number(turn[1]) < FIRST_TURN) return { kind, name };
  return { kind: "CronJob", name: name.slice(0, turn.index) };
}
