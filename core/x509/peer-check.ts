// The mesh's own rules for certificates (design 6), on top of the chain's trust which TLS checks (Node's verification is not enough: it
// accepts two URI names, CA certificates as leaves, weak keys). Fails closed: whatever is not understood is refused.
import type { KeyObject, X509Certificate } from "node:crypto";
import { createHash } from "node:crypto";
import { CertError } from "../errors.ts";
import type { SpiffeId } from "../spiffe.ts";
import { parseSpiffeId, spiffeParts } from "../spiffe.ts";
import { parseCertificate, splitCertificates } from "./certificate.ts";
import { findRoot, MAX_ISSUERS } from "./chain.ts";
import type { Extensions } from "./extensions.ts";
import { OID, readCertificateExtensions } from "./extensions.ts";
import { isStrongKey, keyName } from "./signature.ts";

const KEY_ID_BYTES = 16;

/** What the holder of a TLS certificate does on the connection in question. */
export type PeerUsage = "server" | "client";

/** What the two checks need to know. */
export interface PeerRules {
  readonly trustDomain: string;
  /** Epoch ms. */
  readonly nowMs: number;
}

/** A checked message certificate. */
export interface MessageCertificate {
  readonly identity: SpiffeId;
  /** P-256. */
  readonly publicKey: KeyObject;
  readonly expiresAtMs: number;
  /** {@link messageKeyId} of it. */
  readonly keyId: string;
}

/**
 * Checks a peer's leaf and gives its identity. Does not check who signed it.
 * Throws `CertError`: `expired` (or not yet valid), `weak_key`, `ca_as_leaf`, `wrong_usage`, `not_one_uri_san`, `wrong_trust_domain`, `malformed`.
 */
export function checkPeerCertificate(certificate: X509Certificate, rules: PeerRules & { readonly usage: PeerUsage }): SpiffeId {
  const extensions = checkLeaf(certificate, rules);
  const wanted = rules.usage === "server" ? OID.serverAuth : OID.clientAuth;
  const usages = extensions.extendedKeyUsage ?? [];
  if (!usages.includes(wanted))
    throw new CertError("wrong_usage", `the certificate is not for TLS ${rules.usage}s (its usages: ${usages.join(", ") || "none"})`);
  return identityOf(extensions, rules.trustDomain);
}

/**
 * Checks a message certificate (design 9) with its issuer. `der` is the certificate, followed by the issuers between it and one of `roots` where there are any.
 * Codes as {@link checkPeerCertificate}, and `untrusted`.
 */
export function checkMessageCertificate(
  der: Buffer,
  rules: PeerRules & { readonly roots: readonly X509Certificate[] },
): MessageCertificate {
  const [certificate, ...issuers] = parseMessageChain(der);
  const extensions = checkLeaf(certificate, rules);
  const usages = extensions.extendedKeyUsage ?? [];
  if (usages.length !== 1 || usages[0] !== OID.messageSigning) {
    throw new CertError("wrong_usage", `not a message certificate (its usages: ${usages.join(", ") || "none"})`);
  }
  if (extensions.keyUsage?.has("keyAgreement") !== true)
    throw new CertError("wrong_usage", "the message certificate's key is not for key agreement");
  if (keyName(certificate.publicKey) !== "P-256")
    throw new CertError("weak_key", `a message key of type ${keyName(certificate.publicKey)}, P-256 is needed`);
  if (extensions.unknownCritical.length > 0) {
    throw new CertError("malformed", `unknown critical extensions: ${extensions.unknownCritical.join(", ")}`);
  }
  if (findRoot(certificate, { ...rules, issuers }) === null) {
    throw new CertError("untrusted", "the message certificate is signed by no root of the mesh");
  }
  return {
    identity: identityOf(extensions, rules.trustDomain),
    publicKey: certificate.publicKey,
    expiresAtMs: certificate.validToDate.getTime(),
    keyId: messageKeyId(der),
  };
}

/** A message certificate and the issuers behind it, as they travel together; throws `CertError("malformed")`. */
export function parseMessageChain(der: Buffer): readonly [X509Certificate, ...X509Certificate[]] {
  const [first = Buffer.alloc(0), ...rest] = splitCertificates(der, 1 + MAX_ISSUERS);
  return [parseCertificate(first), ...rest.map(parseCertificate)];
}

/** Names a message key on the wire (`keyid`): the first 128 bits of the SHA-256 of its certificate, 22 characters of base64url. */
export function messageKeyId(messageCertificateDer: Buffer): string {
  return createHash("sha256").update(messageCertificateDer).digest().subarray(0, KEY_ID_BYTES).toString("base64url");
}

export function isValidAt(certificate: X509Certificate, nowMs: number): boolean {
  return certificate.validFromDate.getTime() <= nowMs && nowMs < certificate.validToDate.getTime();
}

/** What TLS leaves and message certificates have in common. */
function checkLeaf(certificate: X509Certificate, { nowMs }: PeerRules): Extensions {
  if (!isValidAt(certificate, nowMs)) {
    throw new CertError(
      "expired",
      `the certificate is valid from ${certificate.validFrom} to ${certificate.validTo}, now is ${new Date(nowMs).toUTCString()}`,
    );
  }
  const key = publicKeyOf(certificate);
  if (!isStrongKey(key))
    throw new CertError("weak_key", `a key of type ${keyName(key)}; P-256, P-384 or RSA of at least 2048 bits is needed`);
  const extensions = readCertificateExtensions(certificate.raw);
  const signs = extensions.keyUsage?.has("keyCertSign") === true || extensions.keyUsage?.has("cRLSign") === true;
  // Both views of "is a CA" must say no: Node's is OpenSSL's, ours is the extension itself.
  if (extensions.isCa || signs || certificate.ca) throw new CertError("ca_as_leaf", "a CA certificate is used as a leaf");
  if (extensions.keyUsage !== null && !extensions.keyUsage.has("digitalSignature")) {
    throw new CertError("wrong_usage", "the certificate's key is not for signatures");
  }
  return extensions;
}

function publicKeyOf(certificate: X509Certificate): KeyObject {
  try {
    return certificate.publicKey;
  } catch (cause) {
    throw new CertError("weak_key", "a key of an unknown type", { cause });
  }
}

function identityOf({ uris }: Extensions, trustDomain: string): SpiffeId {
  const [uri, ...others] = uris;
  if (uri === undefined || others.length > 0) {
    throw new CertError("not_one_uri_san", `the certificate has ${uris.length} URI names, exactly one is needed`);
  }
  const identity = parseSpiffeId(uri);
  const { trustDomain: actual } = spiffeParts(identity);
  if (actual !== trustDomain) throw new CertError("wrong_trust_domain", `the certificate is of trust domain ${actual}, not ${trustDomain}`);
  return identity;
}
