// DER values on top of node-forge's ASN.1: builders for what we write, strict readers for what others wrote. Values are Buffers here,
// forge's binary strings stay inside this file. Every reader throws `CertError("malformed")` and nothing else.
import type { asn1 as forgeTypes } from "node-forge";
import asn1 from "node-forge/lib/asn1.js";
import { CertError } from "../errors.ts";

/** No certificate, request or key that we accept is longer. */
export const MAX_DER_BYTES = 16 * 1024;
/** Certificates nest about ten levels deep. */
const MAX_DEPTH = 24;
/** From this instant on X.509 writes years with four digits (RFC 5280 4.1.2.5). */
const GENERALIZED_TIME_FROM_MS = Date.UTC(2050, 0, 1);
const MAX_TIME_MS = Date.UTC(9999, 11, 31, 23, 59, 59);

const { UNIVERSAL, CONTEXT_SPECIFIC } = asn1.Class;
const Type = asn1.Type;

/** One ASN.1 value with its tag. Made by the builders below or by {@link decodeDer}. */
export type Der = forgeTypes.Asn1;

function primitive(type: forgeTypes.Type, bytes: Buffer): Der {
  return asn1.create(UNIVERSAL, type, false, bytes.toString("latin1"));
}

/** SEQUENCE of `items`. */
export function sequence(...items: readonly Der[]): Der {
  return asn1.create(UNIVERSAL, Type.SEQUENCE, true, [...items]);
}

/** SET with one member, the only kind that names need. */
export function setOf(item: Der): Der {
  return asn1.create(UNIVERSAL, Type.SET, true, [item]);
}

/** Non-negative INTEGER from big-endian bytes; leading zeros are made minimal. */
export function integer(magnitude: Buffer): Der {
  let start = 0;
  while (start < magnitude.length - 1 && magnitude[start] === 0) start += 1;
  const bytes = magnitude.subarray(start);
  const first = bytes[0] ?? 0;
  return primitive(Type.INTEGER, first >= 0x80 || bytes.length === 0 ? Buffer.concat([Buffer.of(0), bytes]) : bytes);
}

export function boolean(value: boolean): Der {
  return primitive(Type.BOOLEAN, Buffer.of(value ? 0xff : 0));
}

export function nullValue(): Der {
  return primitive(Type.NULL, Buffer.alloc(0));
}

export function octetString(bytes: Buffer): Der {
  return primitive(Type.OCTETSTRING, bytes);
}

/** BIT STRING whose last `unusedBits` (0..7) bits do not count. */
export function bitString(bytes: Buffer, unusedBits = 0): Der {
  return primitive(Type.BITSTRING, Buffer.concat([Buffer.of(unusedBits), bytes]));
}

export function utf8String(text: string): Der {
  return primitive(Type.UTF8, Buffer.from(text, "utf8"));
}

/** UTCTime before 2050, GeneralizedTime after, in whole seconds (rounded down), as RFC 5280 4.1.2.5 wants. */
export function time(epochMs: number): Der {
  if (!(epochMs >= 0 && epochMs <= MAX_TIME_MS)) throw new RangeError(`time out of range for a certificate: ${epochMs}`);
  const digits = new Date(epochMs)
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:T]/g, "");
  return epochMs < GENERALIZED_TIME_FROM_MS
    ? primitive(Type.UTCTIME, Buffer.from(digits.slice(2), "latin1"))
    : primitive(Type.GENERALIZEDTIME, Buffer.from(digits, "latin1"));
}

/** OBJECT IDENTIFIER from dotted text. Arcs may be of any size: forge's own encoder stops at 32 bits, UUID arcs have 128. */
export function oid(dotted: string): Der {
  const [first = 0n, second = 0n, ...rest] = dotted.split(".").map(BigInt);
  return primitive(Type.OID, Buffer.concat([first * 40n + second, ...rest].map(base128)));
}

/** `[tag] EXPLICIT`, or a constructed implicit one: same bytes. */
export function tagged(tag: number, ...items: readonly Der[]): Der {
  return asn1.create(CONTEXT_SPECIFIC, tag, true, [...items]);
}

/** `[tag] IMPLICIT` of a primitive type. */
export function taggedBytes(tag: number, bytes: Buffer): Der {
  return asn1.create(CONTEXT_SPECIFIC, tag, false, bytes.toString("latin1"));
}

export function encodeDer(value: Der): Buffer {
  return Buffer.from(asn1.toDer(value).getBytes(), "latin1");
}

/**
 * Parses exactly one value. Refuses what is longer than {@link MAX_DER_BYTES}, has bytes left over, or is BER but not DER: whatever is not
 * encoded as we would encode it could mean something else to another parser.
 */
export function decodeDer(bytes: Buffer, what: string): Der {
  if (bytes.length > MAX_DER_BYTES) throw malformed(what, `${bytes.length} bytes, at most ${MAX_DER_BYTES} are read`);
  let value: Der;
  let canonical: Buffer;
  try {
    const options = { strict: true, parseAllBytes: true, decodeBitStrings: false, maxDepth: MAX_DEPTH };
    value = asn1.fromDer(bytes.toString("latin1"), options);
    canonical = encodeDer(value);
  } catch (cause) {
    throw malformed(what, "not DER", cause);
  }
  if (!canonical.equals(bytes)) throw malformed(what, "not in canonical DER");
  return value;
}

