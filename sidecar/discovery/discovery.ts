// What the sidecar knows about destinations (design 8): the words that the stages use and the one interface they ask. The client behind it
// is `start-discovery.ts`; views are immutable snapshots, swapped by reference (style 14).
import type { SpiffeId } from "../../core/spiffe.ts";
import type { PortProtocol } from "../../core/wire/port-protocol.ts";

/** The life of an instance: only `ready` ones are in views. */
export type InstanceState = "starting" | "ready" | "draining";

/** One port of one meshed instance. */
export interface Endpoint {
  /** `<instanceId>:<port>`, unique in a view. */
  readonly id: string;
  /** The pod UID, or the name a laptop process was given. */
  readonly instanceId: string;
  /** The identity the instance's certificate must carry. */
  readonly identity: SpiffeId;
  /** IPv4 or IPv6 literal, no brackets. */
  readonly address: string;
  /** 1..65535, where the app listens. */
  readonly port: number;
  /** Where its sidecar listens; 0: dial `port`, the peer's iptables redirect it. */
  readonly inboundPort: number;
  readonly protocol: PortProtocol;
  /** DER of the message certificate (design 9); null when the instance announced none. */
  readonly messageCertificate: Buffer | null;
  /** Version of the instance's sidecar. */
  readonly version: string;
  readonly state: InstanceState;
}

/** What a caller wants to reach. Ports 1..65535; 0 in a service destination is the service's only or first port. */
export type Destination =
  | { readonly kind: "address"; readonly address: string; readonly port: number }
  | { readonly kind: "service"; readonly name: string; readonly port: number };

/** One destination at one version. Immutable; a change makes a new view with a new `endpoints` array. */
export interface DestinationView {
  /** {@link destinationKey} of what was asked. */
  readonly key: string;
  /** `namespace/name`; empty when the destination is a bare instance address. */
  readonly service: string;
  /** Declared for the port. */
  readonly protocol: PortProtocol;
  /** Ready ones only. May be empty: the service is meshed and nothing is ready. */
  readonly endpoints: readonly Endpoint[];
  /** Grows at each change the registry made; early removals do not touch it. */
  readonly version: number;
}

/** The sidecar's one way to ask where something is, and to say how it is itself. */
export interface Discovery {
  /**
   * Finds `destination`. `done` is called synchronously when the answer is known, else once the registry answered.
   * Null: it is in no snapshot, or the registry did not answer within the lookup timeout and nothing is on disk.
   */
  lookup(destination: Destination, done: (view: DestinationView | null) => void): void;
  /**
   * Another number whenever any view may be another: what `lookup` gave before need not be asked for again while it is the same. Not a
   * getter: V8 keeps an object literal with one as a dictionary, and every request looks into this.
   */
  revision(): number;
  /** The view held for a key of {@link destinationKey}, without asking anyone; null when none is held. */
  peek(key: string): DestinationView | null;
  /** The endpoint refused a connection: it leaves every view for a few seconds, or until the registry announces it anew. */
  markRefused(endpoint: Endpoint): void;
  /** Time since the registry last accepted a heartbeat, ms; since the start while it never did. */
  heartbeatAgeMs(): number;
  /** Announces a new state at once, without waiting for the next heartbeat. Starts as `starting`. */
  setState(state: InstanceState): void;
  /** Removes the lease now; resolves when the registry said so, or after a short time. No heartbeat follows. */
  deregister(): Promise<void>;
  close(): Promise<void>;
}

/** The key of a destination: the same text for the same destination. Two shapes that cannot collide. */
export function destinationKey(destination: Destination): string {
  return destination.kind === "address"
    ? `address/${destination.address}/${destination.port}`
    : `service/${destination.name}/${destination.port}`;
}
