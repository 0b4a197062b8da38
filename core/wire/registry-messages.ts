// The fields of registry.proto's messages, by the property names of registry.ts. A number once given is never given again.
import { BOOL, BYTES, DOUBLE, field, oneOf, repeated, TEXT, UINT32, UINT64 } from "./field.ts";
import { message, messageWithChoice } from "./message.ts";
import { WIRE_PROTOCOLS } from "./port-protocol.ts";
import type {
  AddressPort,
  HeartbeatRequest,
  HeartbeatResponse,
  InstanceState,
  Load,
  Port,
  Protocol,
  ServicePort,
  WatchRequest,
  WatchUpdate,
  WireEndpoint,
} from "./registry.ts";

/** In the order of their numbers. */
export const PROTOCOL = oneOf<Protocol>(WIRE_PROTOCOLS);
/** In the order of their numbers. */
export const INSTANCE_STATE = oneOf<InstanceState>(["INSTANCE_STATE_STARTING", "INSTANCE_STATE_READY", "INSTANCE_STATE_DRAINING"]);

const port = message<Port>("Port", { number: field(1, UINT32), protocol: field(2, PROTOCOL), name: field(3, TEXT) });

/** The load within a heartbeat: the one field that differs each time. */
export const heartbeatLoad = message<Load>("Load", {
  inFlight: field(1, UINT32),
  rps: field(2, DOUBLE),
  p99Ms: field(3, DOUBLE),
  errorRatio: field(4, DOUBLE),
  requests: field(5, UINT64),
  errors: field(6, UINT64),
  refused: field(7, UINT64),
});

export const heartbeatRequest = message<HeartbeatRequest>("HeartbeatRequest", {
  instanceId: field(1, TEXT),
  epoch: field(2, UINT64),
  services: repeated(3, TEXT),
  addresses: repeated(4, TEXT),
  ports: repeated(5, port.kind),
  inboundPort: field(6, UINT32),
  version: field(7, TEXT),
  channel: field(8, TEXT),
  certExpiresAtMs: field(9, UINT64),
  state: field(10, INSTANCE_STATE),
  load: field(11, heartbeatLoad.kind),
  messageCertificate: field(12, BYTES),
  leaving: field(13, BOOL),
  issuedByRoot: field(14, BYTES),
  trustedRoots: repeated(15, BYTES),
});

export const heartbeatResponse = message<HeartbeatResponse>("HeartbeatResponse", {
  accepted: field(1, BOOL),
  reason: field(2, TEXT),
  message: field(3, TEXT),
  nextIntervalMs: field(4, UINT32),
  leaseMs: field(5, UINT32),
  degraded: field(6, BOOL),
});

const servicePort = message<ServicePort>("ServicePort", { name: field(1, TEXT), port: field(2, UINT32) });
const addressPort = message<AddressPort>("AddressPort", { address: field(1, TEXT), port: field(2, UINT32) });

export const watchRequest = messageWithChoice<WatchRequest, "destination" | "service" | "address">(
  "WatchRequest",
  { key: field(1, TEXT), unsubscribe: field(4, BOOL), knownVersion: field(5, UINT64) },
  { name: "destination", fields: { service: field(2, servicePort.kind), address: field(3, addressPort.kind) } },
);

const endpoint = message<WireEndpoint>("Endpoint", {
  instanceId: field(1, TEXT),
  identity: field(2, TEXT),
  address: field(3, TEXT),
  port: field(4, UINT32),
  inboundPort: field(5, UINT32),
  protocol: field(6, PROTOCOL),
  messageCertificate: field(7, BYTES),
  version: field(8, TEXT),
  state: field(9, INSTANCE_STATE),
});

export const watchUpdate = message<WatchUpdate>("WatchUpdate", {
  key: field(1, TEXT),
  version: field(2, UINT64),
  found: field(3, BOOL),
  full: field(4, BOOL),
  upserts: repeated(5, endpoint.kind),
  removed: repeated(6, TEXT),
  service: field(7, TEXT),
  protocol: field(8, PROTOCOL),
});
