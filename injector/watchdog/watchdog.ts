// The watchdog: pods that should have a sidecar and have none are counted by namespace, told of in an Event at their owner, and, when the platform team
// wants it, replaced by restarting the owner at a pace. It restarts only what would get a sidecar now, and never the same owner twice soon.
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import { INJECT_LABEL } from "../annotations/annotations.ts";
import type { WorkloadOwner } from "../platform/channels.ts";
import type { EventRecorder, ObjectReference } from "../webhook/events.ts";
import { defaultPlatform, type Platform } from "../platform/platform.ts";
import { readSwitch } from "../decide/report.ts";
import { RESTARTABLE_KINDS, type RolloutApi } from "../rollout/rollout-api.ts";
import type { InjectorSettings } from "../settings.ts";
import type { Surroundings } from "../surroundings.ts";
import { type NakedWorkload, nakedWorkloads, obstacleTo, type WatchedPod } from "./naked-pods.ts";
import { createRestartBudget, FIRST_PAUSE_MS } from "./restart-budget.ts";

/** An owner that stays naked is told of again after this long. */
const REMIND_MS = 6 * 3600_000;
/** Owners with an Event that are remembered at most; beyond, some are told of twice. */
const MAX_TOLD = 10_000;
/** Owners that are looked at closely in one round; each costs a call. */
const MAX_LOOKS = 50;
const API_VERSIONS: Readonly<Record<string, string>> = {
  Deployment: "apps/v1",
  StatefulSet: "apps/v1",
  DaemonSet: "apps/v1",
  ReplicaSet: "apps/v1",
  Job: "batch/v1",
  CronJob: "batch/v1",
  Pod: "v1",
  ReplicationController: "v1",
};

