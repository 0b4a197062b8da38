// The answers of the registry as one identity may see them (setting REMORA_WATCH_ROLES). What it may not know of looks to it like a destination that does not exist:
// a refusal would tell it that it does, and would end the stream over which it hears of all others.
import type { Audit } from "../core/audit/audit.ts";
import { isWatchable, watchable, type WatchRule } from "../core/policy/watch-rules.ts";
import { announcedServices } from "./lease.ts";
import type { Peer } from "./peer.ts";
import type { RegistryMetrics } from "./registry-metrics.ts";
import type { Resolved } from "./resolve.ts";
import { NOT_FOUND } from "./resolve.ts";
import type { View } from "./view.ts";
import type { Views } from "./views.ts";

/** Who may see what, and who hears of refusals. */
export interface VisibleViewsParts {
  readonly views: Views;
  /** Null: everybody may watch every service. */
  readonly rules: readonly WatchRule[] | null;
  readonly metrics: RegistryMetrics;
  readonly audit: Audit;
}

/** The views of one peer; those themselves when it may see all. */
export function viewsFor({ identity, remoteAddress }: Peer, { views, rules, metrics, audit }: VisibleViewsParts): Views {
  const services = rules === null ? null : watchable(rules, identity);
  if (services === null) return views;

  function maySee({ service, endpoints }: Resolved): boolean {
    if (service !== "") return isWatchable(services, service);
    // A bare instance: by any service that it is of; one that is of none, by its namespace.
    return endpoints.every(({ lease }) => {
      const own = announcedServices(lease);
      return (own.length === 0 ? [`${lease.identity.split("/ns/")[1]?.split("/")[0]}/`] : own).some((id) => isWatchable(services, id));
    });
  }

  return {
    ...views,
    watch(question, changed) {
      const watched = views.watch(question, changed);
      /** Set from the first time on that it saw nothing: what it holds of the versions since is not what others hold, so that it is told the whole. */
      let hidden: View | null = null;
      let shown: View | null = null;
      return {
        get current() {
          const view = watched.current;
          if (maySee(view.resolved)) {
            if (hidden === null) return view;
            if (shown?.version !== view.version)
              shown = { origin: view.origin, version: view.version, resolved: view.resolved, gone: view.gone, changeSince: nothingKnown };
            return shown;
          }
          if (hidden === null) {
            metrics.refused.inc({ reason: "forbidden" });
            audit.record("watch.refused", { reason: "forbidden", identity, service: view.resolved.service, peer: remoteAddress });
          }
          if (hidden?.version !== view.version)
            hidden = { origin: HIDDEN, version: view.version, resolved: NOT_FOUND, gone: [], changeSince: nothingKnown };
          return hidden;
        },
        stop: () => watched.stop(),
      };
    },
  };
}

const nothingKnown = () => null;
/** Whose answers look alike. */
const HIDDEN = {};
