// Makes X.509 v3 certificates (RFC 5280). Only encoding lives here: which names, usages and lifetimes are right is decided by the caller
// (certs/profile.ts for the mesh's own, the injector for its webhook).
import type { KeyObject } from "node:crypto";
import { createHash, createPublicKey, randomBytes, X509Certificate } from "node:crypto";
import type { Der } from "./der.ts";
import {
  bitString,
  decodeDer,
  encodeDer,
  integer,
  isTagged,
  malformed,
  oid,
  readBitString,
  readSequence,
  sequence,
  setOf,
  tagged,
  time,
  utf8String,
} from "./der.ts";
import type { AltNames, KeyUsage } from "./extensions.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  keyUsage,
  nameConstraints,
  readCertificateExtensions,
  subjectAltName,
  subjectKeyIdentifier,
} from "./extensions.ts";
import { signatureAlgorithm, signDer } from "./signature.ts";

const COMMON_NAME = "2.5.4.3";
const SERIAL_BYTES = 16;
const KEY_ID_BYTES = 20;
const VERSION_3 = Buffer.of(2);
const SEQUENCE_TAG = 0x30;
/** Of the length of a SEQUENCE: 16 MiB are more than anything here has. */
const MAX_LENGTH_BYTES = 3;

/** Who signs. */
export interface Issuer {
  /** DER of the issuer's Name. */
  readonly name: Buffer;
  readonly keyId: Buffer;
  /** Private key: EC P-256, P-384 or RSA. */
  readonly key: KeyObject;
}

/** What {@link createCertificate} writes. */
export interface CertificateOptions {
  /** Public (or private) key of the subject. */
  readonly publicKey: KeyObject;
  readonly issuer: Issuer;
  /** Epoch ms; whole seconds are written. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** Common name; "" writes an empty subject, which makes the subjectAltName critical (RFC 5280 4.2.1.6). */
  readonly commonName: string;
  readonly names: AltNames;
  readonly isCa: boolean;
  /** For a CA: how many more may stand below it; default any number. */
  readonly pathLength?: number;
  /** For a CA: URI hosts of the names that may stand below it; default any. */
  readonly permittedUriHosts?: readonly string[];
  /** Name and key id of a certificate that stands for the same CA as another one: a cross-signed root. Beats `commonName`. */
  readonly subject?: Pick<Issuer, "name" | "keyId">;
  readonly keyUsage: readonly KeyUsage[];
  /** Dotted OIDs; empty leaves the extension out. */
  readonly extendedKeyUsage: readonly string[];
  /** Big-endian, positive. Default: 128 random bits (see {@link randomSerial}). */
  readonly serial?: Buffer;
}

/** Makes and signs one certificate, DER. Throws `CertError("weak_key")` when the issuer's key is of no kind that we sign with. */
export function createCertificate(options: CertificateOptions): Buffer {
  const { issuer, names } = options;
  const hasNames = [names.uris, names.dnsNames, names.addresses].some((list) => (list?.length ?? 0) > 0);
  const extensions = [
    basicConstraints(options.isCa, options.pathLength),
    keyUsage(options.keyUsage),
    ...(options.permittedUriHosts === undefined ? [] : [nameConstraints(options.permittedUriHosts)]),
    ...(options.extendedKeyUsage.length > 0 ? [extendedKeyUsage(options.extendedKeyUsage)] : []),
    ...(hasNames ? [subjectAltName(names, options.commonName === "")] : []),
    subjectKeyIdentifier(options.subject?.keyId ?? keyIdOf(options.publicKey)),
    authorityKeyIdentifier(issuer.keyId),
  ];
  const algorithm = signatureAlgorithm(issuer.key);
  const tbs = sequence(
    tagged(0, integer(VERSION_3)),
    integer(options.serial ?? randomSerial(randomBytes)),
    algorithm,
    decodeDer(issuer.name, "issuer name"),
    sequence(time(options.notBeforeMs), time(options.notAfterMs)),
    options.subject === undefined ? nameOf(options.commonName) : decodeDer(options.subject.name, "subject name"),
    publicKeyInfo(options.publicKey),
    tagged(3, sequence(...extensions)),
  );
  return encodeDer(sequence(tbs, algorithm, bitString(signDer(encodeDer(tbs), issuer.key))));
}

