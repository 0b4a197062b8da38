// Which protocol each port of the app speaks, as the sidecar is told in REMORA_PORTS: from the names of the declared ports, as mesh users already
// name them (`grpc-api`, `tcp-metrics`, `http`), and from `remora.io/ports`, which beats them.
import type { AnnotationValues } from "../annotations/annotations.ts";
import type { PortProtocol } from "../annotations/annotation-types.ts";
import { type ContainerPort, type Pod, runningContainers } from "./pod.ts";

// `http` stays "detect": many servers speak HTTP/1.1 and cleartext HTTP/2 on a port of that name, and the first bytes tell which.
const PROTOCOL_OF_PREFIX: ReadonlyMap<string, PortProtocol> = new Map([
  ["http", "detect"],
  ["http2", "http2"],
  ["h2c", "http2"],
  ["grpc", "grpc"],
  ["tcp", "tcp"],
  ["tls", "tcp"],
  ["https", "tcp"], // the app's own TLS is opaque to us
  ["amqp", "tcp"],
  ["kafka", "tcp"],
  ["ldap", "tcp"],
  ["mongo", "tcp"],
  ["mysql", "tcp"],
  ["nats", "tcp"],
  ["postgres", "tcp"],
  ["redis", "tcp"],
  ["smtp", "tcp"],
]);

/** The TCP ports of the app in ascending order with their protocols, e.g. `6379=tcp,8080,9090=grpc`. Empty when it declares none. */
export function derivePorts(pod: Pod, values: AnnotationValues): string {
  const ports = new Map<number, PortProtocol>();
  for (const container of runningContainers(pod)) {
    for (const port of container.ports ?? []) {
      if ((port.protocol ?? "TCP") === "TCP") ports.set(port.containerPort, protocolOf(port));
    }
  }
  for (const [port, protocol] of values.ports ?? []) ports.set(port, protocol);
  return [...ports]
    .sort(([a], [b]) => a - b)
    .map(([port, protocol]) => (protocol === "detect" ? String(port) : `${port}=${protocol}`))
    .join(",");
}

/** `appProtocol`, which only Services have, is for the registry; a container port has nothing but its name. */
function protocolOf(port: ContainerPort): PortProtocol {
  const name = port.name ?? "";
  if (name.startsWith("grpc-web")) return "detect"; // grpc-web is plain HTTP, of either version
  return PROTOCOL_OF_PREFIX.get(name.split("-", 1)[0] ?? "") ?? "detect";
}
