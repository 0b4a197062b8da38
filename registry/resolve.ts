// Answers one question from the leases and the defined services (design 8). Pure: no time, no state.
//
// What counts as found: a service of which at least one instance is meshed (has a lease), whatever its state; its answer holds the ready ones
// only, so that callers fail with `no_endpoints` instead of going around the mesh. Pods without a sidecar are never in an answer. A service
// that is defined but has no meshed instance, and one that nobody defined or announced, is not found: the caller passes it through or refuses.
import type { PortProtocol } from "../core/wire/port-protocol.ts";
import type { Lease, LeasePort } from "./lease.ts";
import type { Leases } from "./lease-table.ts";
import type { Question } from "./question.ts";
import type { MemberEndpoint, ServiceEntry, ServicePort, ServiceSource } from "./service-source.ts";
import { matchesLabels, serviceIdOf } from "./service-source.ts";
import { spiffeParts } from "../core/spiffe.ts";

/**
 * Endpoints of one answer at most, so that an answer fits one message (4 MiB). Of more, the first by id are given: every caller sees the same.
 */
const MAX_ENDPOINTS = 2000;

/** One port of one ready instance. */
export interface ResolvedEndpoint {
  /** `<instanceId>:<port>`. */
  readonly id: string;
  readonly lease: Lease;
  readonly address: string;
  readonly port: number;
  readonly protocol: PortProtocol;
}

/** The answer to one question. */
export interface Resolved {
  readonly found: boolean;
  /** `namespace/name`; empty for a bare instance address and when not found. */
  readonly service: string;
  readonly protocol: PortProtocol;
  /** Ready ones, ordered by id. */
  readonly endpoints: readonly ResolvedEndpoint[];
}

/** A meshed instance of a service and where it is reached. */
interface Member {
  readonly lease: Lease;
  readonly address: string;
  /** The source's own opinion; true when it has none. */
  readonly ready: boolean;
  /** The instance's own port for a service port; null when it has none. */
  targetPort(port: ServicePort): number | null;
}

/** The answer when there is nothing. */
export const NOT_FOUND: Resolved = Object.freeze({ found: false, service: "", protocol: "detect", endpoints: [] });

/** Answers `question`. */
export function resolve(question: Question, leases: Leases, source: ServiceSource): Resolved {
  switch (question.kind) {
    case "foreign":
      return NOT_FOUND;
    case "service": {
      const serviceId = `${question.namespace}/${question.name}`;
      const entry = source.service(serviceId);
      return entry === undefined ? resolveAnnounced(serviceId, question.port, leases) : resolveDefined(entry, question.port, leases);
    }
    case "member":
      return resolveNamed(question, leases, source);
    case "address": {
      const entry = source.byVirtualAddress(question.address);
      if (entry !== undefined) return resolveDefined(entry, question.port, leases);
      return resolveInstance(question.address, question.port, leases, source);
    }
  }
}

/** A service known by heartbeats alone: the port asked for is the instances' own. */
function resolveAnnounced(serviceId: string, port: number, leases: Leases): Resolved {
  return answerByOwnPorts(serviceId, port, announcedMembers(serviceId, leases));
}

function resolveDefined(entry: ServiceEntry, port: number, leases: Leases): Resolved {
  const members = [...membersOf(entry, leases)];
  if (entry.ports.length === 0) return answerByOwnPorts(serviceIdOf(entry), port, members);
  const byTarget = entry.headless && port !== 0 ? answerByTargetPort(entry, port, members) : NOT_FOUND;
  if (byTarget.found) return byTarget;
  const servicePort = port === 0 ? entry.ports[0] : entry.ports.find((candidate) => candidate.port === port);
  return servicePort === undefined ? NOT_FOUND : answerByServicePort(entry, servicePort, members);
}

/**
 * One instance by its name below the service. Kubernetes gives such names to pods whose `hostname` and `subdomain` say so; they stand for the pod's
 * address, so that the port asked for is the pod's own.
 */
function resolveNamed(question: Extract<Question, { kind: "member" }>, leases: Leases, source: ServiceSource): Resolved {
  const entry = source.service(`${question.namespace}/${question.name}`);
  if (entry === undefined || entry.members.kind !== "endpoints") return NOT_FOUND;
  const endpoints = entry.members.endpoints.filter(({ hostname }) => hostname === question.hostname);
  const one: ServiceEntry = { ...entry, headless: true, members: { kind: "endpoints", endpoints } };
  return resolveDefined(one, question.port, leases);
}

function answerByServicePort(entry: ServiceEntry, servicePort: ServicePort, members: readonly Member[]): Resolved {
  const endpoints = members.map((member) => {
    const target = member.targetPort(servicePort);
    return target === null ? null : { member, port: target, protocol: declared(servicePort.protocol, member.lease, target) };
  });
  return answer(
    serviceIdOf(entry),
    servicePort.protocol,
    endpoints.filter((endpoint) => endpoint !== null),
  );
}

/** A name that stands for the addresses of instances: `port` is theirs. It may be the target of different service ports in different instances. */
function answerByTargetPort(entry: ServiceEntry, port: number, members: readonly Member[]): Resolved {
  const endpoints = members.flatMap((member) => {
    const servicePort = entry.ports.find((candidate) => member.targetPort(candidate) === port);
    return servicePort === undefined ? [] : [{ member, port, protocol: declared(servicePort.protocol, member.lease, port) }];
  });
  return answer(serviceIdOf(entry), "detect", endpoints);
}

