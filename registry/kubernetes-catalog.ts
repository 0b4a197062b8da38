// The Services and EndpointSlices that the registry watches, and the entries that it makes of them: found by id, by address and by member. An entry is
// made anew when asked to, so that many changes of one service cost one.
import type { ObjectChange } from "../core/kubernetes/watched-list.ts";
import { entryOf, type ServiceFacts, type SliceFacts } from "./kubernetes-services.ts";
import type { Lease } from "./lease.ts";
import { sameEntry } from "./same-entry.ts";
import type { ServiceEntry } from "./service-source.ts";
import { createSparseIndex } from "./sparse-index.ts";

/** Entries and their parts. */
export interface Catalog {
  readonly entries: ReadonlyMap<string, ServiceEntry>;
  /** The service with that cluster address; of several, which is for moments only, the first by id. */
  byClusterAddress(address: string): ServiceEntry | undefined;
  /** The service behind a load balancer's address: of several the first by id, so that every replica says the same. */
  byBalancerAddress(address: string): ServiceEntry | undefined;
  /** Ids of services that have a backend which `lease` may be. */
  selecting(lease: Lease): Iterable<string>;
  /** Takes changes of Services; yields the ids of those whose entry is no longer right. */
  takeServices(changes: readonly ObjectChange<ServiceFacts>[]): Iterable<string>;
  /** The same for EndpointSlices. */
  takeSlices(changes: readonly ObjectChange<SliceFacts>[]): Iterable<string>;
  /** Makes one entry anew; true when it really changed. */
  rebuild(id: string): boolean;
}

/** Makes an empty one. */
export function createCatalog(): Catalog {
  const services = new Map<string, ServiceFacts>();
  /** Nearly always one. */
  const slices = new Map<string, readonly SliceFacts[]>();
  const entries = new Map<string, ServiceEntry>();
  const byClusterAddress = createSparseIndex();
  const byBalancerAddress = createSparseIndex();
  /** By pod UID; by address where a backend is no pod. */
  const byMember = createSparseIndex();
  /** What {@link entries} were made of. */
  const indexed = new Map<string, ServiceFacts>();

  function index(id: string, apply: "add" | "remove"): void {
    for (const address of indexed.get(id)?.balancerAddresses ?? []) byBalancerAddress[apply](address, id);
    for (const address of indexed.get(id)?.clusterAddresses ?? []) byClusterAddress[apply](address, id);
    const members = entries.get(id)?.members;
    if (members?.kind !== "endpoints") return;
    for (const { instanceId, address } of members.endpoints) byMember[apply](instanceId ?? address, id);
  }

  function firstOf(ids: Iterable<string>): ServiceEntry | undefined {
    const [first = "", ...more] = ids;
    return entries.get(more.length === 0 ? first : ([first, ...more].sort()[0] ?? ""));
  }

  function placeSlice(serviceId: string, name: string, slice: SliceFacts | null): void {
    const others = (slices.get(serviceId) ?? []).filter((known) => known.name !== name);
    // By name, so that it is the same in every replica whatever came first.
    const kept = slice === null ? others : [...others, slice].sort((a, b) => (a.name < b.name ? -1 : 1));
    if (kept.length > 0) slices.set(serviceId, kept);
    else slices.delete(serviceId);
  }

  return {
    entries,
    byClusterAddress: (address) => firstOf(byClusterAddress.get(address)),
    byBalancerAddress: (address) => firstOf(byBalancerAddress.get(address)),
    *selecting(lease) {
      for (const member of [lease.instanceId, ...lease.addresses]) yield* byMember.get(member);
    },
    takeServices(changes) {
      const touched = new Set<string>();
      for (const { before, after } of changes) {
        if (after !== null) services.set(after.id, after);
        else if (before !== null) services.delete(before.id);
        touched.add((after ?? before)?.id ?? "");
      }
      return touched;
    },
    takeSlices(changes) {
      const touched = new Set<string>();
      for (const { before, after } of changes) {
        if (before !== null) placeSlice(before.serviceId, before.name, null); // its label may name another service now
        if (after !== null) placeSlice(after.serviceId, after.name, after);
        for (const slice of [before, after]) if (slice !== null) touched.add(slice.serviceId);
      }
      return touched;
    },
    rebuild(id) {
      const service = services.get(id);
      const before = entries.get(id);
      const after = service === undefined ? undefined : entryOf(service, slices.get(id) ?? []);
      const isSame = before === after || (before !== undefined && after !== undefined && sameEntry(before, after));
      if (isSame && indexed.get(id) === service) return false;
      index(id, "remove");
      if (service === undefined || after === undefined) {
        entries.delete(id);
        indexed.delete(id);
      } else {
        entries.set(id, after);
        indexed.set(id, service);
        index(id, "add");
      }
      return !isSame;
    },
  };
}
