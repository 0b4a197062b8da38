// Explicit capture names destinations in requests; this reads them.
import type { Destination } from "./discovery/discovery.ts";
import { parseAuthority } from "./transport/address.ts";

/** The port that a destination without one stands for outside of the mesh. */
export const HTTP_PORT = 80;

/** Where a request goes whose authority is `authority`: an address as it is, any other host as a service name. Null when it is unusable: `authorityFlaw` says why. */
export function explicitDestination(authority: string): Destination | null {
  const target = parseAuthority(authority);
  if (target === null) return null;
  if (target.isAddress) return { kind: "address", address: target.host, port: target.port === 0 ? HTTP_PORT : target.port };
  return { kind: "service", name: target.host, port: target.port };
}
