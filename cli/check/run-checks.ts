// Makes the checks one after the other. One whose ground is missing is not made, and what the API server does not tell is unknown: neither counts as well.
import type { Check, Finding } from "./check.ts";
import type { Cluster } from "./cluster.ts";
import { Unreadable } from "./unreadable.ts";

/** What became of one. `skipped`: a check that it needs did not hold. */
export interface Outcome {
  readonly check: Check;
  readonly result: "ok" | "failed" | "unknown" | "skipped";
  /** A note where it is well, else why not. */
  readonly detail: string;
  /** Empty unless it failed. */
  readonly fix: string;
}

/** All outcomes, in order. Never rejects for what a cluster holds. */
export async function runChecks(checks: readonly Check[], cluster: Cluster): Promise<readonly Outcome[]> {
  const outcomes = new Map<string, Outcome>();
  for (const check of checks) {
    const missing = (check.needs ?? []).find((id) => {
      const found = outcomes.get(id);
      return found !== undefined && found.result !== "ok";
    });
    outcomes.set(
      check.id,
      missing === undefined
        ? outcomeOf(check, await look(check, cluster))
        : { check, result: "skipped", detail: `only where ${titleOf(checks, missing)}`, fix: "" },
    );
  }
  return [...outcomes.values()];
}

async function look(check: Check, cluster: Cluster): Promise<Finding> {
  try {
    return await check.look(cluster);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    if (error instanceof Unreadable && error.status === 403) return { result: "unknown", why: `you may not look: ${why}` };
    return { result: "unknown", why };
  }
}

function outcomeOf(check: Check, finding: Finding): Outcome {
  switch (finding.result) {
    case "ok":
      return { check, result: "ok", detail: finding.note, fix: "" };
    case "failed":
      return { check, result: "failed", detail: finding.why, fix: finding.fix };
    case "unknown":
      return { check, result: "unknown", detail: finding.why, fix: "" };
  }
}

function titleOf(checks: readonly Check[], id: string): string {
  return checks.find((check) => check.id === id)?.title ?? id;
}

/** True when all is well: nothing that counts as an error failed, and none of those went unlooked at. Warnings may fail. */
export function isHealthy(outcomes: readonly Outcome[]): boolean {
  return outcomes.every(({ check, result }) => result === "ok" || check.severity === "warning");
}
