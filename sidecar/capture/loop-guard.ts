// Keeps a connection that leads back to the sidecar itself from being forwarded for ever (reason `loop_detected`). Owns only the comparison of a
// destination with the sidecar's own listeners; the stage lists decide what to refuse.
import { isIPv4 } from "node:net";

/** What the sidecar itself listens on. */
export interface OwnListeners {
  /** The pod's own addresses, as announced (REMORA_POD_IPS). Loopback and unspecified addresses count as own without being listed. */
  readonly addresses: readonly string[];
  /** The outbound, inbound and admin ports. */
  readonly ports: readonly number[];
}

const MAPPED_PREFIX = "::ffff:";

/** True when `dst` is one of the sidecar's own listeners: dialling it would come straight back to the one who dials. */
export function isOwnListener(dst: { readonly address: string; readonly port: number }, own: OwnListeners): boolean {
  return own.ports.includes(dst.port) && isOwnAddress(dst.address, own.addresses);
}

/** True when `address` is this pod: one of `addresses`, loopback, or the unspecified address. v4-mapped text is seen as IPv4. */
export function isOwnAddress(address: string, addresses: readonly string[]): boolean {
  const plain = address.startsWith(MAPPED_PREFIX) ? address.slice(MAPPED_PREFIX.length) : address;
  return isLoopback(plain) || plain === "0.0.0.0" || plain === "::" || addresses.includes(plain);
}

/** True for 127.0.0.0/8 and ::1. */
export function isLoopback(address: string): boolean {
  return address === "::1" || (isIPv4(address) && address.startsWith("127."));
}
