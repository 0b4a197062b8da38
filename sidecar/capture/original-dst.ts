// Where a redirected connection wanted to go: getsockopt(SO_ORIGINAL_DST) for IPv4, IP6T_SO_ORIGINAL_DST for IPv6 (design 5), called through koffi
// on the socket's file descriptor, once per connection. Owns the native call and the sockaddr layout; who may be reached is decided elsewhere.
// koffi is loaded when the first reader is made, so that explicit capture never pays for it.
import { createRequire } from "node:module";
import type { Socket } from "node:net";

/** Protocol levels and the option, from linux/netfilter_ipv4.h and linux/netfilter_ipv6/ip6_tables.h. */
const SOL_IP = 0;
const SOL_IPV6 = 41;
const SO_ORIGINAL_DST = 80;

/** sizeof(struct sockaddr_in), sizeof(struct sockaddr_in6). */
const SOCKADDR_IN_BYTES = 16;
const SOCKADDR_IN6_BYTES = 28;

const MAPPED_PREFIX = "::ffff:";

declare const originalDstBrand: unique symbol;

/** The address and port that a client dialled before the kernel redirected it to us. The address is in canonical text, never v4-mapped. */
export type OriginalDst = { readonly address: string; readonly port: number } & { readonly [originalDstBrand]: true };

/** Reads original destinations. Made once per process by {@link createOriginalDstReader}. */
export interface OriginalDstReader {
  /**
   * The destination `socket` was dialled to before it was redirected. Synchronous; call it before the first await after `connection`.
   * Null when the connection was not redirected (no conntrack entry, or one that names the listener itself) or is already closed.
   */
  read(socket: Socket): OriginalDst | null;
}

type GetSockOpt = (fd: number, level: number, option: number, value: Uint8Array, length: Uint32Array) => number;

/**
 * Loads koffi and binds getsockopt.
 * @throws Error when this is not Linux or koffi has no binary for this machine; transparent capture cannot work then.
 */
export function createOriginalDstReader(): OriginalDstReader {
  const getSockOpt = bindGetSockOpt();
  const value = Buffer.alloc(SOCKADDR_IN6_BYTES);
  const length = new Uint32Array(1);

  return {
    read(socket) {
      const fd = descriptorOf(socket);
      const remote = socket.remoteAddress;
      if (fd < 0 || remote === undefined) return null;
      // A dual-stack listener sees IPv4 clients as ::ffff:a.b.c.d; their conntrack entry is an IPv4 one all the same.
      const isV4 = socket.remoteFamily === "IPv4" || remote.startsWith(MAPPED_PREFIX);
      length[0] = isV4 ? SOCKADDR_IN_BYTES : SOCKADDR_IN6_BYTES;
      if (getSockOpt(fd, isV4 ? SOL_IP : SOL_IPV6, SO_ORIGINAL_DST, value, length) !== 0) return null;
      const dst = isV4 ? parseSockaddrIn(value) : parseSockaddrIn6(value);
      return isLocalEnd(socket, dst) ? null : dst;
    },
  };
}

/** `struct sockaddr_in`: family (host order), port and address (network order). Exported for tests. */
export function parseSockaddrIn(bytes: Buffer): OriginalDst {
  return asOriginalDst(`${bytes[4]}.${bytes[5]}.${bytes[6]}.${bytes[7]}`, bytes.readUInt16BE(2));
}

/** `struct sockaddr_in6`: family, port, flow info, 16 bytes of address, scope. Exported for tests. */
export function parseSockaddrIn6(bytes: Buffer): OriginalDst {
  return asOriginalDst(formatIpv6(bytes.subarray(8, 24)), bytes.readUInt16BE(2));
}

/** The one place where the brand is given; also for tests and replays that know a destination by other means. */
export function asOriginalDst(address: string, port: number): OriginalDst {
  return { address, port } as OriginalDst; // the brand exists in types only
}

/** RFC 5952 text: lower case, no leading zeros, the first longest run of two or more zero groups as `::`. */
function formatIpv6(bytes: Uint8Array): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[2 * i] ?? 0) << 8) | (bytes[2 * i + 1] ?? 0));
  const run = longestZeroRun(groups);
  const hex = (part: readonly number[]) => part.map((group) => group.toString(16)).join(":");
  if (run.length < 2) return hex(groups);
  return `${hex(groups.slice(0, run.start))}::${hex(groups.slice(run.start + run.length))}`;
}

function longestZeroRun(groups: readonly number[]): { start: number; length: number } {
  let best = { start: 0, length: 0 };
  let start = 0;
  for (let i = 0; i <= groups.length; i += 1) {
    if (groups[i] === 0) continue;
    if (i - start > best.length) best = { start, length: i - start };
    start = i + 1;
  }
  return best;
}

/** conntrack also knows connections that were never redirected; they name our own end. */
function isLocalEnd(socket: Socket, dst: OriginalDst): boolean {
  if (dst.port !== socket.localPort) return false;
  const local = socket.localAddress ?? "";
  return (local.startsWith(MAPPED_PREFIX) ? local.slice(MAPPED_PREFIX.length) : local) === dst.address;
}

/** Node has no public way to a socket's descriptor; `_handle.fd` has been stable since 0.12. -1 when closed. */
function descriptorOf(socket: Socket): number {
  const handle = (socket as unknown as { _handle?: { fd?: number } | null })._handle;
  return handle?.fd ?? -1;
}

function bindGetSockOpt(): GetSockOpt {
  if (process.platform !== "linux") throw new Error(`transparent capture needs Linux, this is ${process.platform}`);
  const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi");
  // null = symbols of the running process: the same call works with glibc and musl.
  const libc = koffi.load(null);
  return libc.func(
    "int getsockopt(int fd, int level, int option, _Out_ uint8_t *value, _Inout_ uint32_t *length)",
  ) as unknown as GetSockOpt;
}
