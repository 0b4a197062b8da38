// What the heartbeats said about each version, added up look by look. Heartbeats carry totals since the sidecar's start, so the difference of two
// looks is exact however many heartbeats lie between. Older cases weigh less and less; what is no longer there keeps its last weight, because the
// old version's figures of a workload that has moved on are what its new ones are compared with.
import { ratioOf, type Share } from "./proportion.ts";

/** Time in which a case loses half of its weight, while newer ones come. */
const HALF_LIFE_MS = 10 * 60_000;
/** Cases that the past of an instance counts for at most when it is seen for the first time: it may have run for weeks. */
const PAST_MOST = 10_000;
/** Time that is assumed before the first look at an instance without totals; about one heartbeat. */
const FIRST_LOOK_MS = 5_000;
/** What was not seen for so long is forgotten. */
const FORGET_MS = 6 * 3600_000;
/** Instances and workloads that are remembered at most; the longest unseen ones go first. */
const MAX_KEYS = 50_000;
/** Requests that a workload needs to be compared with itself rather than with all. */
const OWN_REQUESTS = 50;

/** One instance as the registry shows it. */
export interface SeenInstance {
  readonly instanceId: string;
  readonly epoch: number;
  readonly version: string;
  /** Any text that is the same for all instances of a workload. */
  readonly workload: string;
  /** Null where the asked replica does not know it. */
  readonly load: SeenLoad | null;
}

/** The part of a heartbeat's load that is counted. Totals are 0 from versions that do not send them. */
export interface SeenLoad {
  readonly requests: number;
  readonly errors: number;
  readonly refused: number;
  readonly rps: number;
  /** 0..1 */
  readonly errorRatio: number;
}

/** Requests and refusals of one version. */
export interface Traffic {
  readonly errors: Share;
  readonly refused: Share;
  readonly podsWithErrors: number;
  readonly podsWithRefusals: number;
}

/** Adds looks up. */
export interface Tally {
  /** One look at everything that is there. `nowMs` never goes back. */
  observe(instances: readonly SeenInstance[], nowMs: number): void;
  /** All that was seen of a version. */
  traffic(version: string): Traffic;
  /** What `version` would have shown with the workloads that `other` has: each compared with itself where enough is known of it. */
  trafficLike(version: string, other: string): Traffic;
}

interface Counts {
  requests: number;
  errors: number;
  refused: number;
  seenMs: number;
}

interface Known extends Counts {
  epoch: number;
  version: string;
  failed: boolean;
  refusedAny: boolean;
}

