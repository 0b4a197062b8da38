// IP addresses as the registry compares them: one canonical text per address, so that `::ffff:10.0.0.1`, `10.0.0.1` and `FD00:0::1` cannot
// be told apart by spelling. Zones (`%eth0`) are dropped: they mean nothing on another machine.
import { BlockList, isIP, SocketAddress } from "node:net";

const MAPPED = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/;
const MAX_ADDRESS_LENGTH = 64;

/** An IP literal in canonical form: IPv4 dotted, IPv6 compressed and lower case, IPv4-mapped as IPv4. Null when `text` is none. */
export function canonicalAddress(text: string): string | null {
  if (text.length > MAX_ADDRESS_LENGTH) return null;
  const family = isIP(text);
  if (family === 0) return null;
  if (family === 4) return text;
  const { address } = new SocketAddress({ address: text, family: "ipv6" });
  return MAPPED.exec(address)?.[1] ?? address;
}

const loopback = new BlockList();
loopback.addSubnet("127.0.0.0", 8, "ipv4");
loopback.addAddress("::1", "ipv6");

/** True for 127.0.0.0/8 and ::1. */
export function isLoopback(address: string): boolean {
  // Most are not, and each heartbeat asks: a list of ranges takes a microsecond to say no.
  if (!address.startsWith("127.") && !address.includes(":")) return false;
  return loopback.check(address, isIP(address) === 6 ? "ipv6" : "ipv4");
}

/** Reads "10.0.0.0/8", "fd00::/64" or a bare address into a test; null when the text is neither. */
export function parseAddressRange(text: string): ((address: string) => boolean) | null {
  const [base = "", bits, extra] = text.split("/");
  const address = canonicalAddress(base);
  if (address === null || extra !== undefined) return null;
  const family = isIP(address) === 6 ? "ipv6" : "ipv4";
  const longest = family === "ipv6" ? 128 : 32;
  const prefix = bits === undefined ? longest : /^\d{1,3}$/.test(bits) ? Number(bits) : -1;
  if (prefix < 0 || prefix > longest) return null;
  const range = new BlockList();
  range.addSubnet(address, prefix, family);
  return (candidate) => range.check(candidate, isIP(candidate) === 6 ? "ipv6" : "ipv4");
}
