// The command that gives workloads new pods, by their kind.
import type { WorkloadOwner } from "../../injector/platform/channels.ts";

/** The command that makes a workload's pods anew. */
export function restartCommand(owner: WorkloadOwner): string {
  if (isRestartable(owner)) return `kubectl -n ${owner.namespace} rollout restart ${owner.kind.toLowerCase()}/${owner.name}`;
  return `kubectl -n ${owner.namespace} delete ${owner.kind.toLowerCase()} ${owner.name}    # and make it anew`;
}

/** One command for all of these workloads, as far as they can be restarted; else for the first. */
export function restartCommands(owners: readonly [WorkloadOwner, ...WorkloadOwner[]]): string {
  const byNamespace = new Map<string, Set<string>>();
  for (const owner of owners.filter(isRestartable)) {
    const known = byNamespace.get(owner.namespace) ?? new Set();
    byNamespace.set(owner.namespace, known.add(`${owner.kind.toLowerCase()}/${owner.name}`));
  }
  if (byNamespace.size === 0) return restartCommand(owners[0]);
  return [...byNamespace].map(([namespace, names]) => `kubectl -n ${namespace} rollout restart ${[...names].join(" ")}`).join(" && ");
}

/** True for kinds that `kubectl rollout restart` knows. */
export function isRestartable({ kind }: WorkloadOwner): boolean {
  return ["Deployment", "StatefulSet", "DaemonSet"].includes(kind);
}
