// What signs: the root itself, or an issuer below it whose root's key is elsewhere. Whatever the source, it is checked before the first certificate is signed with
// it, so that a wrong pair of files is a clear message at start and not a broken mesh later.
import type { KeyObject } from "node:crypto";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { CertError } from "../core/errors.ts";
import type { Issuer } from "../core/x509/certificate.ts";
import { issuerOf } from "../core/x509/certificate.ts";
import { factsOf, findChain, whyNoIssuer } from "../core/x509/chain.ts";
import { isValidAt } from "../core/x509/peer-check.ts";
import { fromPemBundle, toPem } from "../core/x509/pem.ts";
import { isStrongKey, keyName } from "../core/x509/signature.ts";

/** A pair as it is stored. */
export interface RootMaterial {
  /** What signs; then, when that is an issuer, the issuers between it and its root. */
  readonly certificatePem: string;
  /** PKCS#8, PKCS#1 or SEC1. */
  readonly keyPem: string;
}

/** A CA that can sign. */
export interface Root {
  /** What signs. */
  readonly certificate: X509Certificate;
  readonly issuer: Issuer;
  /** What stands between a leaf and the root, `certificate` first; empty when the root itself signs. */
  readonly issuers: readonly X509Certificate[];
  /** The root that leaves chain to. */
  readonly anchor: X509Certificate;
  /** Epoch ms at which the first certificate of the chain ends. */
  readonly notAfterMs: number;
}

/** What a pair is checked for. */
export interface RootRules {
  readonly trustDomain: string;
  /** Epoch ms. */
  readonly nowMs: number;
  /** The roots that an issuer may be of; null: the pair must be a root itself. */
  readonly roots: readonly X509Certificate[] | null;
}

type Refuse = (code: "malformed" | "expired" | "weak_key" | "untrusted", why: string, cause?: unknown) => CertError;

/** Proves that the pair can sign leaves that the mesh believes; throws `CertError` that names `place` and the rule it breaks. */
export function checkRoot(material: RootMaterial, place: string, rules: RootRules): Root {
  const refuse = refusalFor(place);
  const [certificate, ...between] = readCertificates(material.certificatePem, "its certificate", refuse);
  const key = readKey(material.keyPem, refuse);
  if (!certificate.checkPrivateKey(key)) throw refuse("malformed", "the key does not belong to the certificate");
  if (!isStrongKey(key)) throw refuse("weak_key", `a key of type ${keyName(key)}; P-256, P-384 or RSA of at least 2048 bits is needed`);
  checkMaySign(certificate, rules, "", refuse);
  const above = isSelfSigned(certificate) ? rootItself(certificate, rules, refuse) : chainAbove(certificate, between, rules, refuse);
  const anchor = above.at(-1) ?? certificate;
  const chain = above.length === 0 ? [certificate] : [certificate, ...above];
  return {
    certificate,
    issuer: issuerOf(certificate, key),
    issuers: chain.slice(0, -1),
    anchor,
    notAfterMs: Math.min(...chain.map((one) => one.validToDate.getTime())),
  };
}

/** The roots in `pem`: CA certificates that signed themselves. Throws `CertError` that names `place`. An expired one is none of its errors: it believes nothing any more. */
export function readRoots(pem: string, place: string): readonly X509Certificate[] {
  const refuse = refusalFor(place);
  const roots = readCertificates(pem, "its list of roots", refuse);
  for (const root of roots) {
    if (!root.ca || !isSelfSigned(root)) throw refuse("untrusted", `${shown(root)} among its roots is not a self-signed CA`);
  }
  return roots;
}

export function isSelfSigned(certificate: X509Certificate): boolean {
  return certificate.checkIssued(certificate) && certificate.verify(certificate.publicKey);
}

/** Not yet, still, or no more: with the sentence for people. */
function checkTime(certificate: X509Certificate, nowMs: number, name: string, refuse: Refuse): void {
  if (isValidAt(certificate, nowMs)) return;
  const isEarly = nowMs < certificate.validFromDate.getTime();
  throw refuse(
    "expired",
    `${name === "" ? "it" : name} is ${isEarly ? "not valid yet" : "expired"}, valid from ${certificate.validFrom} to ${certificate.validTo}`,
  );
}

