// One announcement, from whichever door it came (the heartbeat stream or REST): checked, judged, kept. Every refusal is answered with a reason
// and counted; nothing of a refused announcement is kept.
import type { Audit } from "../core/audit/audit.ts";
import { RegistryError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Reason } from "../core/reasons.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { MayAnnounce } from "./announce-policy.ts";
import type { Announcement } from "./announcement.ts";
import { parseAnnouncement } from "./announcement.ts";
import type { Lease, Load } from "./lease.ts";
import { accountOf } from "./lease.ts";
import type { LeaseStore } from "./lease-store.ts";
import { MAX_LEASES_PER_ACCOUNT } from "./lease-store.ts";
import { superseded } from "./lease-table.ts";
import type { RegistryAudit } from "./registry-audit.ts";
import type { RegistryMetrics } from "./registry-metrics.ts";

/** What is said back. */
export type AnnounceAnswer =
  | { readonly accepted: true; readonly announcement: Announcement }
  | { readonly accepted: false; readonly reason: Reason; readonly message: string };

/** Who says it. */
export interface Announcer {
  readonly identity: SpiffeId;
  readonly remoteAddress: string;
  /** Set when the stream has announced before: it speaks for this instance only. */
  readonly instanceId: string | null;
}

/** Handles announcements. Never rejects for what a peer sent. */
export interface Announce {
  (message: unknown, announcer: Announcer): Promise<AnnounceAnswer>;
  /** The instance says again what `lease` says, with another load. */
  again(lease: Lease, load: Load, announcer: Announcer): Promise<AnnounceAnswer>;
}

/** Makes the handler. */
export function createAnnounce(parts: {
  readonly store: LeaseStore;
  readonly mayAnnounce: MayAnnounce;
  /** How long an announcement lasts that is accepted now, ms. Default: as long as the store's leases. */
  readonly leaseMs?: () => number;
  readonly metrics: RegistryMetrics;
  readonly log: Logger;
  readonly audit: Audit;
  readonly trail: RegistryAudit;
}): Announce {
  const { store, mayAnnounce, metrics, log, audit, trail } = parts;

  async function keep(announcement: Announcement, { remoteAddress, instanceId }: Announcer): Promise<Announcement> {
    const { lease } = announcement;
    if (instanceId !== null && instanceId !== lease.instanceId) {
      throw new RegistryError("bad_request", `the stream announced instance ${instanceId}, now ${lease.instanceId}`);
    }
    if (announcement.leaving) {
      trail.removing(lease.instanceId, "instance.left", remoteAddress);
      await store.remove(lease.instanceId, lease);
      return announcement;
    }
    const verdict = mayAnnounce(lease, remoteAddress);
    const { proven } = verdict instanceof Promise ? await verdict : verdict;
    refuseCrowd(lease);
    const replaced = superseded(store.leases, lease, proven);
    const before = store.leases.get(lease.instanceId)?.lease;
    await store.renew(lease, announcement.load, parts.leaseMs?.());
    trail.announced(before, lease, remoteAddress);
    for (const id of replaced) await removeReplaced(id, remoteAddress);
    return announcement;
  }

  function refuseCrowd({ instanceId, identity }: Lease): void {
    if (store.leases.get(instanceId) !== undefined || store.leases.countOf(accountOf(identity)) < MAX_LEASES_PER_ACCOUNT) return;
    throw new RegistryError("overloaded", `${accountOf(identity)} holds its most, ${MAX_LEASES_PER_ACCOUNT} instances`);
  }

  async function removeReplaced(instanceId: string, peer: string): Promise<void> {
    const held = store.leases.get(instanceId);
    if (held === undefined) return;
    trail.removing(instanceId, "instance.replaced", peer);
    await store.remove(instanceId, held.lease);
  }

  const accepted = metrics.heartbeats.child({ outcome: "accepted" });

  async function answer(read: () => Announcement, announcer: Announcer): Promise<AnnounceAnswer> {
    try {
      const announcement = await keep(read(), announcer);
      accepted.inc();
      return { accepted: true, announcement };
    } catch (error) {
      const refusal = refusalOf(error);
      if (refusal === null) log.error({ err: error, identity: announcer.identity }, "an announcement failed");
      const { reason, message: text } = refusal ?? { reason: "overloaded", message: "the registry could not keep the announcement" };
      metrics.heartbeats.inc({ outcome: "refused" });
      metrics.refused.inc({ reason });
      audit.record("announcement.refused", { reason, detail: text, identity: announcer.identity, peer: announcer.remoteAddress });
      return { accepted: false, reason, message: text };
    }
  }

  return Object.assign(
    (message: unknown, announcer: Announcer) => answer(() => parseAnnouncement(message, announcer.identity), announcer),
    { again: (lease: Lease, load: Load, announcer: Announcer) => answer(() => ({ lease, load, leaving: false }), announcer) },
  );
}

function refusalOf(error: unknown): { readonly reason: Reason; readonly message: string } | null {
  if (!(error instanceof RegistryError)) return null;
  return { reason: error.code === "unavailable" ? "overloaded" : error.code, message: error.message };
}
