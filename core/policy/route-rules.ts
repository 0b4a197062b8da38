// The grammar of routes (design 4, "route and timeout"): `service=orders path=/shop.Orders/ method=POST timeout=2s retry=idempotent; service=pay/* timeout=1s`.
// Owns reading and printing of rules; which one a request gets is `sidecar/policy/routes.ts`.
import { formatDuration, parseDurationMs } from "../duration.ts";
import { ConfigError } from "../errors.ts";
import { canonicalPrefix } from "./canonical-prefix.ts";

/** Which requests may be sent again: those that nobody has looked at, or, declared idempotent, also those that failed. */
export const RETRY_MODES = ["undelivered", "idempotent"] as const;
/** One of {@link RETRY_MODES}. */
export type RetryMode = (typeof RETRY_MODES)[number];

/** Most rules in one text: a request is compared with each. */
const MAX_RULES = 64;
/** Most times that a request is sent. */
const MAX_ATTEMPTS = 10;
const MAX_TIMEOUT_MS = 86_400_000;

const OPTIONS = "service=, path=, method=, timeout=, answer-timeout=, idle-timeout=, retry=, attempts=";
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // RFC 9110 5.6.2
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
  const rules: RouteRule[] = [];
  if (text.trim() === "") return rules;
  let start = 0;
  for (const part of text.split(";")) {
    if (rules.length === MAX_RULES) throw mistake(start, part.trim(), `at most ${MAX_RULES} routes`);
    rules.push(parseRule(part, start));
    start += part.length + 1;
  }
  return rules;
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

function parseRule(part: string, offset: number): RouteRule {
  const words = [...part.matchAll(/\S+/g)];
  if (words.length === 0) throw mistake(offset, "", "a route such as service=orders timeout=2s between the semicolons");
  const rule: Mutable<RouteRule> = {
    service: null,
    path: null,
    method: null,
    timeoutMs: null,
    answerTimeoutMs: null,
    idleTimeoutMs: null,
    retry: null,
    attempts: null,
  };
  const seen = new Set<string>();
  for (const word of words) {
    const key = applyOption(rule, word[0], offset + word.index);
    if (seen.has(key)) throw mistake(offset + word.index, word[0], `each of ${OPTIONS} once`);
    seen.add(key);
  }
  return rule;
}

/** Sets one option and returns its key. */
function applyOption(rule: Mutable<RouteRule>, word: string, offset: number): string {
  const equals = word.indexOf("=");
  const key = equals < 0 ? word : word.slice(0, equals);
  const value = equals < 0 ? "" : word.slice(equals + 1);
  switch (key) {
    case "service":
      rule.service = parseService(value, word, offset);
      break;
    case "path":
      rule.path = parsePath(value, word, offset);
      break;
    case "method":
      rule.method = parseMethod(value, word, offset);
      break;
    case "timeout":
      rule.timeoutMs = parseTimeout(value, word, offset);
      break;
    case "answer-timeout":
      rule.answerTimeoutMs = parseTimeout(value, word, offset);
      break;
    case "idle-timeout":
      rule.idleTimeoutMs = parseTimeout(value, word, offset);
      break;
    case "retry":
      rule.retry = parseRetry(value, word, offset);
      break;
    case "attempts":
      rule.attempts = parseAttempts(value, word, offset);
      break;
    default:
      throw mistake(offset, word, OPTIONS);
  }
  return key;
}

function parseService(value: string, word: string, offset: number): string {
  if (value.length <= 253 && SERVICE.test(value) && value !== "*") return value;
  throw mistake(offset, word, "service=NAME, service=NAMESPACE/NAME or service=NAMESPACE/*, in lower case");
}

function parsePath(value: string, word: string, offset: number): string {
  const prefix = PATH.test(value) ? canonicalPrefix(value) : null;
  if (prefix !== null) return prefix;
  throw mistake(offset, word, "a path prefix that begins with /, visible ASCII only, without # \\ and what has two readings");
}

function parseMethod(value: string, word: string, offset: number): string {
  if (TOKEN.test(value) && value === value.toUpperCase()) return value;
  throw mistake(offset, word, "one method in upper case, such as POST");
}

function parseTimeout(value: string, word: string, offset: number): number {
  const ms = durationOrNaN(value);
  if (ms <= MAX_TIMEOUT_MS) return ms;
  throw mistake(offset, word, "a time with its unit, such as 250ms or 2s, at most 1d; 0s for none");
}

/** The reason is dropped: what is allowed is said by the caller. */
function durationOrNaN(value: string): number {
  try {
    return parseDurationMs(value);
  } catch {
    return Number.NaN;
  }
}

function parseRetry(value: string, word: string, offset: number): RetryMode {
  const mode = RETRY_MODES.find((candidate) => candidate === value);
  if (mode === undefined) throw mistake(offset, word, `retry=${RETRY_MODES.join(", retry=")}`);
  return mode;
}

function parseAttempts(value: string, word: string, offset: number): number {
  const attempts = /^[0-9]{1,2}$/.test(value) ? Number(value) : 0;
  if (attempts >= 1 && attempts <= MAX_ATTEMPTS) return attempts;
  throw mistake(offset, word, `a whole number from 1 (never again) to ${MAX_ATTEMPTS}`);
}

function mistake(offset: number, value: string, allowed: string): ConfigError {
  const shown = value.slice(0, 100);
  return new ConfigError(
    "invalid_value",
    `routes, column ${offset + 1}: ${shown === "" ? "nothing there" : `"${shown}"`}; allowed: ${allowed}`,
    {
      fields: { position: offset + 1, value: shown, allowed },
    },
  );
}
