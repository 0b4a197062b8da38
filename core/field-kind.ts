// Which kind of field a header name is: one table for heads as text (HTTP/2, compat) and as bytes (splice). Names may come in any case (h1) and in the
// mesh's own family `_` counts as `-`: CGI and WSGI apps read `X_Remora_Client_Id` and `x-remora-client-id` as the same variable, so that the first
// must not slip past.
//
// HOT PATH: by the length of the name and its first letter at most one or two comparisons; no lower-case copy of a name is made.

/** Kinds as bits, so that a set of kinds is one number. 0 is an ordinary field. */
export const FIELD = {
  ordinary: 0,
  /** `connection` itself. */
  connection: 1 << 0,
  /** Between two neighbours: `keep-alive`, `proxy-connection`, `proxy-authenticate`, `proxy-authorization`, `http2-settings`. */
  hopByHop: 1 << 1,
  te: 1 << 2,
  /** `x-remora-*` except `x-remora-client-id`. */
  mesh: 1 << 3,
  /** `x-forwarded-client-cert`, `x-remora-client-id`. */
  identity: 1 << 4,
  /** `signature`, `signature-input`, `content-digest`. */
  signature: 1 << 5,
  requestId: 1 << 6,
  traceparent: 1 << 7,
  host: 1 << 8,
  contentLength: 1 << 9,
  transferEncoding: 1 << 10,
  upgrade: 1 << 11,
  expect: 1 << 12,
  contentType: 1 << 13,
  grpcStatus: 1 << 14,
  grpcTimeout: 1 << 15,
  grpcPushback: 1 << 16,
} as const;

interface Known {
  readonly name: string;
  /** Its letters. */
  readonly codes: Uint8Array;
  readonly kind: number;
  /** Of the mesh's own family: `_` counts as `-`. */
  readonly isFamily: boolean;
}

const KNOWN: readonly Known[] = [
  ...known("connection", FIELD.connection),
  ...known("keep-alive proxy-connection proxy-authenticate proxy-authorization http2-settings", FIELD.hopByHop),
  ...known("te", FIELD.te),
  ...known("x-forwarded-client-cert x-remora-client-id", FIELD.identity, true),
  ...known("signature signature-input content-digest", FIELD.signature),
  ...known("x-request-id", FIELD.requestId),
  ...known("traceparent", FIELD.traceparent),
  ...known("host", FIELD.host),
  ...known("content-length", FIELD.contentLength),
  ...known("transfer-encoding", FIELD.transferEncoding),
  ...known("upgrade", FIELD.upgrade),
  ...known("expect", FIELD.expect),
  ...known("content-type", FIELD.contentType),
  ...known("grpc-status", FIELD.grpcStatus),
  ...known("grpc-timeout", FIELD.grpcTimeout),
  ...known("grpc-retry-pushback-ms", FIELD.grpcPushback),
];

/** Whatever else begins like this is the mesh's. */
const MESH_PREFIX: Known = createKnown("x-remora-", FIELD.mesh, true);

function createKnown(name: string, kind: number, isFamily: boolean): Known {
  return { name, codes: Uint8Array.from(name, (letter) => letter.charCodeAt(0)), kind, isFamily };
}

function known(names: string, kind: number, isFamily = false): Known[] {
  return names.split(" ").map((name) => createKnown(name, kind, isFamily));
}

/** The known names by their length. */
const BY_LENGTH: readonly (readonly Known[])[] = Array.from(
  { length: 1 + Math.max(...KNOWN.map(({ name }) => name.length)) },
  (_, length) => KNOWN.filter(({ name }) => name.length === length),
);

/** The kind of a name: one of the bits of {@link FIELD}, or 0. */
export function kindOf(name: string): number {
  const { length } = name;
  if (length < BY_LENGTH.length) {
    for (const candidate of BY_LENGTH[length] as readonly Known[]) if (beginsLike(name, candidate)) return candidate.kind;
  }
  return length >= MESH_PREFIX.name.length && beginsLike(name, MESH_PREFIX) ? MESH_PREFIX.kind : FIELD.ordinary;
}

/** The kind of the name in bytes[start..end). */
export function kindOfBytes(bytes: Uint8Array, start: number, end: number): number {
  const length = end - start;
  if (length < BY_LENGTH.length) {
    const candidates = BY_LENGTH[length] as readonly Known[];
    for (let index = 0; index < candidates.length; index += 1) {
      const candidate = candidates[index] as Known;
      if (bytesBeginLike(bytes, start, candidate)) return candidate.kind;
    }
  }
  return length >= MESH_PREFIX.name.length && bytesBeginLike(bytes, start, MESH_PREFIX) ? MESH_PREFIX.kind : FIELD.ordinary;
}

/** True when `name` begins with the known one, but for case. `name` is at least as long. */
function beginsLike(name: string, { codes, isFamily }: Known): boolean {
  for (let index = 0; index < codes.length; index += 1) {
    if (folded(name.charCodeAt(index), isFamily) !== codes[index]) return false;
  }
  return true;
}

function bytesBeginLike(bytes: Uint8Array, start: number, { codes, isFamily }: Known): boolean {
  for (let index = 0; index < codes.length; index += 1) {
    const code = bytes[start + index] as number;
    if (code !== codes[index] && folded(code, isFamily) !== codes[index]) return false;
  }
  return true;
}

function folded(code: number, isFamily: boolean): number {
  if (code >= 0x41 && code <= 0x5a) return code + 0x20;
  return isFamily && code === 0x5f /* _ */ ? 0x2d /* - */ : code;
}

/** Fields that `Connection` may not take away: routing, framing, credentials, forwarding and tracing. `name` is lower case. */
export function isEssential(name: string): boolean {
  return ESSENTIAL.has(name) || name.startsWith("x-forwarded-") || name.startsWith(":");
}

const ESSENTIAL: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "content-type",
  "content-encoding",
  "content-range",
  "transfer-encoding",
  "trailer",
  "upgrade", // the engine decides on upgrades; "connection: upgrade" must not remove the field it speaks of
  "authorization",
  "cookie",
  "set-cookie",
  "cache-control",
  "vary",
  "origin",
  "forwarded",
  "x-real-ip",
  "traceparent",
  "tracestate",
]);