/** What the watchdog works with. */
export interface WatchdogParts {
  readonly api: Pick<RolloutApi, "readPod" | "restart">;
  readonly pods: () => Iterable<WatchedPod>;
  /** Null while the namespace is not known. */
  readonly surroundings: (namespace: string) => Surroundings | null;
  readonly platform: () => Platform | null;
  readonly settings: InjectorSettings;
  readonly events: Pick<EventRecorder, "record">;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** The watchdog. */
export interface Watchdog {
  /** Counts; every replica does. */
  count(): ReadonlyMap<string, NakedWorkload>;
  /** Counts, tells, and restarts at most one owner; only the leader does. Never rejects. */
  round(): Promise<void>;
}

/** Makes the watchdog. */
export function createWatchdog({ api, pods, surroundings, platform, settings, events, clock, log, metrics }: WatchdogParts): Watchdog {
  const gauge = metrics.gauge({
    name: "remora_naked_pods",
    help: "Pods that should have a sidecar and have none.",
    labels: ["namespace"],
  });
  const restarts = metrics.counter({ name: "remora_watchdog_restarts_total", help: "Owners of naked pods that the watchdog restarted." });
  const budget = createRestartBudget(() => (platform() ?? defaultPlatform).watchdog.paceMs);
  const told = new Map<string, { readonly isBlocked: boolean; readonly atMs: number }>();
  let shown = new Set<string>();

  function count(): ReadonlyMap<string, NakedWorkload> {
    const naked = nakedWorkloads(pods(), (namespace) => {
      const around = surroundings(namespace);
      return around === null ? null : readSwitch(around.namespace.labels[INJECT_LABEL]);
    });
    const byNamespace = new Map<string, number>();
    for (const { owner, pods: found } of naked.values())
      byNamespace.set(owner.namespace, (byNamespace.get(owner.namespace) ?? 0) + found.length);
    for (const [namespace, number] of byNamespace) gauge.set({ namespace }, number);
    for (const namespace of shown) if (!byNamespace.has(namespace)) gauge.remove({ namespace });
    shown = new Set(byNamespace.keys());
    return naked;
  }

  async function judge(naked: ReadonlyMap<string, NakedWorkload>): Promise<void> {
    budget.keepOnly(naked);
    for (const key of told.keys()) if (!naked.has(key)) told.delete(key);
    const { restart } = (platform() ?? defaultPlatform).watchdog;
    let looks = 0;
    for (const [key, workload] of naked) {
      const nowMs = clock.nowMs();
      const known = told.get(key);
      const isDue = known === undefined || nowMs - known.atMs >= REMIND_MS;
      const allowance = budget.allowance(key, nowMs);
      const isBlocked = known?.isBlocked === true && nowMs - known.atMs < FIRST_PAUSE_MS;
      const mayRestart = restart && !isBlocked && allowance === "allowed" && isRestartable(workload, nowMs);
      if (!mayRestart && !isDue) continue;
      looks += 1;
      if (looks > MAX_LOOKS) return;
      const obstacle = await obstacleOf(workload);
      // An owner whose pods would be refused keeps the ones it has; what refuses them is for people to change.
      if (mayRestart && obstacle === null) await restartOwner(key, workload);
      else tell(key, workload, noteOf(workload, obstacle, restart, allowance === "given_up"), { isBlocked: obstacle !== null, isDue });
    }
  }

  async function obstacleOf({ owner, pods: [pod] }: NakedWorkload): Promise<string | null> {
    const around = surroundings(owner.namespace);
    if (pod === undefined || around === null) return "its namespace is not known yet";
    const stored = await api.readPod(pod.namespace, pod.name);
    return stored === null ? "it is gone" : obstacleTo(stored, around, settings);
  }

  async function restartOwner(key: string, workload: NakedWorkload): Promise<void> {
    const { owner } = workload;
    // Counted before it is tried: an owner that cannot be patched is not tried again at once either.
    budget.restarted(key, clock.nowMs());
    const outcome = await api.restart(owner, clock.nowMs(), { unlessWithinMs: FIRST_PAUSE_MS });
    log.info({ owner, outcome }, "the owner of pods without a sidecar was restarted");
    if (outcome === "restarted") restarts.inc();
    const note = outcome === "restarted" ? `Restarted: ${countOf(workload)} without a sidecar.` : `Not restarted: ${OUTCOMES[outcome]}.`;
    events.record({ regarding: referenceTo(owner), type: "Normal", reason: "SidecarRestart", action: "Restarting", note });
    told.set(key, { isBlocked: false, atMs: clock.nowMs() });
  }

  function tell(key: string, { owner }: NakedWorkload, note: string, { isBlocked, isDue }: { isBlocked: boolean; isDue: boolean }): void {
    if (isDue) events.record({ regarding: referenceTo(owner), type: "Warning", reason: "SidecarMissing", action: "Watching", note });
    told.delete(key);
    told.set(key, { isBlocked, atMs: clock.nowMs() });
    const [first] = told.keys();
    if (told.size > MAX_TOLD && first !== undefined) told.delete(first);
  }

  return {
    count,
    round: () =>
      judge(count()).catch((error: unknown) => log.warn({ err: error }, "a round of the watchdog failed; the next one begins anew")),
  };
}

const OUTCOMES = {
  on_delete: "its update strategy is OnDelete, so delete its pods",
  paused: "it is paused",
  recent: "it was restarted a moment ago",
  gone: "it is gone",
  not_restartable: "its kind is not restarted; delete its pods",
} as const;

/** An owner whose naked pods were made by a restart a moment ago gets none by another one; whoever ordered that. */
function isRestartable({ owner, pods }: NakedWorkload, nowMs: number): boolean {
  if (!RESTARTABLE_KINDS.has(owner.kind)) return false;
  return !pods.some(({ restartedAt }) => restartedAt !== null && nowMs - Date.parse(restartedAt) < FIRST_PAUSE_MS);
}

function noteOf(workload: NakedWorkload, obstacle: string | null, restarts: boolean, hasGivenUp: boolean): string {
  const head = `${countOf(workload)} should have a sidecar and run without.`;
  if (obstacle !== null) return `${head} A new one would not get it either: ${obstacle}`;
  if (hasGivenUp) return `${head} Restarting did not help, so nothing more is tried.`;
  const { kind, name, namespace } = workload.owner;
  if (restarts && RESTARTABLE_KINDS.has(kind)) return `${head} It will be restarted.`;
  return RESTARTABLE_KINDS.has(kind)
    ? `${head} kubectl rollout restart ${kind.toLowerCase()} ${name} -n ${namespace} gives it one.`
    : `${head} Make it anew to give it one.`;
}

function countOf({ pods }: NakedWorkload): string {
  return pods.length === 1 ? "1 pod" : `${pods.length} pods`;
}

function referenceTo({ kind, namespace, name }: WorkloadOwner): ObjectReference {
  return { apiVersion: API_VERSIONS[kind] ?? "v1", kind, namespace, name };
}
