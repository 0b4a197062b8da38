// The leases one replica holds, with the indexes that questions need (by service name, by account, by address). It owns no time and no policy:
// stores decide what is put and when it goes. Every key is a Map key, so that no name, however hostile, means anything else.
import { RegistryError } from "../core/errors.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { isLoopback } from "./address.ts";
import type { Lease, Load } from "./lease.ts";
import { accountOf, announcedServices, formatLease } from "./lease.ts";
import { createSparseIndex } from "./sparse-index.ts";

/** A lease and what changes with every heartbeat. */
export interface HeldLease {
  readonly lease: Lease;
  /** `formatLease(lease)`, made when it is asked for first: a kilobyte that only a shared store needs. */
  readonly text: string;
  /** Null on a replica that does not hear this instance's heartbeats. One object as long as the lease: garbage that lived from one heartbeat to the next would grow old. */
  load: Load | null;
  /** When this replica last heard of it, `clock.monoMs()`. */
  heardMonoMs: number;
  /** How long after that it lasts, ms; null: one lease time of its store. */
  lastsMs: number | null;
}

/** One lease before and after; null: not there. Never both null. */
export interface LeaseChange {
  readonly before: Lease | null;
  readonly after: Lease | null;
}

/** Read access to the leases. */
export interface Leases {
  readonly size: number;
  get(instanceId: string): HeldLease | undefined;
  all(): IterableIterator<HeldLease>;
  /** Instances that name the service `namespace/name`. */
  announcing(serviceId: string): Iterable<Lease>;
  /** Instances of the account `namespace/service-account`. */
  ofAccount(account: string): Iterable<Lease>;
  /** How many instances that account has. */
  countOf(account: string): number;
  /** Instances with this canonical address. */
  at(address: string): Iterable<Lease>;
  /** Calls `run` after every change of a lease; returns how to stop. */
  onChange(run: (change: LeaseChange) => void): () => void;
}

/** {@link Leases} for the store that owns them. */
export interface LeaseTable extends Leases {
  /** Puts or replaces a lease. Only a different text is a change. */
  put(lease: Lease, load: Load | null, heardMonoMs: number, lastsMs?: number): void;
  delete(instanceId: string): boolean;
}

/** Makes an empty table. */
export function createLeaseTable(): LeaseTable {
  const held = new Map<string, HeldLease>();
  const byService = new Map<string, Set<string>>();
  const byAccount = new Map<string, Set<string>>();
  const byAddress = createSparseIndex();
  const listeners = new Set<(change: LeaseChange) => void>();

  function index(lease: Lease, apply: (map: Map<string, Set<string>>, key: string, id: string) => void): void {
    for (const service of announcedServices(lease)) apply(byService, service, lease.instanceId);
    apply(byAccount, accountOf(lease.identity), lease.instanceId);
  }

  function change(before: Lease | null, after: Lease | null): void {
    if (before !== null) {
      index(before, removeFrom);
      for (const address of before.addresses) byAddress.remove(address, before.instanceId);
    }
    if (after !== null) {
      index(after, addTo);
      for (const address of after.addresses) byAddress.add(address, after.instanceId);
    }
    for (const run of listeners) run({ before, after });
  }

  function* leasesOf(ids: Iterable<string> | undefined): Iterable<Lease> {
    for (const id of ids ?? []) {
      const entry = held.get(id);
      if (entry !== undefined) yield entry.lease;
    }
  }

  return {
    get size() {
      return held.size;
    },
    get: (instanceId) => held.get(instanceId),
    all: () => held.values(),
    announcing: (serviceId) => leasesOf(byService.get(serviceId)),
    ofAccount: (account) => leasesOf(byAccount.get(account)),
    countOf: (account) => byAccount.get(account)?.size ?? 0,
    at: (address) => leasesOf(byAddress.get(address)),
    onChange(run) {
      listeners.add(run);
      return () => void listeners.delete(run);
    },
    put(lease, load, heardMonoMs, lastsMs) {
      const before = held.get(lease.instanceId);
      // Leases are immutable: the same one has the same text.
      if (before !== undefined && (before.lease === lease || formatLease(before.lease) === formatLease(lease))) {
        if (load !== null) before.load = before.load === null ? { ...load } : Object.assign(before.load, load);
        before.heardMonoMs = heardMonoMs;
        before.lastsMs = lastsMs ?? null;
        return;
      }
      held.set(lease.instanceId, new Held(lease, load === null ? null : { ...load }, heardMonoMs, lastsMs ?? null));
      change(before?.lease ?? null, lease);
    },
    delete(instanceId) {
      const before = held.get(instanceId);
      if (before === undefined) return false;
      held.delete(instanceId);
      change(before.lease, null);
      return true;
    },
  };
}

