// X.509 v3 extensions (RFC 5280 4.2): the few that we write, and a reader for those that our checks ask about. Says nothing about
// whether a certificate is acceptable; that is peer-check.ts.
import { CertError } from "../errors.ts";
import type { Der } from "./der.ts";
import {
  bitString,
  boolean,
  decodeDer,
  encodeDer,
  integer,
  isBoolean,
  isTagged,
  malformed,
  octetString,
  oid,
  readBoolean,
  readNamedBits,
  readOctetString,
  readOid,
  readSequence,
  readSmallInteger,
  readTagged,
  readTaggedBytes,
  sequence,
  tagged,
  taggedBytes,
} from "./der.ts";

/** Object identifiers of the extensions and usages that we know. */
export const OID = {
  subjectKeyIdentifier: "2.5.29.14",
  keyUsage: "2.5.29.15",
  subjectAltName: "2.5.29.17",
  basicConstraints: "2.5.29.19",
  nameConstraints: "2.5.29.30",
  authorityKeyIdentifier: "2.5.29.35",
  extendedKeyUsage: "2.5.29.37",
  serverAuth: "1.3.6.1.5.5.7.3.1",
  clientAuth: "1.3.6.1.5.5.7.3.2",
  anyExtendedKeyUsage: "2.5.29.37.0",
  /** Ours: the key signs and agrees on keys for messages (design 9) and must never end a TLS connection. The arc is a random UUID (X.667). */
  messageSigning: "2.25.143644473773650172021811821897415980142",
  extensionRequest: "1.2.840.113549.1.9.14",
} as const;

/** Bits of keyUsage that we use, by their number. */
const KEY_USAGE_BITS = { digitalSignature: 0, keyAgreement: 4, keyCertSign: 5, cRLSign: 6 } as const;

/** One bit of the keyUsage extension. */
export type KeyUsage = keyof typeof KEY_USAGE_BITS;

/** Names in a subjectAltName. */
export interface AltNames {
  readonly uris?: readonly string[];
  readonly dnsNames?: readonly string[];
  /** Raw address bytes: 4 or 16. */
  readonly addresses?: readonly Buffer[];
}

/** What a certificate or request says in its extensions; absent ones are null. */
export interface Extensions {
  readonly uris: readonly string[];
  /** Number of names of other kinds. */
  readonly otherNames: number;
  readonly isCa: boolean;
  /** Most CA certificates that may stand between this one and a leaf; null: any number. */
  readonly pathLength: number | null;
  /** URI hosts that names below this certificate may have (RFC 5280 4.2.1.10); null: any. */
  readonly permittedUriHosts: readonly string[] | null;
  /** True when it limits names in a way that this reader does not understand; a verifier must refuse it. */
  readonly hasOddNameConstraints: boolean;
  readonly keyUsage: ReadonlySet<KeyUsage> | null;
  readonly extendedKeyUsage: readonly string[] | null;
  readonly subjectKeyId: Buffer | null;
  /** Critical extensions that this reader does not know; a verifier must refuse them (RFC 5280 4.2). */
  readonly unknownCritical: readonly string[];
}

const TAG_DNS = 2;
const TAG_URI = 6;
const TAG_IP = 7;

/** One Extension. `critical` false is left out, being the default. */
export function extension(id: string, critical: boolean, value: Der): Der {
  const content = octetString(encodeDer(value));
  return critical ? sequence(oid(id), boolean(true), content) : sequence(oid(id), content);
}

export function subjectAltName(names: AltNames, critical: boolean): Der {
  const general = [
    ...(names.uris ?? []).map((uri) => taggedBytes(TAG_URI, Buffer.from(uri, "latin1"))),
    ...(names.dnsNames ?? []).map((name) => taggedBytes(TAG_DNS, Buffer.from(name, "latin1"))),
    ...(names.addresses ?? []).map((address) => taggedBytes(TAG_IP, address)),
  ];
  return extension(OID.subjectAltName, critical, sequence(...general));
}

export function basicConstraints(isCa: boolean, pathLength: number | null = null): Der {
  const limit = pathLength === null ? [] : [integer(Buffer.of(pathLength))];
  return extension(OID.basicConstraints, true, isCa ? sequence(boolean(true), ...limit) : sequence());
}

/** Permits URI names of these hosts alone, below the certificate that carries it. */
export function nameConstraints(permittedUriHosts: readonly string[]): Der {
  const subtrees = permittedUriHosts.map((host) => sequence(taggedBytes(TAG_URI, Buffer.from(host, "latin1"))));
  return extension(OID.nameConstraints, true, sequence(tagged(0, ...subtrees)));
}

export function keyUsage(usages: readonly KeyUsage[]): Der {
  let byte = 0;
  for (const usage of usages) byte |= 0x80 >> KEY_USAGE_BITS[usage];
  // DER drops trailing zero bits of a named bit list (X.690 11.2.2).
  let unused = 0;
  while (unused < 7 && (byte & (1 << unused)) === 0) unused += 1;
  return extension(OID.keyUsage, true, byte === 0 ? bitString(Buffer.alloc(0)) : bitString(Buffer.of(byte), unused));
}

