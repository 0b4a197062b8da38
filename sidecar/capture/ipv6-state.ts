// Whether this network namespace speaks IPv6, read from /proc/net/if_inet6. It decides how bad it is when IPv6 cannot be captured.
import { readFileSync } from "node:fs";

/**
 * `off`: the kernel has no IPv6, there is nothing to capture. `local`: no address, or only loopback and link-local ones; an address may still come.
 * `routable`: the pod has an address that others reach, and uncaptured IPv6 would bypass the mesh.
 */
export type Ipv6State = "off" | "local" | "routable";

/** Scope field of an address that is valid beyond its link (IPV6_ADDR_SCOPE_GLOBAL; unique local addresses count as such). */
const GLOBAL_SCOPE = "00";

export function readIpv6State(read: () => string = () => readFileSync("/proc/net/if_inet6", "utf8")): Ipv6State {
  let table: string;
  try {
    table = read();
  } catch {
    return "off"; // the file is there exactly when the kernel has IPv6
  }
  const rows = table
    .split("\n")
    .map((line) => line.trim().split(/\s+/))
    .filter((fields) => fields.length === 6);
  return rows.some((fields) => fields[3] === GLOBAL_SCOPE && fields[5] !== "lo") ? "routable" : "local";
}
