// What the name of a port says of what is spoken on it, as users of meshes name ports already: `grpc-api`, `tcp-metrics`, `http`. The injector reads the
// names of container ports so, the registry those of Services.

type NamedProtocol = "detect" | "http2" | "grpc" | "tcp";

// `http` stays "detect": many servers speak HTTP/1.1 and cleartext HTTP/2 on a port of that name, and the first bytes tell which.
const PROTOCOL_OF_PREFIX: ReadonlyMap<string, NamedProtocol> = new Map([
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

/** The protocol that the part of `name` before the first hyphen means; `detect` where it means none. */
export function protocolOfPortName(name: string): NamedProtocol {
  if (name.startsWith("grpc-web")) return "detect"; // grpc-web is plain HTTP, of either version
  return PROTOCOL_OF_PREFIX.get(name.split("-", 1)[0] ?? "") ?? "detect";
}