function checkMaySign(certificate: X509Certificate, rules: RootRules, name: string, refuse: Refuse): void {
  const facts = factsOf(certificate);
  if (facts === null) throw refuse("malformed", `the extensions of ${name === "" ? "its certificate" : name} cannot be read`);
  const why = whyNoIssuer(facts, rules.trustDomain);
  if (why !== null) throw refuse("untrusted", name === "" ? why : `${name}: ${why}`);
  if (!certificate.ca) throw refuse("untrusted", "OpenSSL does not take the certificate for a CA");
  checkTime(certificate, rules.nowMs, name, refuse);
}

/** Nothing stands above a root; with a list of roots given it must be one of them. */
function rootItself(certificate: X509Certificate, { roots }: RootRules, refuse: Refuse): readonly X509Certificate[] {
  if (roots !== null && !roots.some((root) => root.raw.equals(certificate.raw)))
    throw refuse("untrusted", "the certificate is self-signed, but none of the roots given with it");
  return [];
}

/** The issuers above `certificate` and its root, last. */
function chainAbove(
  certificate: X509Certificate,
  between: readonly X509Certificate[],
  rules: RootRules,
  refuse: Refuse,
): readonly X509Certificate[] {
  const { roots, trustDomain, nowMs } = rules;
  if (roots === null) throw refuse("untrusted", "the certificate is not self-signed; give its root with it (ca.crt, REMORA_CA_ROOT_FILE)");
  const issuers = between.filter((one) => !isSelfSigned(one));
  const found = findChain(certificate, { issuers, roots, trustDomain, nowMs });
  if (found === null) throw refuse("untrusted", whyNoChain(certificate, issuers, rules));
  for (const [below, one] of found.entries()) {
    // `certificate` itself stands below each of them, which the walk, for which it was the leaf, has not counted.
    const most = factsOf(one)?.extensions.pathLength ?? null;
    if (most !== null && below + 1 > most)
      throw refuse("untrusted", `the path length of ${shown(one)} allows ${most} issuers below it, not ${below + 1}`);
  }
  return found;
}

/** The nearest cause: what should be above it and is not as it should be. */
function whyNoChain(certificate: X509Certificate, issuers: readonly X509Certificate[], rules: RootRules): string {
  const above = [...issuers, ...(rules.roots ?? [])].find((one) => certificate.checkIssued(one) && certificate.verify(one.publicKey));
  if (above === undefined) return `it is an issuer that none of the roots given has signed (${(rules.roots ?? []).map(shown).join(", ")})`;
  if (!isValidAt(above, rules.nowMs)) return `${shown(above)} above it is valid from ${above.validFrom} to ${above.validTo}`;
  const facts = factsOf(above);
  const why = facts === null ? "its extensions cannot be read" : whyNoIssuer(facts, rules.trustDomain);
  return `no root is reached above it over ${shown(above)}${why === null ? "" : `: ${why}`}`;
}

function readCertificates(pem: string, what: string, refuse: Refuse): readonly [X509Certificate, ...X509Certificate[]] {
  try {
    const [first = Buffer.alloc(0), ...rest] = fromPemBundle(pem);
    return [new X509Certificate(first), ...rest.map((der) => new X509Certificate(der))];
  } catch (cause) {
    throw refuse("malformed", `${what} is not X.509 in PEM`, cause);
  }
}

function readKey(pem: string, refuse: Refuse): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (cause) {
    throw refuse("malformed", "its key is not a private key in PEM", cause);
  }
}

function refusalFor(place: string): Refuse {
  return (code, why, cause) => new CertError(code, `the CA in ${place} cannot be used: ${why}`, cause === undefined ? {} : { cause });
}

/** A certificate's name in a sentence. */
function shown(certificate: X509Certificate): string {
  return JSON.stringify(certificate.subject.replaceAll("\n", ", ").slice(0, 100));
}

/** PEM of certificates, one after the other. */
export function toPemChain(certificates: readonly X509Certificate[]): string {
  return certificates.map(({ raw }) => toPem(raw, "CERTIFICATE")).join("");
}
