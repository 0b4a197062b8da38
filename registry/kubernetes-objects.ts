// What the registry reads out of Services, EndpointSlices and Pods. Pure: objects in, our words out. A field that makes no sense is left out, since
// an object of one namespace must not disturb another.
import type { V1EndpointSlice, V1Pod, V1Service } from "@kubernetes/client-node";
import { canonicalAddress } from "./address.ts";
import type { PortProtocol } from "./lease.ts";
import type { MemberEndpoint, PodFacts, ServiceEntry, ServicePort } from "./service-source.ts";

/** The label by which a slice names its Service. */
const SERVICE_NAME_LABEL = "kubernetes.io/service-name";
const SKIPPED_PORTS_ANNOTATION = "remora.io/skip-inbound-ports";
/** The sidecar's admin port is never captured (design 5). */
const ADMIN_PORT = 15020;

/** `appProtocol` of a Service port, as Kubernetes and its neighbours write it. */
const APP_PROTOCOLS: ReadonlyMap<string, PortProtocol> = new Map([
  ["http", "http1"],
  ["h2c", "http2"],
  ["http2", "http2"],
  ["kubernetes.io/h2c", "http2"],
  ["grpc", "grpc"],
  ["tcp", "tcp"],
  ["tls", "tcp"],
  ["https", "tcp"],
  ["redis", "tcp"],
  ["mysql", "tcp"],
  ["mongo", "tcp"],
  ["kubernetes.io/ws", "http1"],
  ["kubernetes.io/wss", "tcp"],
]);

/** `namespace/name` of an object; null when it has none. */
export function objectId(object: { readonly metadata?: { readonly name?: string; readonly namespace?: string } }): string | null {
  const { name, namespace } = object.metadata ?? {};
  return name === undefined || namespace === undefined ? null : `${namespace}/${name}`;
}

/** `namespace/name` of the Service a slice belongs to; null when it belongs to none. */
export function sliceServiceId(slice: V1EndpointSlice): string | null {
  const name = slice.metadata?.labels?.[SERVICE_NAME_LABEL];
  const namespace = slice.metadata?.namespace;
  return name === undefined || namespace === undefined ? null : `${namespace}/${name}`;
}

/** A Service with the endpoints of its slices; null for what has none (ExternalName). */
export function readService(service: V1Service, slices: Iterable<V1EndpointSlice>): ServiceEntry | null {
  const { name, namespace } = service.metadata ?? {};
  if (name === undefined || namespace === undefined || service.spec === undefined || service.spec.type === "ExternalName") return null;
  const ingress = service.status?.loadBalancer?.ingress?.map(({ ip }) => ip ?? "") ?? [];
  const addresses = [...(service.spec.clusterIPs ?? [service.spec.clusterIP ?? ""]), ...(service.spec.externalIPs ?? []), ...ingress];
  return {
    namespace,
    name,
    virtualAddresses: [...new Set(addresses.map(canonicalAddress))].filter((address) => address !== null),
    ports: (service.spec.ports ?? []).filter((port) => (port.protocol ?? "TCP") === "TCP").map(readServicePort),
    members: { kind: "endpoints", endpoints: [...slices].flatMap(readSlice) },
  };
}

/** What is known of a pod: its UID and facts. Null for one that is not running as itself (host network) or no longer (completed). */
export function readPod(pod: V1Pod): { readonly uid: string; readonly facts: PodFacts } | null {
  const { uid, namespace } = pod.metadata ?? {};
  const isOver = pod.status?.phase === "Succeeded" || pod.status?.phase === "Failed";
  if (uid === undefined || namespace === undefined || pod.spec === undefined || pod.spec.hostNetwork === true || isOver) return null;
  const given = pod.status?.podIPs?.map(({ ip }) => ip ?? "") ?? [pod.status?.podIP ?? ""];
  return {
    uid,
    facts: {
      account: `${namespace}/${pod.spec.serviceAccountName ?? "default"}`,
      addresses: given.map(canonicalAddress).filter((address) => address !== null),
      skippedPorts: new Set([ADMIN_PORT, ...readPorts(pod.metadata?.annotations?.[SKIPPED_PORTS_ANNOTATION])]),
    },
  };
}

function readServicePort(port: NonNullable<NonNullable<V1Service["spec"]>["ports"]>[number]): ServicePort {
  return {
    port: port.port,
    targetPort: typeof port.targetPort === "string" || typeof port.targetPort === "number" ? port.targetPort : port.port,
    protocol: APP_PROTOCOLS.get(port.appProtocol ?? "") ?? "detect",
    name: port.name ?? "",
  };
}

function readSlice(slice: V1EndpointSlice): MemberEndpoint[] {
  const targetPorts = new Map((slice.ports ?? []).flatMap(({ name, port }) => (port === undefined ? [] : [[name ?? "", port] as const])));
  return (slice.endpoints ?? []).flatMap((endpoint) => {
    const instanceId = endpoint.targetRef?.kind === "Pod" ? (endpoint.targetRef.uid ?? null) : null;
    const ready = endpoint.conditions?.ready !== false; // "nil should be interpreted as ready", EndpointConditions
    const addresses = endpoint.addresses.map(canonicalAddress).filter((address) => address !== null);
    return addresses.map((address) => ({ instanceId, address, ready, targetPorts }));
  });
}

function readPorts(text: string | undefined): number[] {
  const ports = (text ?? "").split(",").map((part) => Number(part.trim()));
  return ports.filter((port) => Number.isInteger(port) && port >= 1 && port <= 65535);
}
