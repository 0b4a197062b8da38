// What a port declares to speak: the one list of words for it, as people write them and as the wire has them.
import type { Protocol } from "./registry.ts";

/** Protocols by their short names; {@link WIRE_PROTOCOLS} has the same order. `detect` looks at the first bytes, `tcp` is opaque. */
export const PORT_PROTOCOLS = ["detect", "http1", "http2", "grpc", "tcp"] as const;
/** Protocols by their wire names, in the order of their numbers. */
export const WIRE_PROTOCOLS = [
  "PROTOCOL_UNSPECIFIED",
  "PROTOCOL_HTTP1",
  "PROTOCOL_HTTP2",
  "PROTOCOL_GRPC",
  "PROTOCOL_TCP",
] as const satisfies readonly Protocol[];

/** One of {@link PORT_PROTOCOLS}. */
export type PortProtocol = (typeof PORT_PROTOCOLS)[number];

/** A protocol by its short name; null when there is no such protocol. */
export function portProtocol(text: unknown): PortProtocol | null {
  return PORT_PROTOCOLS.find((known) => known === text) ?? null;
}

/** The wire name of a protocol. */
export function wireProtocol(protocol: PortProtocol): Protocol {
  return WIRE_PROTOCOLS[PORT_PROTOCOLS.indexOf(protocol)] ?? "PROTOCOL_UNSPECIFIED";
}

/** A protocol by its wire name; one from the future is `detect`. */
export function protocolOfWire(wire: string): PortProtocol {
  return PORT_PROTOCOLS[(WIRE_PROTOCOLS as readonly string[]).indexOf(wire)] ?? "detect";
}
