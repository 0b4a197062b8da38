// Local rate limits (design 10): GCRA, one bounded table per rule, every rule checked before any is charged. Owns the decision and the fields of a
// refusal; the grammar is `core/policy/rate-limit-rules.ts`, status codes are `sidecar/rescue.ts`.
//
// HOT PATH: per request one monotonic clock read and, per matching rule, two hash lookups and a few float operations. An allowed
// request allocates nothing; fields are printed for refusals only (the draft allows that, and most requests are allowed).
import type { Clock } from "../../core/clock.ts";
import { createGcraTable, type GcraTable } from "./gcra-table.ts";
import { createPathMatch, type PathMatch } from "./path-match.ts";
import type { RateLimitRule } from "../../core/policy/rate-limit-rules.ts";

export { formatRateLimits, parseRateLimits, type RateLimitRule, type RateLimitScope } from "../../core/policy/rate-limit-rules.ts";

/** Keys held per rule unless told otherwise. */
const DEFAULT_MAX_KEYS = 10_000;

const MAPPED_PREFIX = "::ffff:";

/** What the rules look at. */
export interface RateLimitRequest {
  /** The verified caller; empty for a caller without identity. All such callers share one bucket. */
  readonly identity: string;
  /** The client's address; a v4-mapped one counts as IPv4. IPv6 addresses are not aggregated: pods share a /64. */
  readonly ip: string;
  /** Origin-form target in the form of `canonicalPath`; empty for a connection that is not HTTP. */
  readonly path: string;
  readonly method: string;
}

/** The decision. */
export interface RateLimitAnswer {
  readonly allowed: boolean;
  /** The first shadow rule that would have refused, or null. */
  readonly shadowed: RateLimitRule | null;
  /** The rule that refused (the one to wait for longest), or null when allowed. */
  readonly refusedBy: RateLimitRule | null;
  /** Until a request like this is allowed again; 0 when allowed. */
  readonly retryAfterMs: number;
  /**
   * Fields for the answer of a refused request, lower case: `retry-after` (whole seconds, rounded up), `ratelimit-policy` and `ratelimit`
   * (draft-ietf-httpapi-ratelimit-headers-10). Empty when allowed.
   */
  readonly headers: Readonly<Record<string, string>>;
}

/** Checks requests against rules. */
export interface RateLimiter {
  /** True when what is refused depends on the path: one without a canonical form must be refused before `check`, which could not tell where it leads. */
  readonly matchesPaths: boolean;
  /** Decides on one request and, when every enforced rule allows it, charges it to each rule that matches. */
  check(request: RateLimitRequest): RateLimitAnswer;
}

/** A rule made ready: precomputed numbers and its table. */
interface Gauge {
  readonly rule: RateLimitRule;
  readonly table: GcraTable;
  readonly path: PathMatch | null;
  /** Time one request costs. */
  readonly intervalMs: number;
  /** How far ahead of now the TAT may run: burst × interval. */
  readonly toleranceMs: number;
  /** The `RateLimit-Policy` item. */
  readonly policyItem: string;
  readonly shadowAnswer: RateLimitAnswer;
  /** TAT that this request would leave behind; NaN when the rule does not take part. Scratch, valid during one check. */
  nextTatMonoMs: number;
  /** The bucket's key. Scratch, valid during one check. */
  key: string;
}

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});
const ALLOWED: RateLimitAnswer = Object.freeze({ allowed: true, shadowed: null, refusedBy: null, retryAfterMs: 0, headers: NO_HEADERS });

/**
 * Makes a limiter. `maxKeys` (default 10 000) bounds each rule's table; at the bound the least recently allowed key starts afresh. `tables` are used
 * instead where the cells lie elsewhere: one per rule, in order.
 */
