// The grammar of who may learn where a service is (setting REMORA_WATCH_ROLES): `who=shop/* what=shop/*,pay/api; who=ops/admin what=*`. Owns reading it and the yes
// or no. It is about knowing, not about calling: who may call a workload is said at the workload, by `remora.io/allow`.
import { ConfigError } from "../errors.ts";
import type { SpiffeId } from "../spiffe.ts";
import { type AccessList, CALLER_FORMS, formatAccessList, isListed, parseAccessList } from "./access-list.ts";

const MAX_RULES = 1000;
const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const SERVICE = new RegExp(`^(${LABEL})/(\\*|${LABEL})$`);
const ALLOWED = `who=LIST what=LIST; …, where who is * or ${CALLER_FORMS}, and what is * or NAMESPACE/SERVICE and NAMESPACE/*, separated by commas`;

/** One rule: these identities may watch these services. */
export interface WatchRule {
  readonly who: AccessList;
  /** `namespace/service` and `namespace/*`; null: every service. */
  readonly what: ReadonlySet<string> | null;
}

/** The forms of the rules, for messages. */
export const WATCH_RULE_FORMS = ALLOWED;

/** Reads rules separated by `;`, at least one. @throws ConfigError("invalid_value") naming the rule and what is allowed */
export function parseWatchRules(text: string): readonly WatchRule[] {
  const parts = text.split(";");
  if (parts.length > MAX_RULES) throw mistake(`${parts.length} rules`, `at most ${MAX_RULES}`);
  return parts.map(parseRule);
}

/** Writes rules that {@link parseWatchRules} reads as the same. */
export function formatWatchRules(rules: readonly WatchRule[]): string {
  return rules.map(({ who, what }) => `who=${formatAccessList(who)} what=${what === null ? "*" : [...what].join(",")}`).join("; ");
}

/** What `identity` may watch; null: every service. Fails closed: in no rule, nothing. */
export function watchable(rules: readonly WatchRule[], identity: SpiffeId): ReadonlySet<string> | null {
  const all = new Set<string>();
  for (const { who, what } of rules) {
    if (!isListed(who, identity)) continue;
    if (what === null) return null;
    for (const service of what) all.add(service);
  }
  return all;
}

/** True when `service`, as `namespace/name`, is among what {@link watchable} gave. */
export function isWatchable(services: ReadonlySet<string> | null, service: string): boolean {
  return services === null || services.has(service) || services.has(`${service.slice(0, service.indexOf("/"))}/*`);
}

function parseRule(part: string): WatchRule {
  const match = /^\s*who=(\S+)\s+what=(\S+)\s*$/.exec(part);
  if (match === null) throw mistake(part.trim());
  return { who: parseAccessList(match[1] as string), what: parseServices(match[2] as string, part.trim()) };
}

function parseServices(text: string, rule: string): ReadonlySet<string> | null {
  if (text === "*") return null;
  const services = text.split(",");
  for (const service of services) if (!SERVICE.test(service)) throw mistake(rule, `"${service.slice(0, 100)}" is no service`);
  return new Set(services);
}

function mistake(rule: string, why = ""): ConfigError {
  const shown = rule === "" ? "an empty rule" : `"${rule.slice(0, 100)}"`;
  return new ConfigError("invalid_value", `watch rule: ${shown}${why === "" ? "" : ` (${why})`}; allowed: ${ALLOWED}`);
}
