// Services as somebody else defines them: a file outside Kubernetes, the API server inside (design 8). A service that no source defines still
// exists when instances announce its name. This file holds the words and the source that defines nothing.
import type { SpiffeId } from "../core/spiffe.ts";
import type { PortProtocol } from "../core/wire/port-protocol.ts";
import type { Lease } from "./lease.ts";

/** One port of a service. */
export interface ServicePort {
  /** 1..65535, what callers ask for. */
  readonly port: number;
  /** Where the instances listen: a number, or the name of one of their ports. */
  readonly targetPort: number | string;
  readonly protocol: PortProtocol;
  /** May be empty. */
  readonly name: string;
}

/** One backend the source itself knows (an endpoint of an EndpointSlice). */
export interface MemberEndpoint {
  /** Pod UID; null when the backend is no pod. */
  readonly instanceId: string | null;
  /** Canonical. */
  readonly address: string;
  /** False: not to be called now. */
  readonly ready: boolean;
  /** Target port by service port name. */
  readonly targetPorts: ReadonlyMap<string, number>;
  /** The backend's own name below the service's; empty: it has none. */
  readonly hostname: string;
}

/** Which instances belong to a service. */
export type Members =
  /** Those that announce its name. */
  | { readonly kind: "announced" }
  /** Those of these accounts, `namespace/service-account`. */
  | { readonly kind: "accounts"; readonly accounts: readonly string[] }
  /** Those of its namespace that match every label: `service`, `service-account`, `version`, `channel`. */
  | { readonly kind: "labels"; readonly labels: ReadonlyMap<string, string> }
  | { readonly kind: "endpoints"; readonly endpoints: readonly MemberEndpoint[] };

/** A defined service. Immutable. */
export interface ServiceEntry {
  readonly namespace: string;
  readonly name: string;
  /** Canonical addresses that stand for the service and belong to no instance. */
  readonly virtualAddresses: readonly string[];
  /** Empty: callers use the instances' own ports. */
  readonly ports: readonly ServicePort[];
  /** True: it has no address of its own, its name stands for its instances' addresses, and callers ask for their ports. */
  readonly headless: boolean;
  readonly members: Members;
}

/** What is known about the pod behind an instance. */
export interface PodFacts {
  /** `namespace/service-account` */
  readonly account: string;
  /** Canonical; empty: none yet. */
  readonly addresses: readonly string[];
  /** True: the addresses are its node's, and not its alone. */
  readonly onHostNetwork: boolean;
}

/** The pods that a source knows. What it does not know is no pod, or none yet. */
export interface Pods {
  get(instanceId: string): PodFacts | undefined;
  /** The UIDs of pods that an address belongs to; two only for moments, when one pod takes over from another. */
  at(address: string): Iterable<string>;
  /** True: inbound traffic of that port does not reach the pod's sidecar. */
  skips(instanceId: string, port: number): boolean;
  /** Resolves with true when anything about the pod changed, or it appeared; with false after `forMs`. */
  changed(instanceId: string, forMs: number): Promise<boolean>;
}

/** What an identity may announce beyond the default. */
export interface AnnounceGrant {
  /** `namespace/service-account`. */
  readonly account: string;
  readonly services: readonly string[];
  readonly mayUse: (address: string) => boolean;
}

/** What is wrong with a source; what it knew before stays in force. */
export interface SourceProblem {
  readonly message: string;
  /** Epoch ms. */
  readonly since: number;
}

/** A place that defines services. */
export interface ServiceSource {
  /** `file`, `kubernetes`, `none`: for logs and health. */
  readonly kind: string;
  service(serviceId: string): ServiceEntry | undefined;
  all(): Iterable<ServiceEntry>;
  /** The service that a virtual address stands for. */
  byVirtualAddress(address: string): ServiceEntry | undefined;
  /** Ids (`namespace/name`) of defined services that may count `lease` among their members. */
  selecting(lease: Lease): Iterable<string>;
  /** Null: the source knows no pods, so nothing follows from one being absent. */
  readonly pods: Pods | null;
  /** Grants for one identity. */
  grants(identity: SpiffeId): Iterable<AnnounceGrant>;
  /** Calls `run` with the ids of services that changed, appeared or went, "" for instances by their own addresses; returns how to stop. */
  onChange(run: (serviceIds: ReadonlySet<string>) => void): () => void;
  /** Null while all is well; else what is wrong and since when, for health. */
  problem(): SourceProblem | null;
  close(): Promise<void>;
}

/** `namespace/name`. */
export function serviceIdOf(entry: ServiceEntry): string {
  return `${entry.namespace}/${entry.name}`;
}

/** The source that defines nothing. */
export const noServices: ServiceSource = {
  kind: "none",
  service: () => undefined,
  all: () => [],
  byVirtualAddress: () => undefined,
  selecting: () => [],
  pods: null,
  grants: () => [],
  onChange: () => () => {},
  problem: () => null,
  close: async () => {},
};

/** True when `lease` carries every one of `labels`. */
export function matchesLabels(lease: Lease, serviceAccount: string, labels: ReadonlyMap<string, string>): boolean {
  for (const [label, wanted] of labels) {
    switch (label) {
      case "service":
        if (!lease.services.includes(wanted)) return false;
        break;
      case "service-account":
        if (serviceAccount !== wanted) return false;
        break;
      case "version":
        if (lease.version !== wanted) return false;
        break;
      case "channel":
        if (lease.channel !== wanted) return false;
        break;
      default:
        return false; // fails closed: an unknown label selects nothing
    }
  }
  return true;
}
