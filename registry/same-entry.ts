// Whether two entries of a service say the same. Kubernetes writes Services and EndpointSlices anew for reasons that are none of ours (an annotation, a
// time), and nobody is to be told of those.
import type { MemberEndpoint, ServiceEntry, ServicePort } from "./service-source.ts";

/** True when callers could not tell `a` from `b`. Both are of the same service, and their backends are known to the source. */
export function sameEntry(a: ServiceEntry, b: ServiceEntry): boolean {
  return (
    a.headless === b.headless &&
    sameItems(a.virtualAddresses, b.virtualAddresses, (one, other) => one === other) &&
    sameItems(a.ports, b.ports, samePort) &&
    a.members.kind === "endpoints" &&
    b.members.kind === "endpoints" &&
    sameItems(a.members.endpoints, b.members.endpoints, sameEndpoint)
  );
}

function sameItems<Item>(a: readonly Item[], b: readonly Item[], isSame: (one: Item, other: Item) => boolean): boolean {
  return a === b || (a.length === b.length && a.every((one, at) => isSame(one, b[at] as Item))); // as long as each other
}

function samePort(a: ServicePort, b: ServicePort): boolean {
  return a.port === b.port && a.targetPort === b.targetPort && a.protocol === b.protocol && a.name === b.name;
}

function sameEndpoint(a: MemberEndpoint, b: MemberEndpoint): boolean {
  return (
    a.instanceId === b.instanceId &&
    a.address === b.address &&
    a.ready === b.ready &&
    a.hostname === b.hostname &&
    sameTargets(a.targetPorts, b.targetPorts)
  );
}

function sameTargets(a: ReadonlyMap<string, number>, b: ReadonlyMap<string, number>): boolean {
  if (a === b) return true;
  if (a.size !== b.size) return false;
  for (const [name, port] of a) if (b.get(name) !== port) return false;
  return true;
}
