// Addresses as text, in the one form that the rest of the sidecar compares.
const MAPPED_PREFIX = "::ffff:";

/** A socket's address: an IPv4 client of a dual-stack listener loses its `::ffff:`; empty when the socket is gone already. */
export function plainAddress(address: string | undefined): string {
  if (address === undefined) return "";
  return address.startsWith(MAPPED_PREFIX) ? address.slice(MAPPED_PREFIX.length) : address;
}

/** A host and a port, taken from an authority (RFC 3986 section 3.2) without userinfo. */
export interface HostPort {
  /** Lower case, IPv6 without brackets. */
  readonly host: string;
  /** 0 when the authority has none. */
  readonly port: number;
}

const AUTHORITY = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]{1,5}))?$/;

/** Reads `host`, `host:port` or `[v6]:port`; null when it is none of these. */
export function parseAuthority(authority: string): HostPort | null {
  const match = AUTHORITY.exec(authority);
  if (match === null) return null;
  const host = (match[1] ?? match[2] ?? "").toLowerCase();
  const port = match[3] === undefined ? 0 : Number(match[3]);
  return port > 65535 || (match[3] !== undefined && port === 0) ? null : { host, port };
}
