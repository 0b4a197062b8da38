// One generation of keys and certificates: made and asked for together, checked together, swapped together. What comes from the control
// plane or from disk is checked here before anything uses it.
import type { KeyObject, X509Certificate } from "node:crypto";
import { createPrivateKey } from "node:crypto";
import { CertError } from "../../core/errors.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { spiffeParts } from "../../core/spiffe.ts";
import { parseCertificate } from "../../core/x509/certificate.ts";
import { findRoot } from "../../core/x509/chain.ts";
import { checkMessageCertificate, checkPeerCertificate, parseMessageChain } from "../../core/x509/peer-check.ts";
import { fromPemBundle, toPem } from "../../core/x509/pem.ts";
import type { Credentials } from "./identity-source.ts";

/** Keys with what the CA signed for them. */
export interface Generation {
  readonly certificateChainPem: string;
  readonly privateKeyPem: string;
  /** DER */
  readonly messageCertificate: Buffer;
  readonly messageKey: KeyObject;
}

/**
 * Checks `generation` against `rootsPem` and makes {@link Credentials} of it. `before` becomes `previous` when its message key is another.
 * Throws `CertError`.
 */
export function toCredentials(
  generation: Generation,
  rootsPem: string,
  identity: SpiffeId,
  nowMs: number,
  before: Credentials | null,
): Credentials {
  const roots = parseRoots(rootsPem);
  const { trustDomain } = spiffeParts(identity);
  const [leaf, ...issuers] = parseChain(generation.certificateChainPem);
  if (!leaf.checkPrivateKey(createPrivateKey(generation.privateKeyPem)))
    throw new CertError("malformed", "the certificate is for another key");
  expectIdentity(checkPeerCertificate(leaf, { trustDomain, usage: "client", nowMs }), identity);
  if (findRoot(leaf, { issuers, roots, trustDomain, nowMs }) === null)
    throw new CertError("untrusted", "the certificate is signed by no root of the bundle");
  const message = checkMessageCertificate(generation.messageCertificate, { trustDomain, roots, nowMs });
  expectIdentity(message.identity, identity);
  if (!parseMessageChain(generation.messageCertificate)[0].checkPrivateKey(generation.messageKey)) {
    throw new CertError("malformed", "the message certificate is for another key");
  }
  return {
    certificateChainPem: generation.certificateChainPem,
    privateKeyPem: generation.privateKeyPem,
    leaf,
    expiresAtMs: Math.min(leaf.validToDate.getTime(), message.expiresAtMs),
    rootsPem,
    roots,
    messageKey: generation.messageKey,
    messageCertificate: generation.messageCertificate,
    messageKeyId: message.keyId,
    previous: before === null || before.messageKeyId === message.keyId ? (before?.previous ?? null) : previousOf(before),
  };
}

/** A chain as a TLS socket sends it: the leaf, then what signed it. Throws `CertError("malformed")`. */
export function parseChain(chainPem: string): readonly [X509Certificate, ...X509Certificate[]] {
  const [leaf = Buffer.alloc(0), ...rest] = fromPemBundle(chainPem);
  return [parseCertificate(leaf), ...rest.map(parseCertificate)];
}

/** The roots of a bundle, PEM; throws `CertError` when one is not a CA certificate. */
export function parseRoots(rootsPem: string): readonly X509Certificate[] {
  return fromPemBundle(rootsPem).map((der) => {
    const root = parseCertificate(der);
    if (!root.ca) throw new CertError("untrusted", "a root of the trust bundle is not a CA certificate");
    return root;
  });
}

/** PEM of roots in DER, in an order that does not depend on the sender's, so that equal bundles are equal texts. */
export function rootsToPem(roots: readonly Uint8Array[]): string {
  return roots
    .map((root) => toPem(Buffer.from(root), "CERTIFICATE"))
    .sort()
    .join("");
}

function previousOf({ messageKey, messageKeyId, expiresAtMs }: Credentials): Credentials["previous"] {
  return { messageKey, messageKeyId, expiresAtMs };
}

function expectIdentity(found: SpiffeId, expected: SpiffeId): void {
  if (found !== expected) throw new CertError("identity_mismatch", `the certificate is for ${found}, not for ${expected}`);
}
