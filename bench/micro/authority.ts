// Twin of sidecar/transport/address.ts: reading the authority that names a destination in explicit capture.
import { parseAuthority } from "../../sidecar/transport/address.ts";
import type { Cases } from "./measure.ts";

/** A service name, one of full length, addresses, what is refused. */
export function cases(): Cases {
  return {
    name: () => parseAuthority("orders"),
    "name and port": () => parseAuthority("orders:8080"),
    "full name, absolute": () => parseAuthority("orders.demo.svc.cluster.local.:8080"),
    "upper case": () => parseAuthority("Orders.Demo"),
    IPv4: () => parseAuthority("10.96.0.10:8080"),
    IPv6: () => parseAuthority("[fd00::10]:8080"),
    "no host at all": () => parseAuthority("bücher:80"),
  };
}