/** The members of a constructed value of universal `type`. */
function membersOf(value: Der | undefined, type: forgeTypes.Type, what: string): readonly Der[] {
  if (value === undefined || value.tagClass !== UNIVERSAL || value.type !== type || !Array.isArray(value.value)) {
    throw malformed(what, `expected ASN.1 type ${type}`);
  }
  return value.value;
}

export function readSequence(value: Der | undefined, what: string): readonly Der[] {
  return membersOf(value, Type.SEQUENCE, what);
}

function contentOf(value: Der | undefined, type: forgeTypes.Type, what: string): Buffer {
  if (value === undefined || value.tagClass !== UNIVERSAL || value.type !== type || typeof value.value !== "string") {
    throw malformed(what, `expected ASN.1 type ${type}`);
  }
  return Buffer.from(value.value, "latin1");
}

export function readOctetString(value: Der | undefined, what: string): Buffer {
  return contentOf(value, Type.OCTETSTRING, what);
}

/** Bytes of a BIT STRING that is a whole number of bytes, as keys and signatures are. */
export function readBitString(value: Der | undefined, what: string): Buffer {
  const content = contentOf(value, Type.BITSTRING, what);
  if (content[0] !== 0) throw malformed(what, "a bit string with unused bits");
  return content.subarray(1);
}

/** The named bits that are set, counted from the first (RFC 5280 4.2.1.3). */
export function readNamedBits(value: Der | undefined, what: string): ReadonlySet<number> {
  const content = contentOf(value, Type.BITSTRING, what);
  const unused = content[0] ?? 8;
  const bits = Math.max(0, (content.length - 1) * 8 - unused);
  if (unused > 7 || (content.length === 1 && unused !== 0)) throw malformed(what, "a broken bit string");
  const set = new Set<number>();
  for (let bit = 0; bit < bits; bit += 1) {
    if (((content[1 + (bit >> 3)] ?? 0) & (0x80 >> (bit & 7))) !== 0) set.add(bit);
  }
  return set;
}

export function readBoolean(value: Der | undefined, what: string): boolean {
  const content = contentOf(value, Type.BOOLEAN, what);
  if (content.length !== 1 || (content[0] !== 0 && content[0] !== 0xff)) throw malformed(what, "a broken boolean");
  return content[0] === 0xff;
}

/** An INTEGER in 0..127; versions are. */
export function readSmallInteger(value: Der | undefined, what: string): number {
  const content = contentOf(value, Type.INTEGER, what);
  const number = content[0] ?? 0x80;
  if (content.length !== 1 || number > 0x7f) throw malformed(what, "expected a small integer");
  return number;
}

/** Dotted text of an OBJECT IDENTIFIER. */
export function readOid(value: Der | undefined, what: string): string {
  const content = contentOf(value, Type.OID, what);
  const last = content[content.length - 1] ?? 0x80;
  if (last >= 0x80) throw malformed(what, "a broken object identifier");
  const arcs: bigint[] = [];
  let arc = 0n;
  for (const byte of content) {
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    if (byte >= 0x80) continue;
    arcs.push(arc);
    arc = 0n;
  }
  const [head = 0n, ...rest] = arcs;
  const first = head < 80n ? head / 40n : 2n;
  return [first, head - first * 40n, ...rest].join(".");
}

export function isBoolean(value: Der | undefined): boolean {
  return value !== undefined && value.tagClass === UNIVERSAL && value.type === Type.BOOLEAN;
}

/** True for `[tag]`, primitive or constructed. */
export function isTagged(value: Der | undefined, tag: number): value is Der {
  return value !== undefined && value.tagClass === CONTEXT_SPECIFIC && Number(value.type) === tag;
}

/** Members of a constructed `[tag]`. */
export function readTagged(value: Der | undefined, tag: number, what: string): readonly Der[] {
  if (!isTagged(value, tag) || !Array.isArray(value.value)) throw malformed(what, `expected [${tag}]`);
  return value.value;
}

/** Content of a primitive `[tag]`. */
export function readTaggedBytes(value: Der | undefined, tag: number, what: string): Buffer {
  if (!isTagged(value, tag) || typeof value.value !== "string") throw malformed(what, `expected [${tag}] with bytes`);
  return Buffer.from(value.value, "latin1");
}

/** The one error of every reader. */
export function malformed(what: string, why: string, cause?: unknown): CertError {
  return new CertError("malformed", `${what}: ${why}`, cause === undefined ? {} : { cause });
}

function base128(arc: bigint): Buffer {
  const bytes = [Number(arc & 0x7fn)];
  for (let rest = arc >> 7n; rest > 0n; rest >>= 7n) bytes.unshift(Number(rest & 0x7fn) | 0x80);
  return Buffer.from(bytes);
}