export function createRateLimiter(options: {
  readonly rules: readonly RateLimitRule[];
  readonly clock: Clock;
  readonly maxKeys?: number;
  readonly tables?: readonly GcraTable[];
}): RateLimiter {
  const { clock } = options;
  const gauges = options.rules.map((rule, index) =>
    createGauge(rule, options.tables?.[index] ?? createGcraTable(rule.per === "all" ? 1 : (options.maxKeys ?? DEFAULT_MAX_KEYS))),
  );
  if (gauges.length === 0) return { matchesPaths: false, check: () => ALLOWED };

  return {
    // A shadow rule refuses nothing, so none of the paths that it cannot read either.
    matchesPaths: gauges.some(({ rule }) => rule.path !== null && !rule.shadow),
    check(request) {
      const nowMonoMs = clock.monoMs();
      let refusing: Gauge | null = null;
      let longestWaitMs = 0;
      let shadowed: Gauge | null = null;
      for (const gauge of gauges) {
        gauge.nextTatMonoMs = Number.NaN;
        if (!matches(gauge, request)) continue;
        gauge.key = bucketKey(gauge.rule, request);
        const nextTatMonoMs = Math.max(gauge.table.read(gauge.key), nowMonoMs) + gauge.intervalMs;
        const waitMs = nextTatMonoMs - nowMonoMs - gauge.toleranceMs;
        if (waitMs <= ROUNDING_MS) gauge.nextTatMonoMs = nextTatMonoMs;
        else if (gauge.rule.shadow) shadowed ??= gauge;
        else if (waitMs > longestWaitMs) {
          longestWaitMs = waitMs;
          refusing = gauge;
        }
      }
      if (refusing !== null) return refusal(refusing, longestWaitMs, shadowed);
      charge(gauges);
      return shadowed === null ? ALLOWED : shadowed.shadowAnswer;
    },
  };
}

/** Sums of intervals such as 1000/3 ms do not come out even; without this slack the last request of a burst would be lost to rounding. */
const ROUNDING_MS = 1e-6;

function createGauge(rule: RateLimitRule, table: GcraTable): Gauge {
  const intervalMs = rule.unitMs / rule.count;
  return {
    rule,
    table,
    path: rule.path === null ? null : createPathMatch(rule.path),
    intervalMs,
    toleranceMs: intervalMs * rule.burst,
    policyItem: `"${rule.name}";q=${rule.count};w=${rule.unitMs / 1_000}`,
    shadowAnswer: Object.freeze({ allowed: true, shadowed: rule, refusedBy: null, retryAfterMs: 0, headers: NO_HEADERS }),
    nextTatMonoMs: Number.NaN,
    key: "",
  };
}

function matches(gauge: Gauge, request: RateLimitRequest): boolean {
  if (gauge.rule.method !== null && gauge.rule.method !== request.method) return false;
  return gauge.path === null || gauge.path(request.path);
}

function bucketKey(rule: RateLimitRule, request: RateLimitRequest): string {
  if (rule.per === "identity") return request.identity;
  if (rule.per === "ip") return request.ip.startsWith(MAPPED_PREFIX) ? request.ip.slice(MAPPED_PREFIX.length) : request.ip;
  return "";
}

function charge(gauges: readonly Gauge[]): void {
  for (const gauge of gauges) {
    if (!Number.isNaN(gauge.nextTatMonoMs)) gauge.table.write(gauge.key, gauge.nextTatMonoMs);
  }
}

function refusal(gauge: Gauge, waitMs: number, shadowed: Gauge | null): RateLimitAnswer {
  const seconds = Math.max(1, Math.ceil(waitMs / 1_000));
  return {
    allowed: false,
    shadowed: shadowed === null ? null : shadowed.rule,
    refusedBy: gauge.rule,
    retryAfterMs: waitMs,
    headers: {
      "retry-after": String(seconds),
      "ratelimit-policy": gauge.policyItem,
      ratelimit: `"${gauge.rule.name}";r=0;t=${seconds}`,
    },
  };
}
