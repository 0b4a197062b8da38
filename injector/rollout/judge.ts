// Whether a new version does worse than the old one: errors, refusals and lost heartbeats, each against its margin. Pure. A finding needs enough
// cases, a difference that chance does not explain, and more than one pod that shows it, because one broken app is not a broken version.
import type { RolloutPolicy } from "../platform/platform.ts";
import { leastDifference, ratioOf, type Share } from "./proportion.ts";

/** What was seen of one version. */
export interface VersionFigures {
  /** Failed requests of all. */
  readonly errors: Share;
  /** Refusals of all that asked: requests served and refusals. */
  readonly refused: Share;
  /** Pods without a heartbeat of all pods old enough to have one. */
  readonly lost: Share;
  /** Pods with at least one error, at least one refusal. */
  readonly podsWithErrors: number;
  readonly podsWithRefusals: number;
  /** All pods that have this version, or are to get it. */
  readonly pods: number;
}

/** The three things that are compared. */
export type Symptom = "error_ratio" | "refused_ratio" | "heartbeat_loss";

/** One symptom on which the new version does worse. Ratios are 0..1. */
export interface Finding {
  readonly symptom: Symptom;
  readonly newRatio: number;
  readonly oldRatio: number;
  readonly margin: number;
  /** Cases of the new version. */
  readonly cases: number;
}

/** What is known so far: `worse` has findings; `unknown` has too few cases to say anything about requests; `fine` has enough. */
export type Verdict =
  | { readonly kind: "worse"; readonly findings: readonly Finding[] }
  | { readonly kind: "fine" }
  | { readonly kind: "unknown"; readonly missing: string };

const SYMPTOM_WORDS: Readonly<Record<Symptom, { readonly share: string; readonly cases: string }>> = {
  error_ratio: { share: "error ratio", cases: "requests" },
  refused_ratio: { share: "refused rate", cases: "requests and refusals" },
  heartbeat_loss: { share: "heartbeat loss", cases: "pods" },
};
/** As many pods as must show a symptom, where there are that many. */
const WITNESSES = 2;

/** Compares the new version with the old. */
export function judge(now: VersionFigures, before: VersionFigures, policy: RolloutPolicy): Verdict {
  const witnesses = Math.min(WITNESSES, now.pods);
  const findings = [
    ...find("error_ratio", now.errors, before.errors, policy.errorRatioMargin, policy.minimumRequests, now.podsWithErrors >= witnesses),
    ...find(
      "refused_ratio",
      now.refused,
      before.refused,
      policy.refusedRatioMargin,
      policy.minimumRequests,
      now.podsWithRefusals >= witnesses,
    ),
    ...find("heartbeat_loss", now.lost, before.lost, policy.heartbeatLossMargin, policy.minimumPods, now.lost.count >= witnesses),
  ];
  if (findings.length > 0) return { kind: "worse", findings };
  if (now.errors.of < policy.minimumRequests) {
    return { kind: "unknown", missing: `${Math.floor(now.errors.of)} of ${policy.minimumRequests} requests seen` };
  }
  return { kind: "fine" };
}

function find(symptom: Symptom, now: Share, before: Share, margin: number, minimum: number, isWitnessed: boolean): readonly Finding[] {
  if (now.of < minimum || !isWitnessed) return [];
  // Where nothing is known of the old version it counts as flawless for sure: the new one is then held to the margin alone.
  const known = before.of > 0 ? before : { count: 0, of: Number.POSITIVE_INFINITY };
  if (leastDifference(now, known) <= margin) return [];
  return [{ symptom, newRatio: ratioOf(now), oldRatio: ratioOf(before), margin, cases: now.of }];
}

/** A finding as a clause for people. */
export function describeFinding({ symptom, newRatio, oldRatio, margin, cases }: Finding): string {
  const { share, cases: of } = SYMPTOM_WORDS[symptom];
  return `${share} ${percent(newRatio)} against ${percent(oldRatio)} (margin ${percent(margin)}, ${Math.round(cases)} ${of})`;
}

/** 0..1 as people write it. */
export function percent(ratio: number): string {
  return `${Number((ratio * 100).toPrecision(3))} %`;
}
