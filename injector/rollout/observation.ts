// Watching a rollout: looks at the mesh are added up, and after each the new version is judged against the old one. The same for the guard in the
// control plane and for `remora rollout restart`; who looks, and what is done about a verdict, is theirs.
import type { Platform, RolloutState } from "../platform/platform.ts";
import { type Fleet, lostHeartbeats, seenInstances, workloadsOf } from "./fleet.ts";
import { describeFinding, judge, type Verdict, type VersionFigures } from "./judge.ts";
import { describe } from "./platform-edit.ts";
import { createTally } from "./tally.ts";

/** A verdict about the rollout that is under way, with what it stands on. */
export interface Judgement {
  readonly rollout: RolloutState;
  readonly verdict: Verdict;
  readonly newFigures: VersionFigures;
  readonly oldFigures: VersionFigures;
}

/** Adds looks up. One for each process that watches. */
export interface Observation {
  /** Adds one look at the mesh. Epoch ms. */
  look(fleet: Fleet, nowMs: number): void;
  /** Judges by all looks so far; null while no rollout is under way. */
  judge(platform: Platform): Judgement | null;
  /** All that was seen of a version. */
  figures(version: string, graceMs: number): VersionFigures;
}

/** Starts with nothing seen. */
export function createObservation(): Observation {
  const tally = createTally();
  let last: { readonly fleet: Fleet; readonly nowMs: number } | null = null;

  function figures(version: string, graceMs: number, like: string | null = null): VersionFigures {
    const traffic = like === null ? tally.traffic(version) : tally.trafficLike(version, like);
    const lost = last === null ? { count: 0, of: 0 } : lostHeartbeats(last.fleet, version, last.nowMs, graceMs);
    const pods = (last?.fleet.pods ?? []).filter((pod) => pod.version === version && !pod.isOver).length;
    const instances = (last?.fleet.instances ?? []).filter((instance) => instance.version === version).length;
    return { ...traffic, lost, pods: Math.max(pods, instances) };
  }

  return {
    look(fleet, nowMs) {
      tally.observe(seenInstances(fleet), nowMs);
      last = { fleet, nowMs };
    },
    judge(platform) {
      const { rollout, rolloutPolicy } = platform;
      if (rollout === null) return null;
      const seen = figures(rollout.to, rolloutPolicy.heartbeatGraceMs);
      // The first pod of many is not yet the version: those that are to follow count as pods it has.
      const newFigures = { ...seen, pods: Math.max(seen.pods, last === null ? 0 : podsToCome(last.fleet, platform, rollout.to)) };
      const oldFigures = figures(rollout.from, rolloutPolicy.heartbeatGraceMs, rollout.to);
      return { rollout, verdict: judge(newFigures, oldFigures, rolloutPolicy), newFigures, oldFigures };
    },
    figures: (version, graceMs) => figures(version, graceMs),
  };
}

/** Pods of all workloads that should have the version, whether they do already or not. */
function podsToCome(fleet: Fleet, platform: Platform, version: string): number {
  let count = 0;
  for (const { wanted, pods } of workloadsOf(fleet, platform).values()) if (wanted === version) count += pods.length;
  return count;
}

/** Why a rollout is halted, as one sentence without a full stop; null unless the verdict is `worse`. */
export function haltReason({ rollout, verdict }: Judgement): string | null {
  if (verdict.kind !== "worse") return null;
  return `version ${rollout.to} does worse than ${rollout.from}: ${verdict.findings.map(describeFinding).join("; ")}`;
}

/** What is known so far, for a log line or a person. */
export function describeVerdict({ rollout, verdict }: Judgement): string {
  switch (verdict.kind) {
    case "worse":
      return `${describe(rollout)}: ${verdict.findings.map(describeFinding).join("; ")}`;
    case "fine":
      return `${describe(rollout)}: the new version does no worse`;
    case "unknown":
      return `${describe(rollout)}: too early to say, ${verdict.missing}`;
  }
}
