// What the audit trail hears of instances: who registered, what of it changed, who left and whose lease ended. A renewal that changes nothing is not told. Each
// replica tells what was said to it; the end of a lease is told by every replica that sees it, with the cause where it was this one's doing.
import type { Audit, AuditEventName } from "../core/audit/audit.ts";
import type { Lease } from "./lease.ts";
import type { Leases } from "./lease-table.ts";

/** Removals under way at once; with more, the oldest are told as ends of leases. */
const MAX_REMOVALS = 10_000;

/** Tells of instances. */
export interface RegistryAudit {
  /** An announcement was accepted; `before` is what was held until then. */
  announced(before: Lease | undefined, lease: Lease, peer: string): void;
  /** Says why the instance is going to be removed. Call it before. */
  removing(instanceId: string, cause: "instance.left" | "instance.replaced", peer: string): void;
  close(): void;
}

/** Starts listening to `leases`. */
export function createRegistryAudit(audit: Audit, leases: Leases): RegistryAudit {
  const removals = new Map<string, { readonly cause: AuditEventName; readonly peer: string }>();
  const stop = leases.onChange(({ before, after }) => {
    if (before === null || after !== null) return;
    const removal = removals.get(before.instanceId);
    removals.delete(before.instanceId);
    audit.record(removal?.cause ?? "instance.ended", { ...describe(before), ...(removal === undefined ? {} : { peer: removal.peer }) });
  });

  return {
    announced(before, lease, peer) {
      if (before === undefined) audit.record("instance.registered", { ...describe(lease), peer });
      else if (!isSame(before, lease)) audit.record("instance.changed", { ...describe(lease), peer });
    },
    removing(instanceId, cause, peer) {
      const [oldest] = removals.keys();
      if (removals.size >= MAX_REMOVALS && oldest !== undefined) removals.delete(oldest);
      if (leases.get(instanceId) !== undefined) removals.set(instanceId, { cause, peer });
    },
    close: stop,
  };
}

function describe({ instanceId, identity, epoch, services, addresses, ports, version }: Lease) {
  return { instance: instanceId, identity, epoch, services, addresses, ports: ports.map(({ number }) => String(number)), version };
}

/** What says who is where. State, load and certificate come and go in the life of an instance. */
function isSame(a: Lease, b: Lease): boolean {
  return (
    a.epoch === b.epoch &&
    a.identity === b.identity &&
    a.inboundPort === b.inboundPort &&
    a.services.join() === b.services.join() &&
    a.addresses.join() === b.addresses.join() &&
    a.ports.length === b.ports.length &&
    a.ports.every(({ number, protocol }, at) => number === b.ports[at]?.number && protocol === b.ports[at]?.protocol)
  );
}
