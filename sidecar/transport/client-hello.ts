// Reads just enough of a TLS ClientHello (RFC 8446 section 4.1.2) to know whether it is for the mesh: its ALPN offers (RFC 7301) and its
// server name (RFC 6066). Nothing is terminated here; the bytes stay untouched. Every length is checked against what is there.

/** ALPN names of the mesh (design 6), in order of preference. */
export const MESH_ALPN = ["remora/h2", "remora/h1-streams", "remora/h1", "remora/tcp"] as const;

/** One of {@link MESH_ALPN}. */
export type MeshAlpn = (typeof MESH_ALPN)[number];

/** What a ClientHello says, or why it can't be said yet. */
export type ClientHello =
  | { readonly kind: "hello"; readonly alpn: readonly string[]; readonly serverName: string | null }
  /** More bytes are needed. */
  | { readonly kind: "incomplete" }
  /** Not a ClientHello. */
  | { readonly kind: "other" };

const RECORD_HANDSHAKE = 0x16;
const CLIENT_HELLO = 0x01;
const EXTENSION_SERVER_NAME = 0;
const EXTENSION_ALPN = 16;
/** A ClientHello longer than this is not ours: ours are below 600 bytes, post-quantum key shares bring browsers' to about 2 KiB. */
export const MAX_CLIENT_HELLO_BYTES = 16 * 1024;

const OTHER: ClientHello = { kind: "other" };
const INCOMPLETE: ClientHello = { kind: "incomplete" };

/** Reads the first bytes of a connection. Handshake messages split over several records are put together. */
export function readClientHello(bytes: Buffer): ClientHello {
  if (bytes.length === 0) return INCOMPLETE;
  if (bytes[0] !== RECORD_HANDSHAKE) return OTHER;
  const handshake = joinRecords(bytes);
  if (handshake === null) return OTHER;
  if (handshake.length >= 1 && handshake[0] !== CLIENT_HELLO) return OTHER;
  if (handshake.length < 4) return INCOMPLETE;
  const length = handshake.readUIntBE(1, 3);
  if (length > MAX_CLIENT_HELLO_BYTES) return OTHER;
  if (handshake.length < 4 + length) return INCOMPLETE;
  return readBody(handshake.subarray(4, 4 + length));
}

/** Payload of the handshake records that are there, the last one possibly cut; null when a record is of another type. */
function joinRecords(bytes: Buffer): Buffer | null {
  const parts: Buffer[] = [];
  let offset = 0;
  while (offset < bytes.length) {
    if (bytes[offset] !== RECORD_HANDSHAKE) return null;
    if (bytes.length > offset + 1 && bytes[offset + 1] !== 3) return null;
    if (bytes.length < offset + 5) break;
    const length = bytes.readUInt16BE(offset + 3);
    if (length === 0) return null;
    parts.push(bytes.subarray(offset + 5, offset + 5 + length));
    offset += 5 + length;
  }
  return parts.length === 1 ? (parts[0] as Buffer) : Buffer.concat(parts);
}

/** A cursor that answers null once anything asked for is not there. */
class Cursor {
  readonly #bytes: Buffer;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get left(): number {
    return this.#bytes.length - this.#offset;
  }

  take(length: number): Buffer | null {
    if (length > this.left) return null;
    const part = this.#bytes.subarray(this.#offset, this.#offset + length);
    this.#offset += length;
    return part;
  }

  /** A vector with a length prefix of 1 or 2 bytes. */
  vector(prefix: 1 | 2): Buffer | null {
    const length = this.take(prefix);
    return length === null ? null : this.take(length.readUIntBE(0, prefix));
  }
}

function readBody(body: Buffer): ClientHello {
  const cursor = new Cursor(body);
  const head = cursor.take(2 + 32); // legacy_version, random
  const session = cursor.vector(1);
  const suites = cursor.vector(2);
  const compression = cursor.vector(1);
  if (head === null || session === null || suites === null || compression === null) return OTHER;
  if (cursor.left === 0) return { kind: "hello", alpn: [], serverName: null };
  const extensions = cursor.vector(2);
  return extensions === null ? OTHER : readExtensions(new Cursor(extensions));
}

function readExtensions(cursor: Cursor): ClientHello {
  let alpn: string[] = [];
  let serverName: string | null = null;
  while (cursor.left > 0) {
    const type = cursor.take(2);
    const data = cursor.vector(2);
    if (type === null || data === null) return OTHER;
    if (type.readUInt16BE(0) === EXTENSION_ALPN) {
      const names = readAlpn(data);
      if (names === null) return OTHER;
      alpn = names;
    } else if (type.readUInt16BE(0) === EXTENSION_SERVER_NAME) {
      serverName = readServerName(data);
    }
  }
  return { kind: "hello", alpn, serverName };
}

function readAlpn(data: Buffer): string[] | null {
  const list = new Cursor(data).vector(2);
  if (list === null) return null;
  const names: string[] = [];
  const cursor = new Cursor(list);
  while (cursor.left > 0) {
    const name = cursor.vector(1);
    if (name === null || name.length === 0) return null;
    names.push(name.toString("latin1"));
  }
  return names;
}

function readServerName(data: Buffer): string | null {
  const list = new Cursor(data).vector(2);
  if (list === null) return null;
  const cursor = new Cursor(list);
  const type = cursor.take(1);
  const name = cursor.vector(2);
  return type === null || type[0] !== 0 || name === null ? null : name.toString("latin1");
}
