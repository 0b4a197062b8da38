// What one instance announced, checked (design 8). A lease is immutable: a change is a new lease. Its text form is canonical, so that two
// replicas that heard the same announcement hold the same text. Reading one is `announcement.ts`, who may announce what `announce-policy.ts`.
import type { SpiffeId } from "../core/spiffe.ts";
import { spiffeParts } from "../core/spiffe.ts";
import type { PortProtocol } from "../core/wire/port-protocol.ts";

/** States by their short names; {@link WIRE_STATES} has the same order. */
export const INSTANCE_STATES = ["starting", "ready", "draining"] as const;
/** States by their wire names. */
export const WIRE_STATES = ["INSTANCE_STATE_STARTING", "INSTANCE_STATE_READY", "INSTANCE_STATE_DRAINING"] as const;

const DNS_LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/** The life of an instance; only `ready` ones are handed to callers. */
export type InstanceState = (typeof INSTANCE_STATES)[number];

/** One port the app listens on. */
export interface LeasePort {
  /** 1..65535. */
  readonly number: number;
  readonly protocol: PortProtocol;
  /** DNS label or empty. */
  readonly name: string;
}

/** One instance as announced by the holder of `identity`. */
export interface Lease {
  readonly instanceId: string;
  readonly identity: SpiffeId;
  /** Start of the sidecar, epoch ms. */
  readonly epoch: number;
  /** DNS labels in the identity's own namespace, sorted, no duplicates. */
  readonly services: readonly string[];
  /** Canonical IP literals, the preferred one first, no duplicates; at least one. */
  readonly addresses: readonly string[];
  /** No two with the same number. */
  readonly ports: readonly LeasePort[];
  /** 0 in transparent capture. */
  readonly inboundPort: number;
  readonly version: string;
  readonly channel: string;
  readonly certExpiresAtMs: number;
  readonly state: InstanceState;
  /** DER; null when none was announced. */
  readonly messageCertificate: Buffer | null;
  /** `rootIdOf` the root that its TLS leaf chains to; "" from versions that do not say. */
  readonly issuedByRoot: string;
  /** `rootIdOf` every root that it believes, sorted; empty from versions that do not say. */
  readonly trustedRoots: readonly string[];
}

/** How busy an instance says it is. Changes with every heartbeat, so it is no part of the lease and moves nothing. */
export interface Load {
  readonly inFlight: number;
  readonly rps: number;
  readonly p99Ms: number;
  /** 0..1 */
  readonly errorRatio: number;
  /** Finished inbound requests since `epoch`; 0 from versions that do not count totals. */
  readonly requests: number;
  /** Those that failed. */
  readonly errors: number;
  /** Refusals of requests and connections since `epoch`, both directions. */
  readonly refused: number;
}

/** True for a DNS label (RFC 1123): 1..63 of a-z, 0-9 and inner hyphens. */
export function isDnsLabel(text: string): boolean {
  return DNS_LABEL.test(text);
}

/** The canonical text of a lease: equal leases give equal texts. */
export function formatLease(lease: Lease): string {
  return JSON.stringify({
    identity: lease.identity,
    instanceId: lease.instanceId,
    epoch: lease.epoch,
    services: lease.services,
    addresses: lease.addresses,
    ports: lease.ports.map((port) => ({ number: port.number, protocol: port.protocol, name: port.name })),
    inboundPort: lease.inboundPort,
    version: lease.version,
    channel: lease.channel,
    certExpiresAtMs: lease.certExpiresAtMs,
    state: lease.state,
    messageCertificate: lease.messageCertificate?.toString("base64") ?? "",
    issuedByRoot: lease.issuedByRoot,
    trustedRoots: lease.trustedRoots,
  });
}

/** `namespace/name` of every service the lease names. */
export function announcedServices(lease: Lease): string[] {
  const { namespace } = spiffeParts(lease.identity);
  return lease.services.map((name) => `${namespace}/${name}`);
}

/** `namespace/service-account` of an identity. */
export function accountOf(identity: SpiffeId): string {
  const { namespace, serviceAccount } = spiffeParts(identity);
  return `${namespace}/${serviceAccount}`;
}

/** The wire name of a state. */
export function wireState(state: InstanceState): (typeof WIRE_STATES)[number] {
  return WIRE_STATES[INSTANCE_STATES.indexOf(state)] ?? "INSTANCE_STATE_STARTING";
}
