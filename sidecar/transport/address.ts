// Addresses as text, in the one form that the rest of the sidecar compares and looks up: two spellings of one host must not become two destinations,
// nor pass the loop guard as somebody else. Only for comparing: what is forwarded is the authority as it was sent.
//
// HOT PATH (explicit capture): an authority is read once per request, in one scan; a name in lower case and without a port is not even copied.
import { isIPv4, isIPv6, SocketAddress } from "node:net";

const MAPPED_PREFIX = "::ffff:";

/** A socket's address: an IPv4 client of a dual-stack listener loses its `::ffff:`; empty when the socket is gone already. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "";
  return address.startsWith(MAPPED_PREFIX) ? address.slice(MAPPED_PREFIX.length) : address;
}

/** A host and a port, taken from an authority (RFC 3986 section 3.2) without userinfo. */
export interface HostPort {
  /**
   * A name in lower case without the dot of the root at its end, IPv4 in dotted form, or IPv6 compressed and in lower case without brackets, the
   * form of addresses in snapshots; an IPv4 address mapped into IPv6 is the IPv4 address.
   */
  readonly host: string;
  /** True when the host is an IP address. */
  readonly isAddress: boolean;
  /** As written; 0 when the authority has none. No port is a default here: what it stands for is the caller's to know. */
  readonly port: number;
}

/** Longest name, and longest label of one (RFC 1035 section 2.3.4), in characters. */
const MAX_NAME_LENGTH = 253;
const MAX_LABEL_LENGTH = 63;

const MAX_PORT = 65_535;

const DOT = 0x2e;
const ZERO = 0x30;
const NINE = 0x39;
const COLON = 0x3a;

/** What resolvers take for an IPv4 address however few, large, octal or hexadecimal its numbers are (inet_aton). */
const NUMBERS = /^(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*$/;

/** Reads `host`, `host:port` or `[v6]:port`; null when it is none of these, for which {@link authorityFlaw} tells the reason. */
export function parseAuthority(authority: string): HostPort | null {
  const read = readAuthority(authority);
  return typeof read === "string" ? null : read;
}

/** Why an authority cannot be read, for the log; empty when it can. What may hold a password is not quoted. */
export function authorityFlaw(authority: string): string {
  const read = readAuthority(authority);
  if (typeof read !== "string") return "";
  return authority.includes("@") ? `the authority has ${read}` : `the authority ${JSON.stringify(authority.slice(0, 100))} has ${read}`;
}

/** The host and port, or the flaw: fits behind "the authority has". */
function readAuthority(authority: string): HostPort | string {
  if (authority.includes("@")) return "userinfo (RFC 9110 section 4.2.4)";
  const isBracketed = authority.startsWith("[");
  const end = isBracketed ? authority.indexOf("]") + 1 : authority.indexOf(":");
  const hostEnd = end < 0 ? authority.length : end;
  if (isBracketed && hostEnd === 0) return "a bracket that is not closed";
  const port = readPort(authority, hostEnd);
  if (typeof port === "string") return port;
  return isBracketed ? readIpv6(authority.slice(1, hostEnd - 1), port) : readName(authority, hostEnd, port);
}

function readPort(authority: string, colonAt: number): number | string {
  if (colonAt === authority.length) return 0;
  if (authority[colonAt] !== ":") return "something between the host and its port";
  let port = 0;
  for (let index = colonAt + 1; index < authority.length; index += 1) {
    const code = authority.charCodeAt(index);
    if (code === COLON) return "more than one colon outside of brackets; an IPv6 address needs them";
    if (code < ZERO || code > NINE) return "a port that is not a number";
    port = Math.min(port * 10 + code - ZERO, MAX_PORT + 1);
  }
  if (port === 0) return `a colon without a port from 1 to ${MAX_PORT} behind it`;
  return port > MAX_PORT ? `a port above ${MAX_PORT}` : port;
}

function readIpv6(text: string, port: number): HostPort | string {
  // A zone (%eth0) means nothing to anybody else, and isIPv6 takes it.
  if (text.includes("%") || !isIPv6(text)) return "something in brackets that is not an IPv6 address";
  const host = plainAddress(new SocketAddress({ address: text, family: "ipv6" }).address);
  return { host, isAddress: true, port };
}

function readName(authority: string, hostEnd: number, port: number): HostPort | string {
  const end = authority.charCodeAt(hostEnd - 1) === DOT ? hostEnd - 1 : hostEnd;
  if (end === 0) return "no host";
  if (end > MAX_NAME_LENGTH) return `a name longer than ${MAX_NAME_LENGTH} characters`;
  let labelAt = 0;
  let hasUpperCase = false;
  for (let index = 0; index < end; index += 1) {
    const code = authority.charCodeAt(index);
    if (code === DOT) {
      if (index === labelAt) return "an empty label between dots";
      labelAt = index + 1;
    } else if (!isNameCharacter(code)) return flawOfCharacter(code);
    else if (code >= 0x41 && code <= 0x5a) hasUpperCase = true;
    if (index - labelAt >= MAX_LABEL_LENGTH) return `a label longer than ${MAX_LABEL_LENGTH} characters`;
  }
  if (labelAt === end) return "an empty label between dots";
  const name = end === authority.length ? authority : authority.slice(0, end);
  const host = hasUpperCase ? name.toLowerCase() : name;
  if (authority.charCodeAt(labelAt) > NINE || !NUMBERS.test(host)) return { host, isAddress: false, port };
  return isIPv4(host) ? { host, isAddress: true, port } : "an IPv4 address that is not four decimal numbers from 0 to 255";
}

/** Letters, digits, `-` and `_`: what host names are made of, and names of containers. */
function isNameCharacter(code: number): boolean {
  const lower = code | 0x20;
  return (lower >= 0x61 && lower <= 0x7a) || (code >= ZERO && code <= NINE) || code === 0x2d || code === 0x5f;
}

function flawOfCharacter(code: number): string {
  if (code >= 0x80) return "characters outside of ASCII; an internationalised name is sent in its xn-- form (RFC 5891)";
  if (code === 0x25 /* % */) return "an escape in its name, which nobody resolves";
  return 'a character in its name other than letters, digits, "-", "_" and "."';
}
