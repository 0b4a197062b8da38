// Which protocol each port of the app speaks, as the sidecar is told in REMORA_PORTS: from the names of the declared ports, and from
// `remora.io/ports`, which beats them. `appProtocol`, which only Services have, is for the registry.
import { protocolOfPortName } from "../../core/port-name.ts";
import type { AnnotationValues } from "../annotations/annotations.ts";
import type { PortProtocol } from "../../core/wire/port-protocol.ts";
import { type Pod, runningContainers } from "./pod.ts";

/** The TCP ports of the app in ascending order with their protocols, e.g. `6379=tcp,8080,9090=grpc`. Empty when it declares none. */
export function derivePorts(pod: Pod, values: AnnotationValues): string {
  const ports = new Map<number, PortProtocol>();
  for (const container of runningContainers(pod)) {
    for (const port of container.ports ?? []) {
      if ((port.protocol ?? "TCP") === "TCP") ports.set(port.containerPort, protocolOfPortName(port.name ?? ""));
    }
  }
  for (const [port, protocol] of values.ports ?? []) ports.set(port, protocol);
  return [...ports]
    .sort(([a], [b]) => a - b)
    .map(([port, protocol]) => (protocol === "detect" ? String(port) : `${port}=${protocol}`))
    .join(",");
}
