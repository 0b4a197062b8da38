// The rate-limit grammar (design 10): `100/s burst=200 per=identity path=/api/ method=POST; 20/s per=ip shadow`.
// Owns reading and printing of rules; what a rule does to a request is `sidecar/policy/rate-limit.ts`.
import type { ConfigError } from "../errors.ts";
import { canonicalPrefix } from "./canonical-prefix.ts";
import { type RuleGrammar, type RuleWord, readMethod, readRules, ruleMistake } from "./rule-list.ts";

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
  return readRules(text, GRAMMAR);
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

const NAME = "rate limit";

const GRAMMAR: RuleGrammar<Mutable<RateLimitRule>> = {
  name: NAME,
  plural: "rules",
  maxRules: MAX_RULES,
  options: "burst=, per=, path=, method=, shadow",
  example: "a rate such as 100/s",
  begin(words, number) {
    const rate = words.shift() as RuleWord; // there is at least one
    return { name: `rate-${number}`, ...parseRate(rate) };
  },
  set: applyOption,
};

function parseRate(word: RuleWord): Omit<RateLimitRule, "name"> {
  const match = /^([0-9]+)\/([smhd])$/.exec(word.text);
  if (match === null) throw mistake(word, "COUNT/UNIT with UNIT one of s, m, h, d, such as 100/s");
  const unit = match[2] as Unit; // the expression allows nothing else
  const count = parseCount(match[1] ?? "", word);
  return { count, unit, unitMs: UNIT_MS[unit], burst: count, per: "all", path: null, method: null, shadow: false };
}

function applyOption(rule: Mutable<RateLimitRule>, word: RuleWord): boolean {
  const { key, value } = word;
  if (key === "shadow" && value === null) rule.shadow = true;
  else if (key === "burst" && value !== null) rule.burst = parseCount(value, word);
  else if (key === "per" && value !== null) rule.per = parseScope(value, word);
  else if (key === "path" && value !== null) rule.path = parsePath(value, word);
  else if (key === "method" && value !== null) rule.method = readMethod(NAME, word);
  else return false;
  return true;
}

function parseCount(digits: string, word: RuleWord): number {
  const count = /^[0-9]{1,10}$/.test(digits) ? Number(digits) : Number.NaN;
  if (!(count >= 1 && count <= MAX_COUNT)) throw mistake(word, `a whole number from 1 to ${MAX_COUNT}`);
  return count;
}

function parseScope(value: string, word: RuleWord): RateLimitScope {
  const scope = SCOPES.find((candidate) => candidate === value);
  if (scope === undefined) throw mistake(word, `per=${SCOPES.join(", per=")}`);
  return scope;
}

function parsePath(value: string, word: RuleWord): string {
  if (!PATH.test(value)) throw mistake(word, "a path prefix that begins with /, visible ASCII only");
  const prefix = canonicalPrefix(value);
  if (prefix === null)
    throw mistake(word, "a path prefix with one reading: no # or \\, no escapes of / \\ and controls, nothing escaped twice");
  return prefix;
}

function mistake(word: RuleWord, allowed: string): ConfigError {
  return ruleMistake(NAME, word, allowed);
}