/** Makes an empty tally. */
export function createTally(): Tally {
  const instances = new Map<string, Known>();
  /** By version, then by workload. */
  const versions = new Map<string, Map<string, Counts>>();

  function countsOf(version: string, workload: string, nowMs: number): Counts {
    const workloads = versions.get(version) ?? new Map<string, Counts>();
    versions.set(version, workloads);
    const counts = workloads.get(workload) ?? { requests: 0, errors: 0, refused: 0, seenMs: nowMs };
    workloads.set(workload, counts);
    return counts;
  }

  function observeOne({ instanceId, epoch, version, load }: SeenInstance, counts: Counts, nowMs: number): void {
    const before = instances.get(instanceId);
    const isSame = before !== undefined && before.epoch === epoch && before.version === version;
    const known: Known = isSame
      ? before
      : { epoch, version, requests: 0, errors: 0, refused: 0, seenMs: nowMs, failed: false, refusedAny: false };
    if (load !== null) {
      const delta = deltaOf(load, known, isSame ? nowMs - known.seenMs : FIRST_LOOK_MS, isSame);
      counts.requests += delta.requests;
      counts.errors += delta.errors;
      counts.refused += delta.refused;
      known.failed ||= delta.errors > 0;
      known.refusedAny ||= delta.refused > 0;
      known.requests = load.requests;
      known.errors = load.errors;
      known.refused = load.refused;
    }
    known.seenMs = nowMs;
    // Put anew, so that the order of the map is the order in which instances were seen.
    instances.delete(instanceId);
    instances.set(instanceId, known);
  }

  function forget(nowMs: number): void {
    for (const [id, known] of instances) {
      if (nowMs - known.seenMs < FORGET_MS && instances.size <= MAX_KEYS) break;
      instances.delete(id);
    }
    for (const [version, workloads] of versions) {
      for (const [workload, counts] of workloads)
        if (nowMs - counts.seenMs >= FORGET_MS || workloads.size > MAX_KEYS) workloads.delete(workload);
      if (workloads.size === 0) versions.delete(version);
    }
  }

  function witnesses(version: string): Pick<Traffic, "podsWithErrors" | "podsWithRefusals"> {
    let [podsWithErrors, podsWithRefusals] = [0, 0];
    for (const known of instances.values()) {
      if (known.version !== version) continue;
      if (known.failed) podsWithErrors += 1;
      if (known.refusedAny) podsWithRefusals += 1;
    }
    return { podsWithErrors, podsWithRefusals };
  }

  function total(version: string): Omit<Counts, "seenMs"> {
    const sum = { requests: 0, errors: 0, refused: 0 };
    for (const { requests, errors, refused } of versions.get(version)?.values() ?? []) {
      sum.requests += requests;
      sum.errors += errors;
      sum.refused += refused;
    }
    return sum;
  }

  return {
    observe(seen, nowMs) {
      const touched = new Set<Counts>();
      for (const instance of seen) {
        const counts = countsOf(instance.version, instance.workload, nowMs);
        if (!touched.has(counts)) age(counts, nowMs);
        touched.add(counts);
        observeOne(instance, counts, nowMs);
      }
      forget(nowMs);
    },
    traffic: (version) => ({ ...sharesOf(total(version)), ...witnesses(version) }),
    trafficLike(version, other) {
      const whole = sharesOf(total(version));
      const own = versions.get(version);
      const [errors, refused] = [createBlend(), createBlend()];
      for (const [workload, counts] of versions.get(other) ?? []) {
        const before = own?.get(workload);
        const shares = before !== undefined && before.requests >= OWN_REQUESTS ? sharesOf(before) : null;
        errors.add(counts.requests, shares?.errors ?? null);
        refused.add(counts.requests + counts.refused, shares?.refused ?? null);
      }
      return { errors: errors.share(whole.errors), refused: refused.share(whole.refused), ...witnesses(version) };
    },
  };
}

/** What came since the last look. */
function deltaOf(load: SeenLoad, known: Known, elapsedMs: number, isSame: boolean): Omit<Counts, "seenMs"> {
  if (load.requests === 0 && load.refused === 0 && load.rps > 0) {
    // A version that sends no totals: its rate stands for the whole time.
    const requests = (load.rps * elapsedMs) / 1000;
    return { requests, errors: requests * load.errorRatio, refused: 0 };
  }
  const since = (now: number, before: number) => Math.max(0, now - before);
  const delta = {
    requests: since(load.requests, known.requests),
    errors: since(load.errors, known.errors),
    refused: since(load.refused, known.refused),
  };
  const cases = delta.requests + delta.refused;
  if (isSame || cases <= PAST_MOST) return delta;
  const scale = PAST_MOST / cases;
  return { requests: delta.requests * scale, errors: delta.errors * scale, refused: delta.refused * scale };
}

function age(counts: Counts, nowMs: number): void {
  const weight = 0.5 ** (Math.max(0, nowMs - counts.seenMs) / HALF_LIFE_MS);
  counts.requests *= weight;
  counts.errors *= weight;
  counts.refused *= weight;
  counts.seenMs = nowMs;
}

function sharesOf({ requests, errors, refused }: Omit<Counts, "seenMs">): Pick<Traffic, "errors" | "refused"> {
  return { errors: { count: Math.min(errors, requests), of: requests }, refused: { count: refused, of: requests + refused } };
}

/** A mean of shares with the weights of another version, and about as many cases as it stands on. */
function createBlend() {
  let [weighted, weights, cases, unknown] = [0, 0, 0, 0];
  return {
    /** `share` null: nothing is known of this workload by itself. */
    add(weight: number, share: Share | null): void {
      weights += weight;
      if (share === null) {
        unknown += weight;
        return;
      }
      weighted += weight * ratioOf(share);
      cases += share.of;
    },
    share(whole: Share): Share {
      if (weights === 0) return whole;
      const of = cases + (unknown / weights) * whole.of;
      return { count: ((weighted + unknown * ratioOf(whole)) / weights) * of, of };
    },
  };
}
