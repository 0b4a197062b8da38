// The grammar of routes (design 4, "route and timeout"): `service=orders path=/shop.Orders/ method=POST timeout=2s retry=idempotent; service=pay/* timeout=1s`.
// Owns reading and printing of rules; which one a request gets is `sidecar/policy/routes.ts`.
import { formatDuration, parseDurationMs } from "../duration.ts";
import type { ConfigError } from "../errors.ts";
import { canonicalPrefix } from "./canonical-prefix.ts";
import { type RuleGrammar, type RuleWord, readMethod, readRules, ruleMistake } from "./rule-list.ts";

/** Which requests may be sent again: those that nobody has looked at, or, declared idempotent, also those that failed. */
export const RETRY_MODES = ["undelivered", "idempotent"] as const;
/** One of {@link RETRY_MODES}. */
export type RetryMode = (typeof RETRY_MODES)[number];

/** Most rules in one text: a request is compared with each. */
const MAX_RULES = 64;
/** Most times that a request is sent. */
const MAX_ATTEMPTS = 10;
const MAX_TIMEOUT_MS = 86_400_000;

const PATH = /^\/[!-~]*$/;
const SERVICE = /^(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?\/)?(?:[a-z0-9_](?:[a-z0-9._-]*[a-z0-9_])?|\*)$/;

/** One rule. Immutable. What it leaves open (null) is as the settings say. */
export interface RouteRule {
  /** `name` (of the own namespace, or a host outside of the mesh), `namespace/name`, `namespace/*`, or null for all. */
  readonly service: string | null;
  /** Only paths that begin with this (query included), or null for all. Begins with `/`, canonical however it was written. */
  readonly path: string | null;
  /** Only this method (upper case), or null for all. */
  readonly method: string | null;
  /** Time for the whole request; 0 for none. */
  readonly timeoutMs: number | null;
  /** Time for the head of the answer; 0 for none. */
  readonly answerTimeoutMs: number | null;
  /** Longest time in which nothing moves; 0 for none. */
  readonly idleTimeoutMs: number | null;
  readonly retry: RetryMode | null;
  /** Times that the request may be sent, the first included: 1..10. */
  readonly attempts: number | null;
}

/**
 * Reads a list of rules separated by `;`. An empty text is no rule.
 * @throws ConfigError("invalid_value") naming the position (1-based column), the value and what is allowed.
 */
export function parseRoutes(text: string): readonly RouteRule[] {
  return readRules(text, GRAMMAR);
}

/** Prints rules in the grammar: `parseRoutes(formatRoutes(rules))` gives equal rules. */
export function formatRoutes(rules: readonly RouteRule[]): string {
  return rules.map(formatRule).join("; ");
}

function formatRule(rule: RouteRule): string {
  const options: readonly [string, string | number | null][] = [
    ["service", rule.service],
    ["path", rule.path],
    ["method", rule.method],
    ["timeout", rule.timeoutMs === null ? null : formatDuration(rule.timeoutMs)],
    ["answer-timeout", rule.answerTimeoutMs === null ? null : formatDuration(rule.answerTimeoutMs)],
    ["idle-timeout", rule.idleTimeoutMs === null ? null : formatDuration(rule.idleTimeoutMs)],
    ["retry", rule.retry],
    ["attempts", rule.attempts],
  ];
  return options.flatMap(([key, value]) => (value === null ? [] : [`${key}=${value}`])).join(" ");
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

const NAME = "routes";

const GRAMMAR: RuleGrammar<Mutable<RouteRule>> = {
  name: NAME,
  plural: "routes",
  maxRules: MAX_RULES,
  options: "service=, path=, method=, timeout=, answer-timeout=, idle-timeout=, retry=, attempts=",
  example: "a route such as service=orders timeout=2s",
  begin: () => ({
    service: null,
    path: null,
    method: null,
    timeoutMs: null,
    answerTimeoutMs: null,
    idleTimeoutMs: null,
    retry: null,
    attempts: null,
  }),
  set: applyOption,
};

function applyOption(rule: Mutable<RouteRule>, word: RuleWord): boolean {
  switch (word.key) {
    case "service":
      rule.service = parseService(word);
      return true;
    case "path":
      rule.path = parsePath(word);
      return true;
    case "method":
      rule.method = readMethod(NAME, word);
      return true;
    case "timeout":
      rule.timeoutMs = parseTimeout(word);
      return true;
    case "answer-timeout":
      rule.answerTimeoutMs = parseTimeout(word);
      return true;
    case "idle-timeout":
      rule.idleTimeoutMs = parseTimeout(word);
      return true;
    case "retry":
      rule.retry = parseRetry(word);
      return true;
    case "attempts":
      rule.attempts = parseAttempts(word);
      return true;
    default:
      return false;
  }
}

function parseService(word: RuleWord): string {
  const service = word.value ?? "";
  if (service.length <= 253 && SERVICE.test(service) && service !== "*") return service;
  throw mistake(word, "service=NAME, service=NAMESPACE/NAME or service=NAMESPACE/*, in lower case");
}

function parsePath(word: RuleWord): string {
  const path = word.value ?? "";
  const prefix = PATH.test(path) ? canonicalPrefix(path) : null;
  if (prefix !== null) return prefix;
  throw mistake(word, "a path prefix that begins with /, visible ASCII only, without # \\ and what has two readings");
}

function parseTimeout(word: RuleWord): number {
  const ms = durationOrNaN(word.value ?? "");
  if (ms <= MAX_TIMEOUT_MS) return ms;
  throw mistake(word, "a time with its unit, such as 250ms or 2s, at most 1d; 0s for none");
}

/** The reason is dropped: what is allowed is said by the caller. */
function durationOrNaN(value: string): number {
  try {
    return parseDurationMs(value);
  } catch {
    return Number.NaN;
  }
}

function parseRetry(word: RuleWord): RetryMode {
  const mode = RETRY_MODES.find((candidate) => candidate === word.value);
  if (mode === undefined) throw mistake(word, `retry=${RETRY_MODES.join(", retry=")}`);
  return mode;
}

function parseAttempts(word: RuleWord): number {
  const attempts = /^[0-9]{1,2}$/.test(word.value ?? "") ? Number(word.value) : 0;
  if (attempts >= 1 && attempts <= MAX_ATTEMPTS) return attempts;
  throw mistake(word, `a whole number from 1 (never again) to ${MAX_ATTEMPTS}`);
}

function mistake(word: RuleWord, allowed: string): ConfigError {
  return ruleMistake(NAME, word, allowed);
}
