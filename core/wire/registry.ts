// Types of registry.proto as core/wire/load.ts delivers them. Kept by hand; `test/core/wire/types.test.ts` fails when the two differ.
import type { BidiCall } from "./server-call.ts";

/** What a port speaks. Unspecified: detect by first bytes; TCP: opaque. */
export type Protocol = "PROTOCOL_UNSPECIFIED" | "PROTOCOL_HTTP1" | "PROTOCOL_HTTP2" | "PROTOCOL_GRPC" | "PROTOCOL_TCP";

export type InstanceState = "INSTANCE_STATE_STARTING" | "INSTANCE_STATE_READY" | "INSTANCE_STATE_DRAINING";

export interface Port {
  /** 1..65535, where the app listens. */
  readonly number: number;
  readonly protocol: Protocol;
  /** May be empty. */
  readonly name: string;
}

export interface Load {
  readonly inFlight: number;
  readonly rps: number;
  readonly p99Ms: number;
  /** 0..1. */
  readonly errorRatio: number;
  /** Finished inbound requests since `epoch`; 0 from versions that do not count totals. */
  readonly requests: number;
  /** Those that failed. */
  readonly errors: number;
  /** Refusals of requests and connections since `epoch`, both directions. */
  readonly refused: number;
}

export interface HeartbeatRequest {
  /** Pod UID. */
  readonly instanceId: string;
  /** Start time of the sidecar, epoch ms; a lower one than the lease's is refused. */
  readonly epoch: number;
  /** "orders" (own namespace is implied). */
  readonly services: readonly string[];
  /** Pod IPs, first is preferred. */
  readonly addresses: readonly string[];
  readonly ports: readonly Port[];
  /** Explicit capture: the announced inbound port; 0 in transparent capture. */
  readonly inboundPort: number;
  readonly version: string;
  readonly channel: string;
  readonly certExpiresAtMs: number;
  readonly state: InstanceState;
  /** Null when not sent. */
  readonly load: Load | null;
  /** DER; empty when there is none. */
  readonly messageCertificate: Buffer;
  /** True: remove the lease now. */
  readonly leaving: boolean;
  /** First 8 bytes of the SHA-256 of the root that the TLS leaf chains to; empty from versions that do not say. */
  readonly issuedByRoot: Buffer;
  /** The same of every root that peers are believed by. */
  readonly trustedRoots: readonly Buffer[];
}

export interface HeartbeatResponse {
  readonly accepted: boolean;
  /** A code of core/reasons.ts, empty when accepted. */
  readonly reason: string;
  readonly message: string;
  readonly nextIntervalMs: number;
  readonly leaseMs: number;
  /** The registry's own store is away. */
  readonly degraded: boolean;
}

export interface ServicePort {
  /** "orders", "orders.ns" or "orders.ns.svc.<cluster-domain>". */
  readonly name: string;
  /** 0: the service's only or first port. */
  readonly port: number;
}

export interface AddressPort {
  readonly address: string;
  readonly port: number;
}

/** Exactly one of `service` and `address` is set. */
export interface WatchRequest {
  /** The client's name of this destination, echoed in every update. */
  readonly key: string;
  readonly service?: ServicePort | null;
  readonly address?: AddressPort | null;
  /** Which of the two is set, as received. Not sent. */
  readonly destination?: "service" | "address";
  readonly unsubscribe: boolean;
  /** The version held on disk or from an earlier stream, 0 for none. */
  readonly knownVersion: number;
}

export interface WatchUpdate {
  readonly key: string;
  /** Of this destination, growing. */
  readonly version: number;
  /** False: in no snapshot (design 4: pass through or refuse). */
  readonly found: boolean;
  /** True: `upserts` is everything, forget the rest. */
  readonly full: boolean;
  readonly upserts: readonly WireEndpoint[];
  /** Endpoint ids: instance id ":" port. */
  readonly removed: readonly string[];
  /** "ns/name", empty for a bare instance address. */
  readonly service: string;
  /** Declared for the port. */
  readonly protocol: Protocol;
}

/** Message `Endpoint`; called so to keep it apart from the type of the sidecar, which has parsed it. */
export interface WireEndpoint {
  readonly instanceId: string;
  /** SPIFFE id. */
  readonly identity: string;
  readonly address: string;
  /** Target port of the app. */
  readonly port: number;
  /** 0: dial `port`, its iptables redirect it. */
  readonly inboundPort: number;
  readonly protocol: Protocol;
  /** DER; empty when there is none. */
  readonly messageCertificate: Buffer;
  readonly version: string;
  readonly state: InstanceState;
}

/** What a server of `remora.v1.Registry` implements. */
export interface RegistryHandlers {
  readonly heartbeat: (call: BidiCall<HeartbeatRequest, HeartbeatResponse>) => void;
  readonly watch: (call: BidiCall<WatchRequest, WatchUpdate>) => void;
}
