// Networks as text: ADDRESS/BITS, or one address alone (RFC 4632, RFC 4291 section 2.3).
import { isIP } from "node:net";

/** An address family, as netfilter knows it. */
export type Family = "ipv4" | "ipv6";

/** A network with its family, e.g. `10.0.0.0/8`. Made by {@link readCidr}. */
export interface Cidr {
  readonly family: Family;
  readonly address: string;
  readonly prefixBits: number;
}

/** Why a text is no network; completes `"10.0.0.0/33" …`. */
export interface NoCidr {
  readonly problem: string;
}

/** Reads a network; a bare address means that one host. Zones (`%eth0`) are not part of a network. */
export function readCidr(text: string): Cidr | NoCidr {
  const [address = "", prefix, ...rest] = text.split("/");
  const version = isIP(address);
  if (version === 0 || rest.length > 0 || address.includes("%")) return { problem: "is not a network such as 10.0.0.0/8 or fd00::/8" };
  const maxBits = version === 4 ? 32 : 128;
  const prefixBits = prefix === undefined ? maxBits : /^[0-9]{1,3}$/.test(prefix) ? Number(prefix) : -1;
  if (prefixBits < 0 || prefixBits > maxBits) return { problem: `has a prefix length outside 0..${maxBits}` };
  return { family: version === 4 ? "ipv4" : "ipv6", address, prefixBits };
}