export function extendedKeyUsage(usages: readonly string[]): Der {
  return extension(OID.extendedKeyUsage, false, sequence(...usages.map(oid)));
}

export function subjectKeyIdentifier(keyId: Buffer): Der {
  return extension(OID.subjectKeyIdentifier, false, octetString(keyId));
}

export function authorityKeyIdentifier(keyId: Buffer): Der {
  return extension(OID.authorityKeyIdentifier, false, sequence(taggedBytes(0, keyId)));
}

/** Reads the extensions of a certificate in DER. Throws `CertError("malformed")`. */
export function readCertificateExtensions(der: Buffer): Extensions {
  const what = "certificate";
  const [tbs] = readSequence(decodeDer(der, what), what);
  const last = readSequence(tbs, what).at(-1);
  return isTagged(last, 3) ? readExtensions(readTagged(last, 3, what)[0], what) : readExtensions(sequence(), what);
}

/** Reads an Extensions SEQUENCE. An extension that stands there twice is refused (RFC 5280 4.2). */
export function readExtensions(list: Der | undefined, what: string): Extensions {
  const found = new Map<string, { readonly critical: boolean; readonly value: Buffer }>();
  for (const item of readSequence(list, what)) {
    const parts = readSequence(item, what);
    const id = readOid(parts[0], what);
    if (found.has(id)) throw malformed(what, `extension ${id} twice`);
    const critical = isBoolean(parts[1]) && readBoolean(parts[1], what);
    found.set(id, { critical, value: readOctetString(parts[isBoolean(parts[1]) ? 2 : 1], what) });
  }
  const read = (id: string) => {
    const entry = found.get(id);
    return entry === undefined ? null : decodeDer(entry.value, `${what} extension ${id}`);
  };
  const known: ReadonlySet<string> = new Set(Object.values(OID));
  return {
    ...readAltNames(read(OID.subjectAltName), what),
    ...readBasicConstraints(read(OID.basicConstraints), what),
    ...readNameConstraints(read(OID.nameConstraints), what),
    keyUsage: readKeyUsage(read(OID.keyUsage), what),
    extendedKeyUsage: readUsages(read(OID.extendedKeyUsage), what),
    subjectKeyId: readKeyId(read(OID.subjectKeyIdentifier), what),
    unknownCritical: [...found].filter(([id, entry]) => entry.critical && !known.has(id)).map(([id]) => id),
  };
}

function readAltNames(value: Der | null, what: string): { uris: string[]; otherNames: number } {
  const names = value === null ? [] : readSequence(value, what);
  const uris = names.filter((name) => isTagged(name, TAG_URI)).map((name) => readAscii(readTaggedBytes(name, TAG_URI, what), what));
  return { uris, otherNames: names.length - uris.length };
}

/** IA5 without controls: a NUL or a byte above 0x7f in a URI is how one parser gets told something other than the next. */
function readAscii(bytes: Buffer, what: string): string {
  if (bytes.some((byte) => byte < 0x21 || byte > 0x7e))
    throw new CertError("malformed", `${what}: a URI name with bytes outside of printable ASCII`);
  return bytes.toString("latin1");
}

function readBasicConstraints(value: Der | null, what: string): Pick<Extensions, "isCa" | "pathLength"> {
  const parts = value === null ? [] : readSequence(value, what);
  const isCa = isBoolean(parts[0]) && readBoolean(parts[0], what);
  const limit = parts[isBoolean(parts[0]) ? 1 : 0];
  return { isCa, pathLength: limit === undefined ? null : readSmallInteger(limit, what) };
}

/** Permitted URI hosts alone are understood: nothing else could concern names of the mesh, and what could is not guessed at. */
function readNameConstraints(value: Der | null, what: string): Pick<Extensions, "permittedUriHosts" | "hasOddNameConstraints"> {
  if (value === null) return { permittedUriHosts: null, hasOddNameConstraints: false };
  const parts = readSequence(value, what);
  const [permitted] = parts;
  if (parts.length !== 1 || !isTagged(permitted, 0)) return { permittedUriHosts: null, hasOddNameConstraints: true };
  const bases = readTagged(permitted, 0, what).map((subtree) => readSequence(subtree, what));
  const isOdd = bases.some((subtree) => subtree.length !== 1 || !isTagged(subtree[0], TAG_URI));
  return {
    permittedUriHosts: isOdd ? null : bases.map(([base]) => readAscii(readTaggedBytes(base, TAG_URI, what), what)),
    hasOddNameConstraints: isOdd,
  };
}

function readKeyUsage(value: Der | null, what: string): ReadonlySet<KeyUsage> | null {
  if (value === null) return null;
  const bits = readNamedBits(value, what);
  const names = (Object.keys(KEY_USAGE_BITS) as KeyUsage[]).filter((name) => bits.has(KEY_USAGE_BITS[name]));
  return new Set(names);
}

function readUsages(value: Der | null, what: string): readonly string[] | null {
  return value === null ? null : readSequence(value, what).map((item) => readOid(item, what));
}

function readKeyId(value: Der | null, what: string): Buffer | null {
  return value === null ? null : readOctetString(value, what);
}