function answerByOwnPorts(serviceId: string, port: number, members: readonly Member[]): Resolved {
  const endpoints = members.map((member) => {
    const own = ownPort(member.lease, port);
    return own === undefined ? null : { member, port: own.number, protocol: own.protocol };
  });
  return answer(
    serviceId,
    "detect",
    endpoints.filter((endpoint) => endpoint !== null),
  );
}

/**
 * An instance by its own address. In transparent capture every port leads to its sidecar, announced or not, except those that its pod
 * excludes; an explicit instance is reached by announced ports only.
 */
function resolveInstance(address: string, port: number, leases: Leases, source: ServiceSource): Resolved {
  const endpoints = [...leases.at(address)].flatMap((lease) => {
    const own = lease.ports.find((candidate) => candidate.number === port);
    if (source.pods?.skips(lease.instanceId, port) === true) return [];
    if (own === undefined && lease.inboundPort !== 0) return [];
    const member: Member = { lease, address, ready: true, targetPort: () => port };
    return [{ member, port, protocol: own?.protocol ?? "detect" }];
  });
  return answer("", "detect", endpoints);
}

function answer(
  service: string,
  protocol: PortProtocol,
  candidates: readonly { readonly member: Member; readonly port: number; readonly protocol: PortProtocol }[],
): Resolved {
  if (candidates.length === 0) return NOT_FOUND;
  const endpoints = preferredAddresses(candidates.filter(({ member }) => member.ready && member.lease.state === "ready"))
    .map(({ member, port, protocol: own }) => ({
      id: `${member.lease.instanceId}:${port}`,
      lease: member.lease,
      address: member.address,
      port,
      protocol: own,
    }))
    .sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0))
    .slice(0, MAX_ENDPOINTS);
  return {
    found: true,
    service,
    protocol: protocol === "detect" ? common(candidates.map((candidate) => candidate.protocol)) : protocol,
    endpoints,
  };
}

/** A dual-stack instance has one backend per address family; it is one endpoint, at the address it prefers. */
function preferredAddresses<T extends { readonly member: Member; readonly port: number }>(candidates: readonly T[]): T[] {
  const best = new Map<string, T>();
  for (const candidate of candidates) {
    const { lease, address } = candidate.member;
    const id = `${lease.instanceId}:${candidate.port}`;
    const rank = (of: string | undefined) => (of === undefined ? Number.POSITIVE_INFINITY : lease.addresses.indexOf(of));
    if (rank(address) < rank(best.get(id)?.member.address)) best.set(id, candidate);
  }
  return [...best.values()];
}

/** What all say; `detect` when they disagree. */
function common(protocols: readonly PortProtocol[]): PortProtocol {
  const [first = "detect"] = protocols;
  return protocols.every((protocol) => protocol === first) ? first : "detect";
}

function declared(protocol: PortProtocol, lease: Lease, port: number): PortProtocol {
  return protocol === "detect" ? (lease.ports.find((own) => own.number === port)?.protocol ?? "detect") : protocol;
}

function ownPort(lease: Lease, port: number): LeasePort | undefined {
  return port === 0 ? lease.ports[0] : lease.ports.find((own) => own.number === port);
}

function announcedMembers(serviceId: string, leases: Leases): Member[] {
  return [...leases.announcing(serviceId)].map(memberOf);
}

function* membersOf(entry: ServiceEntry, leases: Leases): Iterable<Member> {
  const { members } = entry;
  switch (members.kind) {
    case "announced":
      yield* announcedMembers(serviceIdOf(entry), leases);
      break;
    case "accounts":
      for (const account of members.accounts) for (const lease of leases.ofAccount(account)) yield memberOf(lease);
      break;
    case "labels":
      for (const { lease } of leases.all()) {
        const { namespace, serviceAccount } = spiffeParts(lease.identity);
        if (namespace === entry.namespace && matchesLabels(lease, serviceAccount, members.labels)) yield memberOf(lease);
      }
      break;
    case "endpoints":
      for (const endpoint of members.endpoints) yield* memberAt(endpoint, entry.namespace, leases);
      break;
  }
}

function memberOf(lease: Lease): Member {
  return {
    lease,
    address: lease.addresses[0] ?? "",
    ready: true,
    targetPort({ targetPort }) {
      if (typeof targetPort === "number") return targetPort;
      return lease.ports.find((own) => own.name === targetPort)?.number ?? null;
    },
  };
}

/**
 * Joins a backend to its lease, within the namespace of the service: by the pod's UID where it is a pod, for the lease at its address may still be that
 * of a pod that is gone; else by address.
 */
function* memberAt(endpoint: MemberEndpoint, namespace: string, leases: Leases): Iterable<Member> {
  for (const lease of joinedTo(endpoint, leases)) {
    if (spiffeParts(lease.identity).namespace !== namespace) continue; // fails closed: nobody joins another namespace's service
    yield { lease, address: endpoint.address, ready: endpoint.ready, targetPort: ({ name }) => endpoint.targetPorts.get(name) ?? null };
  }
}

function joinedTo({ instanceId, address }: MemberEndpoint, leases: Leases): Iterable<Lease> {
  if (instanceId === null) return [...leases.at(address)];
  const lease = leases.get(instanceId)?.lease;
  return lease?.addresses.includes(address) === true ? [lease] : [];
}
