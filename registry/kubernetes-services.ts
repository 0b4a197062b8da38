// What the registry keeps of Services and EndpointSlices, and the entry that both make. Pure and total: objects in, our words out. A field that makes no
// sense is left out, since an object of one namespace must not disturb another.
import { fieldsOf, listOf, portOf, textOf } from "../core/kubernetes/json-fields.ts";
import { protocolOfPortName } from "../core/port-name.ts";
import { canonicalAddress } from "./address.ts";
import type { PortProtocol } from "../core/wire/port-protocol.ts";
import type { MemberEndpoint, ServiceEntry, ServicePort } from "./service-source.ts";

/** The label by which a slice names its Service. */
const SERVICE_NAME_LABEL = "kubernetes.io/service-name";

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

/** What is kept of a Service. Immutable. */
export interface ServiceFacts {
  /** `namespace/name` */
  readonly id: string;
  readonly namespace: string;
  readonly name: string;
  readonly resourceVersion: string;
  /** Canonical; both families of a dual-stack Service. The API server gives each to one Service only. */
  readonly clusterAddresses: readonly string[];
  /** Canonical; of load balancers, so a pod or another Service may have them too. */
  readonly balancerAddresses: readonly string[];
  /** TCP only. */
  readonly ports: readonly ServicePort[];
  readonly headless: boolean;
  /** False: nothing of it can be in the mesh (ExternalName, or no port of TCP), whatever slices say. */
  readonly hasMembers: boolean;
}

/** What is kept of an EndpointSlice. Immutable. */
export interface SliceFacts {
  /** `namespace/name` of the Service it is of. */
  readonly serviceId: string;
  readonly name: string;
  readonly resourceVersion: string;
  readonly endpoints: readonly MemberEndpoint[];
}

/** Null for what is no Service. */
export function readService(object: unknown): ServiceFacts | null {
  const metadata = fieldsOf(fieldsOf(object)["metadata"]);
  const spec = fieldsOf(fieldsOf(object)["spec"]);
  const [name, namespace] = [textOf(metadata["name"]), textOf(metadata["namespace"])];
  if (name === "" || namespace === "") return null;
  const declared = listOf(spec["ports"]).map(fieldsOf);
  const ports = declared.filter(isTcp).map(readServicePort);
  return {
    id: `${namespace}/${name}`,
    namespace,
    name,
    resourceVersion: textOf(metadata["resourceVersion"]),
    // Not `externalIPs`: whoever may make a Service may write any address there, and would be given its traffic (CVE-2020-8554).
    clusterAddresses: readAddresses([spec["clusterIP"], ...listOf(spec["clusterIPs"])]),
    balancerAddresses: readBalancer(fieldsOf(object)["status"]),
    ports: ports.filter((port) => port !== null),
    headless: spec["clusterIP"] === "None",
    hasMembers: spec["type"] !== "ExternalName" && (declared.length === 0 || declared.some(isTcp)),
  };
}

/** Null for a slice of no Service. */
export function readSlice(object: unknown): SliceFacts | null {
  const metadata = fieldsOf(fieldsOf(object)["metadata"]);
  const service = textOf(fieldsOf(metadata["labels"])[SERVICE_NAME_LABEL]);
  const [name, namespace] = [textOf(metadata["name"]), textOf(metadata["namespace"])];
  if (service === "" || name === "" || namespace === "") return null;
  const targetPorts = readTargetPorts(fieldsOf(object)["ports"]);
  return {
    serviceId: `${namespace}/${service}`,
    name,
    resourceVersion: textOf(metadata["resourceVersion"]),
    endpoints: listOf(fieldsOf(object)["endpoints"]).flatMap((endpoint) => readEndpoint(fieldsOf(endpoint), targetPorts)),
  };
}

/** The Service with the endpoints of its slices. */
export function entryOf(service: ServiceFacts, slices: readonly SliceFacts[]): ServiceEntry {
  const { namespace, name, ports, headless, clusterAddresses, balancerAddresses } = service;
  const [first, ...more] = service.hasMembers ? slices : [];
  const endpoints = first === undefined ? [] : more.length === 0 ? first.endpoints : [first, ...more].flatMap((slice) => slice.endpoints);
  return {
    namespace,
    name,
    virtualAddresses: [...new Set([...clusterAddresses, ...balancerAddresses])],
    ports,
    headless,
    members: { kind: "endpoints", endpoints },
  };
}

function isTcp(port: { readonly [field: string]: unknown }): boolean {
  return (port["protocol"] ?? "TCP") === "TCP";
}

function readServicePort(port: { readonly [field: string]: unknown }): ServicePort | null {
  const number = portOf(port["port"]);
  if (number === null) return null;
  const name = textOf(port["name"]);
  const targetPort = textOf(port["targetPort"]) === "" ? (portOf(port["targetPort"]) ?? number) : textOf(port["targetPort"]);
  return { port: number, targetPort, protocol: APP_PROTOCOLS.get(textOf(port["appProtocol"])) ?? protocolOfPortName(name), name };
}

function readBalancer(status: unknown): readonly string[] {
  const ingress = listOf(fieldsOf(fieldsOf(status)["loadBalancer"])["ingress"]).map(fieldsOf);
  // `Proxy`: also traffic from inside of the cluster is to go through the load balancer.
  return readAddresses(ingress.filter(({ ipMode }) => ipMode !== "Proxy").map(({ ip }) => ip));
}

/** Those that are addresses; "None" and "" are not. */
function readAddresses(values: readonly unknown[]): readonly string[] {
  return [...new Set(values.map((value) => canonicalAddress(textOf(value))))].filter((address) => address !== null);
}

/** By name of the Service's port. One slice has one number for each name; where pods differ, Kubernetes makes more slices. */
function readTargetPorts(ports: unknown): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const port of listOf(ports).map(fieldsOf)) {
    const number = portOf(port["port"]);
    if (number !== null && isTcp(port)) found.set(textOf(port["name"]), number);
  }
  return found;
}

/** One for each address, which Kubernetes asks to be treated alike; it writes one. */
function readEndpoint(endpoint: { readonly [field: string]: unknown }, targetPorts: ReadonlyMap<string, number>): MemberEndpoint[] {
  const target = fieldsOf(endpoint["targetRef"]);
  const uid = textOf(target["uid"]);
  const instanceId = target["kind"] === "Pod" && uid !== "" ? uid : null;
  // "nil should be interpreted as ready"; what ends is never ready, unless its Service publishes what is not ready too (EndpointConditions).
  const ready = fieldsOf(endpoint["conditions"])["ready"] !== false;
  const hostname = textOf(endpoint["hostname"]);
  return readAddresses(listOf(endpoint["addresses"])).map((address) => ({ instanceId, address, ready, targetPorts, hostname }));
}