class Held implements HeldLease {
  readonly lease: Lease;
  load: Load | null;
  heardMonoMs: number;
  lastsMs: number | null;
  #text: string | null = null;

  constructor(lease: Lease, load: Load | null, heardMonoMs: number, lastsMs: number | null) {
    this.lease = lease;
    this.load = load;
    this.heardMonoMs = heardMonoMs;
    this.lastsMs = lastsMs;
  }

  get text(): string {
    this.#text ??= formatLease(this.lease);
    return this.#text;
  }
}

/** Raises `RegistryError("forbidden")` when `instanceId` belongs to another identity or to a newer process of the same one. */
export function refuseTakeover(held: Lease | undefined, claim: { readonly identity: SpiffeId; readonly epoch: number }): void {
  if (held === undefined) return;
  if (held.identity !== claim.identity) throw new RegistryError("forbidden", `instance ${held.instanceId} belongs to another identity`);
  if (held.epoch > claim.epoch) {
    throw new RegistryError(
      "forbidden",
      `instance ${held.instanceId} is held by a newer process (epoch ${held.epoch}, announced ${claim.epoch})`,
    );
  }
}

/**
 * Looks who else is where `lease` says it is: the same address with the same port, or the whole address of a transparent instance.
 * Raises `RegistryError("forbidden")` when that is another identity, unless `proven` (Kubernetes says that the address is this pod's now).
 * Returns the instances that the announcement takes the place of: earlier processes of the same identity, or stale holders.
 */
export function superseded(leases: Leases, lease: Lease, proven: boolean): string[] {
  const replaced = new Set<string>();
  const claimed = claimedPorts(lease);
  for (const address of lease.addresses) {
    for (const other of leases.at(address)) {
      if (other.instanceId === lease.instanceId) continue;
      const port = claimedPorts(other).find((number) => claimed.includes(number) && (number !== 0 || !isLoopback(address)));
      if (port === undefined) continue;
      const mayReplace = proven || (other.identity === lease.identity && other.epoch <= lease.epoch);
      if (!mayReplace) {
        const place = port === 0 ? address : `${address} port ${port}`;
        const owner = other.identity === lease.identity ? "a newer instance" : "an instance of another identity";
        throw new RegistryError("forbidden", `${place} is announced by ${owner}`, { fields: { address, port } });
      }
      replaced.add(other.instanceId);
    }
  }
  return [...replaced];
}

/** The app's ports and the inbound port; 0, the inbound port in transparent capture, stands for the whole address (never for loopback). */
function claimedPorts(lease: Lease): number[] {
  return [lease.inboundPort, ...lease.ports.map((port) => port.number)];
}

function addTo(map: Map<string, Set<string>>, key: string, id: string): void {
  const ids = map.get(key);
  if (ids === undefined) map.set(key, new Set([id]));
  else ids.add(id);
}

function removeFrom(map: Map<string, Set<string>>, key: string, id: string): void {
  const ids = map.get(key);
  if (ids === undefined) return;
  ids.delete(id);
  if (ids.size === 0) map.delete(key);
}
