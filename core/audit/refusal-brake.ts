// Refusals that somebody provokes without end must not push everything else out of an audit file. Each caller's refusals of one kind are written one by one up to a
// rate, all callers' together up to another; what is beyond that is counted and written once a minute by kind and reason.
import type { AuditEventName, AuditFields } from "./audit.ts";

/** Of one kind, reason, identity and address: at once, and one more each so many ms. */
const OWN = { burst: 20, everyMs: 5000 };
/** Of all together. */
const ALL = { burst: 1000, everyMs: 20 };
/** Callers told apart at a time; beyond, all further ones share one place. */
const MAX_CALLERS = 4096;
/** Reasons are closed sets; this is above all of them together. */
const MAX_KINDS = 256;

/** The brake. */
export interface RefusalBrake {
  /** True: write it. False: it was counted. */
  take(event: AuditEventName, fields: AuditFields): boolean;
  /** What was only counted since the last call, and forgets it. */
  counted(): readonly { readonly of: string; readonly reason: string; readonly count: number }[];
}

/** `monoMs` gives monotonic time. */
export function createRefusalBrake(monoMs: () => number): RefusalBrake {
  /** Monotonic instant at which a caller's burst is whole again. */
  const wholeAt = new Map<string, number>();
  const counts = new Map<string, { readonly of: string; readonly reason: string; count: number }>();
  let allWholeAt = 0;

  function spend(whole: number, now: number, { burst, everyMs }: typeof OWN): number | null {
    const next = Math.max(whole, now) + everyMs;
    return next - now > burst * everyMs ? null : next;
  }

  function placeOf(key: string, now: number): string {
    if (wholeAt.has(key) || wholeAt.size < MAX_CALLERS) return key;
    for (const [other, whole] of wholeAt) if (whole <= now) wholeAt.delete(other);
    return wholeAt.size < MAX_CALLERS ? key : "";
  }

  return {
    take(event, { reason, identity, peer }) {
      const now = monoMs();
      const key = placeOf(`${event} ${reason} ${identity} ${hostOf(peer)}`, now);
      const own = spend(wholeAt.get(key) ?? 0, now, OWN);
      const all = spend(allWholeAt, now, ALL);
      if (own !== null && all !== null) {
        wholeAt.set(key, own);
        allWholeAt = all;
        return true;
      }
      const kind = `${event} ${reason}`;
      const known = counts.get(kind) ?? { of: event, reason: String(reason), count: 0 };
      known.count += 1;
      if (counts.has(kind) || counts.size < MAX_KINDS) counts.set(kind, known);
      return false;
    },
    counted() {
      const all = [...counts.values()];
      counts.clear();
      return all;
    },
  };
}

function hostOf(peer: AuditFields[string] | undefined): string {
  return typeof peer === "string" ? peer.replace(/:\d+$/, "") : "";
}
