// What the mesh's certificates look like (design 7): lifetimes, names and usages, in one place. Encoding is core/x509's business, who may
// have one is the authenticator's.
import type { KeyObject } from "node:crypto";
import { createPublicKey, generateKeyPairSync } from "node:crypto";
import type { Issuer } from "../core/x509/certificate.ts";
import { createCertificate, randomSerial, selfIssuer } from "../core/x509/certificate.ts";
import { type KeyUsage, OID } from "../core/x509/extensions.ts";
import { createLeafTemplate, type WriteLeaf } from "../core/x509/leaf-template.ts";
import type { SpiffeId } from "../core/spiffe.ts";

const DAY_MS = 86_400_000;
/** Certificates start this much in the past, so that clocks may differ by as much. */
export const BACKDATE_MS = 20_000;
/** Default life of leaves and message certificates. */
export const LEAF_TTL_MS = DAY_MS;
/** Life of a root that we make ourselves. */
export const ROOT_TTL_MS = 3650 * DAY_MS;

/** Random bytes: `crypto.randomBytes` outside of tests. */
export type RandomBytes = (bytes: number) => Buffer;

/** One certificate to be signed. */
export interface Subject {
  readonly identity: SpiffeId;
  /** SubjectPublicKeyInfo of its P-256 key, DER. */
  readonly spki: Buffer;
}

/** What was signed; with the few words about it that are looked at afterwards, so that nobody has to parse it. */
export interface SignedCertificate {
  /** DER. */
  readonly raw: Buffer;
  /** Hex, lower case, as OpenSSL shows it. */
  readonly serial: string;
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

/** What sets the two kinds of certificates apart. */
interface Profile {
  readonly keyUsage: readonly KeyUsage[];
  readonly extendedKeyUsage: readonly string[];
  /** The writer of each issuer. */
  readonly writers: WeakMap<Issuer, WriteLeaf>;
}

const TLS_LEAF: Profile = {
  keyUsage: ["digitalSignature"],
  extendedKeyUsage: [OID.serverAuth, OID.clientAuth],
  writers: new WeakMap(),
};
const MESSAGE_CERTIFICATE: Profile = {
  keyUsage: ["digitalSignature", "keyAgreement"],
  extendedKeyUsage: [OID.messageSigning],
  writers: new WeakMap(),
};

/** SubjectPublicKeyInfo of a private or public key, DER. */
export function spkiOf(key: KeyObject): Buffer {
  return (key.type === "private" ? createPublicKey(key) : key).export({ type: "spki", format: "der" });
}

/** TLS leaf: server and client, one URI name. */
export function signLeaf(subject: Subject, signing: Signing): SignedCertificate {
  return sign(subject, signing, TLS_LEAF);
}

/** Message certificate (design 9): its own usage only, so that it can never end a TLS connection. */
export function signMessageCertificate(subject: Subject, signing: Signing): SignedCertificate {
  return sign(subject, signing, MESSAGE_CERTIFICATE);
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

function sign({ identity, spki }: Subject, { issuer, nowMs, notAfterMs, random }: Signing, profile: Profile): SignedCertificate {
  const write = profile.writers.get(issuer) ?? createLeafTemplate(issuer, profile);
  profile.writers.set(issuer, write);
  const serial = randomSerial(random);
  return { raw: write({ serial, notBeforeMs: nowMs - BACKDATE_MS, notAfterMs, uri: identity, spki }), serial: hexOf(serial) };
}

/** Without leading zeros, by whole octets. */
function hexOf(serial: Buffer): string {
  const first = serial.findIndex((octet) => octet !== 0);
  return serial.subarray(Math.max(first, 0)).toString("hex");
}