/** An issuer that has no certificate yet: it signs its own. */
export function selfIssuer(key: KeyObject, commonName: string): Issuer {
  return { name: encodeDer(nameOf(commonName)), keyId: keyIdOf(key), key };
}

/** The issuer that `certificate` and its private key make. */
export function issuerOf(certificate: X509Certificate, key: KeyObject): Issuer {
  return { ...subjectOf(certificate), key };
}

/** The name and key id under which `certificate` issues. */
export function subjectOf(certificate: X509Certificate): Pick<Issuer, "name" | "keyId"> {
  const [tbs] = readSequence(decodeDer(certificate.raw, "issuer certificate"), "issuer certificate");
  const fields = readSequence(tbs, "issuer certificate");
  // version [0] is left out in a version 1 certificate; then every field stands one place earlier.
  const subject = fields[isTagged(fields[0], 0) ? 5 : 4];
  const keyId = readCertificateExtensions(certificate.raw).subjectKeyId ?? keyIdOf(certificate.publicKey);
  return { name: encodeDer(subject ?? sequence()), keyId };
}

/** A positive serial of 128 random bits; `random` is `crypto.randomBytes` outside of tests. */
export function randomSerial(random: (bytes: number) => Buffer): Buffer {
  const serial = random(SERIAL_BYTES);
  return serial.every((byte) => byte === 0) ? Buffer.of(1) : serial;
}

/** Key identifier: the leftmost 160 bits of SHA-256 over the key bits (RFC 7093 method 1). */
export function keyIdOf(key: KeyObject): Buffer {
  const [, bits] = readSequence(publicKeyInfo(key), "public key");
  return createHash("sha256").update(readBitString(bits, "public key")).digest().subarray(0, KEY_ID_BYTES);
}

/** SubjectPublicKeyInfo of a public or private key. */
export function publicKeyInfo(key: KeyObject): Der {
  const publicKey = key.type === "private" ? createPublicKey(key) : key;
  return decodeDer(publicKey.export({ type: "spki", format: "der" }), "public key");
}

function nameOf(commonName: string): Der {
  return commonName === "" ? sequence() : sequence(setOf(sequence(oid(COMMON_NAME), utf8String(commonName))));
}

/** Parses DER; throws `CertError("malformed")` instead of OpenSSL's error. */
export function parseCertificate(der: Buffer): X509Certificate {
  try {
    return new X509Certificate(der);
  } catch (cause) {
    throw malformed("certificate", "not an X.509 certificate", cause);
  }
}

/** The certificates that stand one after the other in `bytes`, at most `max`; throws `CertError("malformed")`. Only lengths are read here. */
export function splitCertificates(bytes: Buffer, max: number): Buffer[] {
  const found: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = lengthOfSequence(bytes.subarray(at));
    if (length === null || found.length >= max) throw malformed("certificates", `not up to ${max} certificates one after the other`);
    found.push(bytes.subarray(at, at + length));
    at += length;
  }
  return found;
}

/** Bytes of the SEQUENCE that `bytes` begins with, its header included; null when there is none or it is longer than `bytes`. */
function lengthOfSequence(bytes: Buffer): number | null {
  const [tag, first = 0] = bytes;
  if (tag !== SEQUENCE_TAG) return null;
  const sizeBytes = first < 0x80 ? 0 : first & 0x7f;
  if (sizeBytes > MAX_LENGTH_BYTES || bytes.length < 2 + sizeBytes || first === 0x80) return null;
  const length = 2 + sizeBytes + (sizeBytes === 0 ? first : bytes.readUIntBE(2, sizeBytes));
  return length > bytes.length ? null : length;
}
