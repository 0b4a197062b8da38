// What the mesh's certificates look like (design 7): lifetimes, names and usages, in one place. Encoding is core/x509's business, who may
// have one is the authenticator's.
import type { KeyObject } from "node:crypto";
import { generateKeyPairSync } from "node:crypto";
import type { Issuer } from "../core/x509/certificate.ts";
import { createCertificate, randomSerial, selfIssuer } from "../core/x509/certificate.ts";
import { OID } from "../core/x509/extensions.ts";
import type { SpiffeId } from "../core/spiffe.ts";

const DAY_MS = 86_400_000;
/** Certificates start this much in the past, so that clocks may differ by as much. */
export const BACKDATE_MS = 20_000;
/** Default life of leaves and message certificates. */
export const LEAF_TTL_MS = DAY_MS;
/** Life of a root that we make ourselves. */
const ROOT_TTL_MS = 3650 * DAY_MS;

/** Random bytes: `crypto.randomBytes` outside of tests. */
export type RandomBytes = (bytes: number) => Buffer;

/** One certificate to be signed. */
export interface Subject {
  readonly identity: SpiffeId;
  readonly publicKey: KeyObject;
}

/** When and by whom. */
export interface Signing {
  readonly issuer: Issuer;
  readonly nowMs: number;
  /** Epoch ms; also the end of the certificate's life. */
  readonly notAfterMs: number;
  readonly random: RandomBytes;
}

/** A fresh P-256 key: every key that the mesh makes. */
export function makeKey(): KeyObject {
  return generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
}

/** TLS leaf: server and client, one URI name, DER. */
export function signLeaf(subject: Subject, signing: Signing): Buffer {
  return sign(subject, signing, ["digitalSignature"], [OID.serverAuth, OID.clientAuth]);
}

/** Message certificate (design 9): its own usage only, so that it can never end a TLS connection. DER. */
export function signMessageCertificate(subject: Subject, signing: Signing): Buffer {
  return sign(subject, signing, ["digitalSignature", "keyAgreement"], [OID.messageSigning]);
}

/** Self-signed root of ten years, DER. */
export function signRoot(key: KeyObject, trustDomain: string, nowMs: number, random: RandomBytes): Buffer {
  const commonName = `Remora root of ${trustDomain}`.slice(0, 64); // ub-common-name of RFC 5280
  return createCertificate({
    publicKey: key,
    issuer: selfIssuer(key, commonName),
    serial: randomSerial(random),
    notBeforeMs: nowMs - BACKDATE_MS,
    notAfterMs: nowMs + ROOT_TTL_MS,
    commonName,
    names: {},
    isCa: true,
    keyUsage: ["keyCertSign", "cRLSign"],
    extendedKeyUsage: [],
  });
}

function sign(
  subject: Subject,
  signing: Signing,
  keyUsage: readonly ("digitalSignature" | "keyAgreement")[],
  extendedKeyUsage: readonly string[],
): Buffer {
  return createCertificate({
    publicKey: subject.publicKey,
    issuer: signing.issuer,
    serial: randomSerial(signing.random),
    notBeforeMs: signing.nowMs - BACKDATE_MS,
    notAfterMs: signing.notAfterMs,
    commonName: "",
    names: { uris: [subject.identity] },
    isCa: false,
    keyUsage,
    extendedKeyUsage,
  });
}
