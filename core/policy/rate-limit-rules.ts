// The rate-limit grammar (design 10): `100/s burst=200 per=identity path=/api/ method=POST; 20/s per=ip shadow`.
// Owns reading and printing of rules; what a rule does to a request is `sidecar/policy/rate-limit.ts`.
import { ConfigError } from "../errors.ts";
import { canonicalPrefix } from "./canonical-prefix.ts";

/** Who shares one bucket of a rule: each verified caller, each client address, or everybody. */
export type RateLimitScope = "identity" | "ip" | "all";

/** Length of a unit in milliseconds. */
const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
type Unit = keyof typeof UNIT_MS;

/** Largest `count` and `burst`. */
const MAX_COUNT = 1_000_000_000;

/** Most rules in one text: each costs a table. */
const MAX_RULES = 32;

const SCOPES: readonly RateLimitScope[] = ["identity", "ip", "all"];
const OPTIONS = "burst=, per=, path=, method=, shadow";
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/; // RFC 9110 5.6.2
const PATH = /^\/[!-~]*$/;

/** One rule. Immutable. */
export interface RateLimitRule {
  /** `rate-<n>`, n counting from 1 in the order written: the policy's name in headers, logs and metrics. */
  readonly name: string;
  /** Requests per unit, 1..1e9. */
  readonly count: number;
  readonly unit: Unit;
  /** Length of the unit in ms. */
  readonly unitMs: number;
  /** Requests that may come at once, 1..1e9; default: `count`. */
  readonly burst: number;
  /** Default: `all`. */
  readonly per: RateLimitScope;
  /** Only paths that begin with this (query included), or null for all. Begins with `/`, canonical however it was written. */
  readonly path: string | null;
  /** Only this method (upper case), or null for all. */
  readonly method: string | null;
  /** Counts what it would refuse and refuses nothing. */
  readonly shadow: boolean;
}

/**
 * Reads a list of rules separated by `;`. An empty text is no rule.
 * @throws ConfigError("invalid_value") naming the position (1-based column), the value and what is allowed.
 */
export function parseRateLimits(text: string): readonly RateLimitRule[] {
  const rules: RateLimitRule[] = [];
  if (text.trim() === "") return rules;
  let start = 0;
  for (const part of text.split(";")) {
    if (rules.length === MAX_RULES) throw mistake(start, part.trim(), `at most ${MAX_RULES} rules`);
    rules.push(parseRule(part, start, rules.length + 1));
    start += part.length + 1;
  }
  return rules;
}

/** Prints rules in the grammar: `parseRateLimits(formatRateLimits(rules))` gives equal rules. */
export function formatRateLimits(rules: readonly RateLimitRule[]): string {
  return rules.map(formatRule).join("; ");
}

function formatRule(rule: RateLimitRule): string {
  const parts = [`${rule.count}/${rule.unit}`, `burst=${rule.burst}`, `per=${rule.per}`];
  if (rule.path !== null) parts.push(`path=${rule.path}`);
  if (rule.method !== null) parts.push(`method=${rule.method}`);
  if (rule.shadow) parts.push("shadow");
  return parts.join(" ");
}

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

function parseRule(part: string, offset: number, number: number): RateLimitRule {
  const words = [...part.matchAll(/\S+/g)];
  const rate = words.shift();
  if (rate === undefined) throw mistake(offset, "", "a rate such as 100/s between the semicolons");
  const rule: Mutable<RateLimitRule> = { name: `rate-${number}`, ...parseRate(rate[0], offset + rate.index) };
  const seen = new Set<string>();
  for (const word of words) {
    const key = applyOption(rule, word[0], offset + word.index);
    if (seen.has(key)) throw mistake(offset + word.index, word[0], `each of ${OPTIONS} once`);
    seen.add(key);
  }
  return rule;
}

function parseRate(text: string, offset: number): Omit<RateLimitRule, "name"> {
  const match = /^([0-9]+)\/([smhd])$/.exec(text);
  if (match === null) throw mistake(offset, text, "COUNT/UNIT with UNIT one of s, m, h, d, such as 100/s");
  const unit = match[2] as Unit; // the expression allows nothing else
  const count = parseCount(match[1] ?? "", text, offset);
  return { count, unit, unitMs: UNIT_MS[unit], burst: count, per: "all", path: null, method: null, shadow: false };
}

/** Sets one option and returns its key. */
function applyOption(rule: Mutable<RateLimitRule>, word: string, offset: number): string {
  const equals = word.indexOf("=");
  const key = equals < 0 ? word : word.slice(0, equals);
  const value = equals < 0 ? null : word.slice(equals + 1);
  if (key === "shadow" && value === null) rule.shadow = true;
  else if (key === "burst" && value !== null) rule.burst = parseCount(value, word, offset);
  else if (key === "per" && value !== null) rule.per = parseScope(value, word, offset);
  else if (key === "path" && value !== null) rule.path = parsePath(value, word, offset);
  else if (key === "method" && value !== null) rule.method = parseMethod(value, word, offset);
  else throw mistake(offset, word, OPTIONS);
  return key;
}

function parseCount(digits: string, word: string, offset: number): number {
  const count = /^[0-9]{1,10}$/.test(digits) ? Number(digits) : Number.NaN;
  if (!(count >= 1 && count <= MAX_COUNT)) throw mistake(offset, word, `a whole number from 1 to ${MAX_COUNT}`);
  return count;
}

function parseScope(value: string, word: string, offset: number): RateLimitScope {
  const scope = SCOPES.find((candidate) => candidate === value);
  if (scope === undefined) throw mistake(offset, word, `per=${SCOPES.join(", per=")}`);
  return scope;
}

function parsePath(value: string, word: string, offset: number): string {
  if (!PATH.test(value)) throw mistake(offset, word, "a path prefix that begins with /, visible ASCII only");
  const prefix = canonicalPrefix(value);
  if (prefix === null)
    throw mistake(offset, word, "a path prefix with one reading: no # or \\, no escapes of / \\ and controls, nothing escaped twice");
  return prefix;
}

function parseMethod(value: string, word: string, offset: number): string {
  if (!TOKEN.test(value) || value !== value.toUpperCase()) throw mistake(offset, word, "one method in upper case, such as POST");
  return value;
}

function mistake(offset: number, value: string, allowed: string): ConfigError {
  const shown = value.slice(0, 100);
  return new ConfigError(
    "invalid_value",
    `rate limit, column ${offset + 1}: ${shown === "" ? "nothing there" : `"${shown}"`}; allowed: ${allowed}`,
    {
      fields: { position: offset + 1, value: shown, allowed },
    },
  );
}
