// Which bounds a request of the local app gets: the first route that matches it, else the settings. Rules are sorted out by service when a destination is
// looked up; a request is compared only with what is left for its destination.
//
// HOT PATH: a destination without rules costs one comparison; others one or two per rule.
import type { RouteRule } from "../../core/policy/route-rules.ts";

/** What holds for a request. All times in ms; 0 for none. */
export interface RoutePolicy {
  readonly timeoutMs: number;
  readonly answerTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** True when doing it twice is as good as doing it once: it may be sent again after it was delivered. */
  readonly isIdempotent: boolean;
  /** Times that it may be sent, the first included. */
  readonly attempts: number;
}

/** The rules that concern one destination. */
export interface DestinationRoutes {
  /** The first that matches; the settings' defaults when none does. */
  find(method: string, path: string): RoutePolicy;
}

/** All rules. */
export interface Routes {
  /** Those for a mesh service `namespace/name` (empty: a bare instance), or for a host outside of the mesh. */
  of(service: string): DestinationRoutes;
}

/** What holds where no rule says otherwise: three attempts, no bounds. */
export const DEFAULT_ROUTE: RoutePolicy = { timeoutMs: 0, answerTimeoutMs: 0, idleTimeoutMs: 0, isIdempotent: false, attempts: 3 };

/** Makes the table. `namespace` is the workload's own, in which bare service names are. */
export function createRoutes(options: {
  readonly rules: readonly RouteRule[];
  readonly defaults: RoutePolicy;
  readonly namespace: string;
}): Routes {
  const { defaults, namespace } = options;
  const compiled = options.rules.map((rule) => compile(rule, defaults));
  const none = new RouteList([], defaults);
  return {
    of(service) {
      if (compiled.length === 0) return none;
      const concerned = compiled.filter(({ rule }) => rule.service === null || isService(rule.service, service, namespace));
      return concerned.length === 0 ? none : new RouteList(concerned, defaults);
    },
  };
}

interface Compiled {
  readonly rule: RouteRule;
  readonly policy: RoutePolicy;
}

function compile(rule: RouteRule, defaults: RoutePolicy): Compiled {
  const policy: RoutePolicy = {
    timeoutMs: rule.timeoutMs ?? defaults.timeoutMs,
    answerTimeoutMs: rule.answerTimeoutMs ?? defaults.answerTimeoutMs,
    idleTimeoutMs: rule.idleTimeoutMs ?? defaults.idleTimeoutMs,
    isIdempotent: rule.retry === null ? defaults.isIdempotent : rule.retry === "idempotent",
    attempts: rule.attempts ?? defaults.attempts,
  };
  return { rule, policy };
}

/** `service` is `namespace/name`, or a host alone. */
function isService(wanted: string, service: string, ownNamespace: string): boolean {
  if (wanted.endsWith("/*")) return service.startsWith(wanted.slice(0, -1));
  return wanted === service || (!wanted.includes("/") && service === `${ownNamespace}/${wanted}`);
}

class RouteList implements DestinationRoutes {
  readonly #rules: readonly Compiled[];
  readonly #defaults: RoutePolicy;

  constructor(rules: readonly Compiled[], defaults: RoutePolicy) {
    this.#rules = rules;
    this.#defaults = defaults;
  }

  find(method: string, path: string): RoutePolicy {
    return this.#rules.length === 0 ? this.#defaults : this.#search(method, path);
  }

  #search(method: string, path: string): RoutePolicy {
    for (const { rule, policy } of this.#rules) {
      if ((rule.method === null || rule.method === method) && (rule.path === null || path.startsWith(rule.path))) return policy;
    }
    return this.#defaults;
  }
}
