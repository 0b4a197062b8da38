// Between the registry's messages and the sidecar's words. What the registry says is checked here once: an endpoint that makes no sense is left out.
import { isIP } from "node:net";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { protocolOfWire } from "../../core/wire/port-protocol.ts";
import type { WatchRequest, WireEndpoint } from "../../core/wire/registry.ts";
import type { Destination, Endpoint, InstanceState } from "./discovery.ts";
import { destinationKey } from "./discovery.ts";

const STATES = [
  ["INSTANCE_STATE_STARTING", "starting"],
  ["INSTANCE_STATE_READY", "ready"],
  ["INSTANCE_STATE_DRAINING", "draining"],
] as const;

const HOST_NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*\.?$/i;

/** An endpoint as the sidecar knows it; null when the registry's words make none. */
export function readEndpoint(wire: WireEndpoint): Endpoint | null {
  try {
    const sound = isIP(wire.address) !== 0 && wire.port >= 1 && wire.port <= 65535 && wire.inboundPort >= 0 && wire.inboundPort <= 65535;
    if (!sound || wire.instanceId === "") return null;
    return Object.freeze({
      id: `${wire.instanceId}:${wire.port}`,
      instanceId: wire.instanceId,
      identity: parseSpiffeId(wire.identity),
      address: wire.address,
      port: wire.port,
      inboundPort: wire.inboundPort,
      protocol: protocolOfWire(wire.protocol),
      messageCertificate: wire.messageCertificate.length === 0 ? null : wire.messageCertificate,
      version: wire.version,
      state: STATES.find(([name]) => name === wire.state)?.[1] ?? "starting",
    });
  } catch {
    return null; // an identity that is none
  }
}

/** The wire name of a state. */
export function wireState(state: InstanceState): (typeof STATES)[number][0] {
  return STATES.find(([, name]) => name === state)?.[0] ?? "INSTANCE_STATE_STARTING";
}

/** Asks for a destination, or, with `unsubscribe`, for no more about it. */
export function watchRequest(destination: Destination, knownVersion: number, unsubscribe = false): WatchRequest {
  const { port } = destination;
  const asked =
    destination.kind === "service" ? { service: { name: destination.name, port } } : { address: { address: destination.address, port } };
  return { key: destinationKey(destination), unsubscribe, knownVersion, ...asked };
}

/** True when the registry can be asked for it at all: it ends a stream on which nonsense is asked. */
export function isAskable(destination: Destination): boolean {
  const { port } = destination;
  if (!Number.isInteger(port) || port > 65535) return false;
  if (destination.kind === "address") return port >= 1 && isIP(destination.address) !== 0;
  return port >= 0 && destination.name.length <= 253 && HOST_NAME.test(destination.name);
}
