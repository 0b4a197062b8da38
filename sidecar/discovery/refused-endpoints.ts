// Endpoints that refused a connection a moment ago (design 12): they leave every view at once, long before the registry notices, and come back
// after a few seconds or when the registry announces them anew.
import type { Clock, Timer } from "../../core/clock.ts";
import type { Endpoint } from "./discovery.ts";

const REFUSED_FOR_MS = 5000;
/** At the bound further refusals are not remembered. */
const MAX_REFUSED = 1024;

/** The endpoints to leave alone. */
export interface RefusedEndpoints {
  /** True when it was not marked before. */
  mark(endpoint: Endpoint): boolean;
  /** Forgets a mark: the registry announced the endpoint anew. */
  clear(endpointId: string): void;
  /**
   * The endpoints without the marked ones. Never empty when `endpoints` is not: the last way to a service is worth a try, since a
   * restarted instance listens again sooner than a mark ends.
   */
  without(endpoints: readonly Endpoint[]): readonly Endpoint[];
  close(): void;
}

/** Makes an empty set. `ended` is called with the ids whose marks have run out. */
export function createRefusedEndpoints(clock: Clock, ended: (endpointIds: readonly string[]) => void): RefusedEndpoints {
  const until = new Map<string, number>();
  /** Set while `until` may hold something. */
  let timer: Timer | null = null;

  function expire(): void {
    const now = clock.monoMs();
    const over = [...until].filter(([, untilMonoMs]) => untilMonoMs <= now).map(([id]) => id);
    for (const id of over) until.delete(id);
    const next = Math.min(...until.values());
    timer = until.size > 0 ? clock.after(next - now, expire) : null;
    if (over.length > 0) ended(over);
  }

  return {
    mark(endpoint) {
      const known = until.has(endpoint.id);
      if (!known && until.size >= MAX_REFUSED) return false;
      timer ??= clock.after(REFUSED_FOR_MS, expire);
      until.set(endpoint.id, clock.monoMs() + REFUSED_FOR_MS);
      return !known;
    },
    clear: (endpointId) => void until.delete(endpointId),
    without(endpoints) {
      if (until.size === 0) return endpoints;
      const left = endpoints.filter((endpoint) => !until.has(endpoint.id));
      return left.length === 0 || left.length === endpoints.length ? endpoints : left;
    },
    close: () => timer?.cancel(),
  };
}
