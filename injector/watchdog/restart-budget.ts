// When the watchdog may restart an owner (again). A restart that brought no sidecar is not worth repeating soon: the pause doubles each time, and after
// a few it is left to people. Pure bookkeeping, in memory: what another replica did is seen in the pods themselves.

/** First pause after a restart of an owner; it doubles. */
export const FIRST_PAUSE_MS = 10 * 60_000;
/** Restarts of one owner after which it is left alone. */
export const MAX_ATTEMPTS = 4;
/** Owners that are remembered at most; the longest unseen go first. */
const MAX_OWNERS = 10_000;

/** Whether an owner may be restarted now. */
export type Allowance = "allowed" | "pausing" | "given_up";

/** Keeps count of restarts. */
export interface RestartBudget {
  allowance(owner: string, nowMs: number): Allowance;
  restarted(owner: string, nowMs: number): void;
  /** Owners that are naked no more begin anew. */
  keepOnly(owners: { has(owner: string): boolean }): void;
}

/** Starts without any restart. At most one owner each `paceMs`. */
export function createRestartBudget(paceMs: () => number): RestartBudget {
  const attempts = new Map<string, { count: number; untilMs: number }>();
  let nextMs = Number.NEGATIVE_INFINITY;
  return {
    allowance(owner, nowMs) {
      const made = attempts.get(owner);
      if (made !== undefined && made.count >= MAX_ATTEMPTS) return "given_up";
      return nowMs < nextMs || (made !== undefined && nowMs < made.untilMs) ? "pausing" : "allowed";
    },
    restarted(owner, nowMs) {
      const count = (attempts.get(owner)?.count ?? 0) + 1;
      attempts.delete(owner);
      attempts.set(owner, { count, untilMs: nowMs + FIRST_PAUSE_MS * 2 ** (count - 1) });
      nextMs = nowMs + paceMs();
      const [first] = attempts.keys();
      if (attempts.size > MAX_OWNERS && first !== undefined) attempts.delete(first);
    },
    keepOnly(owners) {
      for (const owner of attempts.keys()) if (!owners.has(owner)) attempts.delete(owner);
    },
  };
}
