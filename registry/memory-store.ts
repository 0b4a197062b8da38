// Standalone mode: leases in the memory of this process, ended by this process's monotonic clock. Lost with the process; sidecars announce
// themselves again within one heartbeat.
import type { Clock } from "../core/clock.ts";
import { RegistryError } from "../core/errors.ts";
import type { LeaseStore } from "./lease-store.ts";
import { MAX_LEASES } from "./lease-store.ts";
import { createLeaseTable, refuseTakeover } from "./lease-table.ts";

/** Settings of {@link createMemoryStore}. */
export interface MemoryStoreOptions {
  readonly clock: Clock;
  /** A lease not renewed for this long ends at the next sweep. Default 15000. */
  readonly leaseMs?: number;
  /** Default {@link MAX_LEASES}. */
  readonly maxLeases?: number;
}

/** Makes the store of one process. */
export function createMemoryStore({ clock, leaseMs = 15_000, maxLeases = MAX_LEASES }: MemoryStoreOptions): LeaseStore {
  const table = createLeaseTable();
  return {
    kind: "memory",
    leases: table,
    async renew(lease, load, lastsMs) {
      const held = table.get(lease.instanceId);
      refuseTakeover(held?.lease, lease);
      if (held === undefined && table.size >= maxLeases) {
        throw new RegistryError("overloaded", `the registry holds its most, ${maxLeases} instances`);
      }
      table.put(lease, load, clock.monoMs(), lastsMs);
    },
    async remove(instanceId, claim) {
      refuseTakeover(table.get(instanceId)?.lease, claim);
      table.delete(instanceId);
    },
    async sweep() {
      const now = clock.monoMs();
      let ended = 0;
      for (const { lease, heardMonoMs, lastsMs } of table.all()) {
        if (now - heardMonoMs <= (lastsMs ?? leaseMs)) continue;
        table.delete(lease.instanceId);
        ended += 1;
      }
      return ended;
    },
    postpone() {
      for (const held of table.all()) held.heardMonoMs = clock.monoMs();
    },
    status: () => ({ status: "ok" }),
    close: async () => {},
  };
}
