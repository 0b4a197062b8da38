// The one question that both ends of a mesh connection ask once the handshake is done: who is that? Joins TLS's verdict on the chain with
// the mesh's own rules for the leaf (design 6).
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { CertError } from "../errors.ts";
import type { SpiffeId } from "../spiffe.ts";
import { findRoot, MAX_SENT_ISSUERS } from "./chain.ts";
import type { PeerRules, PeerUsage } from "./peer-check.ts";
import { checkPeerCertificate } from "./peer-check.ts";

/** What {@link verifyPeer} checks against. */
export interface VerifyPeerRules extends PeerRules {
  /** What the peer is on this connection: the accepting side asks "client", the dialling side "server". */
  readonly usage: PeerUsage;
  /** The identity that the registry announced; undefined accepts any of the trust domain. */
  readonly expected?: SpiffeId | undefined;
  /** What the connection's TLS context trusts. */
  readonly roots: readonly X509Certificate[];
}

/**
 * The peer's identity. Call after the handshake (`secureConnect`, `secure`), on sockets made with `rejectUnauthorized: false` as well. The dialling
 * side must pass `checkServerIdentity: () => undefined`: our leaves have no DNS name, and Node would call every one of them unauthorized.
 * Throws `CertError`: `untrusted` (no certificate, or its chain does not verify), `identity_mismatch`, and those of `checkPeerCertificate`.
 */
export function verifyPeer(socket: TLSSocket, rules: VerifyPeerRules): SpiffeId {
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new CertError("untrusted", "the peer sent no certificate");
  if (!socket.authorized) throw untrusted(socket, certificate, rules.nowMs);
  // OpenSSL goes the shortest way: with a root of the leaf's issuer's name it has used that root, and there is no chain to be strict about.
  if (!rules.roots.some((root) => certificate.checkIssued(root)) && findPeerRoot(socket, rules) === null)
    throw new CertError("untrusted", "the peer's certificate chain is not one of this mesh: too long, a weak key, or not for its names");
  const identity = checkPeerCertificate(certificate, rules);
  if (rules.expected !== undefined && identity !== rules.expected) {
    throw new CertError("identity_mismatch", `the peer is ${identity}, expected ${rules.expected}`, {
      fields: { identity, expected: rules.expected },
    });
  }
  return identity;
}

/** The root that the certificate of `socket`'s peer chains to, with what the peer sent; null when it is none of `roots`, or the peer sent none. */
export function findPeerRoot(socket: TLSSocket, rules: PeerRules & { readonly roots: readonly X509Certificate[] }): X509Certificate | null {
  const [leaf, ...issuers] = sentCertificates(socket);
  return leaf === undefined ? null : findRoot(leaf, { ...rules, issuers });
}

/** What the peer sent, leaf first, as far as each signs the one before it. More than we look at is cut off. */
export function sentCertificates(socket: TLSSocket): readonly X509Certificate[] {
  const sent: X509Certificate[] = [];
  let next = socket.getPeerX509Certificate();
  while (next !== undefined && sent.length <= MAX_SENT_ISSUERS && sent.at(-1)?.fingerprint256 !== next.fingerprint256) {
    sent.push(next);
    next = next.issuerCertificate;
  }
  return sent;
}

/** OpenSSL's verdict in our words. An expired leaf is told apart, since it has another cure than a foreign one. */
function untrusted(socket: TLSSocket, certificate: X509Certificate, nowMs: number): CertError {
  const verdict = String(socket.authorizationError ?? "not verified");
  const code = verdict.includes("CERT_HAS_EXPIRED") && certificate.validToDate.getTime() <= nowMs ? "expired" : "untrusted";
  return new CertError(code, `the peer's certificate chain does not verify: ${verdict}`, { fields: { verdict } });
}
