// How often one identity may be certified: a token bucket per identity in one bounded table (GCRA). Only proven identities reach it, so a
// stranger cannot use up anybody's share.
import type { Clock } from "../core/clock.ts";

/** Certificates at once: a thousand pods of one service account may start together, for which a core signs half a second. */
const BURST = 1_000;
/** One more each so many ms: whoever asks without end gets a hundredth of a core. */
const INTERVAL_MS = 50;
/** Identities remembered at a time. */
const MAX_IDENTITIES = 10_000;

/** The limit. */
export interface IssueLimit {
  /** Takes one; gives the wait in ms until there is one, 0 when it was taken. */
  take(identity: string): number;
}

export function createIssueLimit(
  clock: Clock,
  options: { readonly burst?: number; readonly intervalMs?: number; readonly maxIdentities?: number } = {},
): IssueLimit {
  const { burst = BURST, intervalMs = INTERVAL_MS, maxIdentities = MAX_IDENTITIES } = options;
  /** Identity to the monotonic instant at which its bucket is full again. */
  const fullAtMonoMs = new Map<string, number>();

  function makeRoom(nowMonoMs: number): boolean {
    if (fullAtMonoMs.size < maxIdentities) return true;
    for (const [identity, fullAt] of fullAtMonoMs) if (fullAt <= nowMonoMs) fullAtMonoMs.delete(identity);
    return fullAtMonoMs.size < maxIdentities;
  }

  return {
    take(identity) {
      const now = clock.monoMs();
      const known = fullAtMonoMs.get(identity);
      // Fails closed: with so many identities busy at once something is wrong, and forgetting one would lift its limit.
      if (known === undefined && !makeRoom(now)) return intervalMs;
      const fullAt = Math.max(known ?? now, now) + intervalMs;
      const waitMs = fullAt - now - burst * intervalMs;
      if (waitMs > 0) return waitMs;
      fullAtMonoMs.set(identity, fullAt);
      return 0;
    },
  };
}
