// Certificates of one issuer and one kind, which differ in serial, time, name and key only: what they share is encoded once by certificate.ts' parts, the rest is put
// in. Gives the same octets as `createCertificate`, at a twentieth of its price; a CA that is asked by thousands of pods at once spends its time on signatures.
import { createHash } from "node:crypto";
import type { Issuer } from "./certificate.ts";
import { encodeDer, integer, sequence, tagged, time } from "./der.ts";
import {
  authorityKeyIdentifier,
  basicConstraints,
  extendedKeyUsage,
  type KeyUsage,
  keyUsage,
  subjectAltName,
  subjectKeyIdentifier,
} from "./extensions.ts";
import { signatureAlgorithm, signDer } from "./signature.ts";
import { TAG, tlv } from "./tlv.ts";

const VERSION_3 = Buffer.of(2);
const KEY_ID_BYTES = 20;
const NO_UNUSED_BITS = Buffer.of(0);
/** `[3] EXPLICIT`, constructed: extensions. */
const TAG_EXTENSIONS = 0xa3;
/** Names whose extension is kept: pods of a workload are many. The oldest goes first. */
const MAX_NAMES = 4_096;

/** What one certificate differs in. */
export interface LeafFields {
  /** Big-endian, positive. */
  readonly serial: Buffer;
  /** Epoch ms; whole seconds are written. */
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** The one URI name. */
  readonly uri: string;
  /** SubjectPublicKeyInfo of a P-256 key, DER. */
  readonly spki: Buffer;
}

/** Octets of the key itself at the end of the SubjectPublicKeyInfo of P-256: 0x04, x, y. */
export const P256_POINT_BYTES = 65;

/** Makes and signs one certificate, DER: no subject, one critical URI name, no CA. */
export type WriteLeaf = (fields: LeafFields) => Buffer;

/** Makes the writer. Throws `CertError("weak_key")` when the issuer's key is of no kind that we sign with. */
export function createLeafTemplate(
  issuer: Issuer,
  kind: { readonly keyUsage: readonly KeyUsage[]; readonly extendedKeyUsage: readonly string[] },
): WriteLeaf {
  const version = encodeDer(tagged(0, integer(VERSION_3)));
  const algorithm = encodeDer(signatureAlgorithm(issuer.key));
  const noSubject = encodeDer(sequence());
  const usages = Buffer.concat([basicConstraints(false), keyUsage(kind.keyUsage), extendedKeyUsage(kind.extendedKeyUsage)].map(encodeDer));
  const authorityKeyId = encodeDer(authorityKeyIdentifier(issuer.keyId));
  const subjectKeyId = templateOf(Buffer.alloc(KEY_ID_BYTES));
  const names = new Map<string, Buffer>();
  const dates = createDates();

  function nameOf(uri: string): Buffer {
    const known = names.get(uri);
    if (known !== undefined) return known;
    const [oldest] = names.keys();
    if (names.size >= MAX_NAMES && oldest !== undefined) names.delete(oldest);
    const made = encodeDer(subjectAltName({ uris: [uri] }, true));
    names.set(uri, made);
    return made;
  }

  return ({ serial, notBeforeMs, notAfterMs, uri, spki }) => {
    const keyId = createHash("sha256").update(spki.subarray(-P256_POINT_BYTES)).digest().subarray(0, KEY_ID_BYTES);
    const validity = tlv(TAG.sequence, dates(notBeforeMs), dates(notAfterMs));
    const extensions = tlv(TAG.sequence, usages, nameOf(uri), subjectKeyId, keyId, authorityKeyId);
    const tbs = tlv(
      TAG.sequence,
      version,
      encodeDer(integer(serial)),
      algorithm,
      issuer.name,
      validity,
      noSubject,
      spki,
      tlv(TAG_EXTENSIONS, extensions),
    );
    return tlv(TAG.sequence, tbs, algorithm, tlv(TAG.bitString, NO_UNUSED_BITS, signDer(tbs, issuer.key)));
  };
}

/** The extension up to the key id, which ends it. */
function templateOf(keyId: Buffer): Buffer {
  const whole = encodeDer(subjectKeyIdentifier(keyId));
  return whole.subarray(0, whole.length - keyId.length);
}

/** Certificates of the same second have the same times. */
function createDates(): (epochMs: number) => Buffer {
  const known = new Map<number, Buffer>();
  return (epochMs) => {
    const second = Math.floor(epochMs / 1000);
    const found = known.get(second) ?? encodeDer(time(second * 1000));
    if (known.size >= 4) known.clear();
    known.set(second, found);
    return found;
  };
}
