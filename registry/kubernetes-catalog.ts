// The Kubernetes objects the registry watches, and what it makes of them: services with their backends, found by id, by address and by member.
import type { V1EndpointSlice, V1Pod, V1Service } from "@kubernetes/client-node";
import { objectId, readPod, readService, sliceServiceId } from "./kubernetes-objects.ts";
import type { Lease } from "./lease.ts";
import type { PodFacts, ServiceEntry } from "./service-source.ts";

/** The objects, and the entries made of them. Each function names the service whose entry is no longer right. */
export function createCatalog() {
  const services = new Map<string, V1Service>();
  const slices = new Map<string, Map<string, V1EndpointSlice>>();
  const pods = new Map<string, PodFacts>();
  const entries = new Map<string, ServiceEntry>();
  const texts = new Map<string, string>();
  const byAddress = new Map<string, string>();
  const byMember = new Map<string, Set<string>>();

  function index(entry: ServiceEntry, id: string, add: boolean): void {
    for (const address of entry.virtualAddresses) {
      if (add) byAddress.set(address, id);
      else if (byAddress.get(address) === id) byAddress.delete(address);
    }
    if (entry.members.kind !== "endpoints") return;
    for (const { instanceId, address } of entry.members.endpoints) {
      for (const member of [address, ...(instanceId === null ? [] : [instanceId])]) {
        const ids = byMember.get(member) ?? new Set<string>();
        if (add) ids.add(id);
        else ids.delete(id);
        if (ids.size > 0) byMember.set(member, ids);
        else byMember.delete(member);
      }
    }
  }

  return {
    entries: entries as ReadonlyMap<string, ServiceEntry>,
    byAddress: byAddress as ReadonlyMap<string, string>,
    pods: pods as ReadonlyMap<string, PodFacts>,
    putService(service: V1Service): string | null {
      const id = objectId(service);
      if (id !== null) services.set(id, service);
      return id;
    },
    removeService(service: V1Service): string | null {
      const id = objectId(service);
      if (id !== null) services.delete(id);
      return id;
    },
    putSlice(slice: V1EndpointSlice): string | null {
      const id = sliceServiceId(slice);
      if (id === null) return null;
      const own = slices.get(id) ?? new Map<string, V1EndpointSlice>();
      own.set(slice.metadata?.name ?? "", slice);
      slices.set(id, own);
      return id;
    },
    removeSlice(slice: V1EndpointSlice): string | null {
      const id = sliceServiceId(slice);
      if (id === null) return null;
      slices.get(id)?.delete(slice.metadata?.name ?? "");
      if (slices.get(id)?.size === 0) slices.delete(id);
      return id;
    },
    putPod(pod: V1Pod): void {
      const read = readPod(pod);
      if (read !== null) pods.set(read.uid, read.facts);
      else pods.delete(pod.metadata?.uid ?? "");
    },
    removePod(pod: V1Pod): void {
      pods.delete(pod.metadata?.uid ?? "");
    },
    /** True when the entry really changed. */
    rebuild(id: string): boolean {
      const service = services.get(id);
      const entry = service === undefined ? null : readService(service, slices.get(id)?.values() ?? []);
      const text = entry === null ? "" : textOf(entry);
      if ((texts.get(id) ?? "") === text) return false;
      const before = entries.get(id);
      if (before !== undefined) index(before, id, false);
      entries.delete(id);
      texts.delete(id);
      if (entry === null) return true;
      entries.set(id, entry);
      texts.set(id, text);
      index(entry, id, true);
      return true;
    },
    *selecting(lease: Lease): Iterable<string> {
      for (const member of [lease.instanceId, ...lease.addresses]) yield* byMember.get(member) ?? [];
    },
  };
}

function textOf(entry: ServiceEntry): string {
  return JSON.stringify(entry, (_key, value: unknown) => (value instanceof Map ? [...value] : value));
}
