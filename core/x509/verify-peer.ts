// The one question that both ends of a mesh connection ask once the handshake is done: who is that? Joins TLS's verdict on the chain with
// the mesh's own rules for the leaf (design 6).
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import { CertError } from "../errors.ts";
import type { SpiffeId } from "../spiffe.ts";
import type { PeerRules, PeerUsage } from "./peer-check.ts";
import { checkPeerCertificate } from "./peer-check.ts";

/** What {@link verifyPeer} checks against. */
export interface VerifyPeerRules extends PeerRules {
  /** What the peer is on this connection: the accepting side asks "client", the dialling side "server". */
  readonly usage: PeerUsage;
  /** The identity that the registry announced; undefined accepts any of the trust domain. */
  readonly expected?: SpiffeId | undefined;
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
  const identity = checkPeerCertificate(certificate, rules);
  if (rules.expected !== undefined && identity !== rules.expected) {
    throw new CertError("identity_mismatch", `the peer is ${identity}, expected ${rules.expected}`, {
      fields: { identity, expected: rules.expected },
    });
  }
  return identity;
}

/** OpenSSL's verdict in our words. An expired leaf is told apart, since it has another cure than a foreign one. */
function untrusted(socket: TLSSocket, certificate: X509Certificate, nowMs: number): CertError {
  const verdict = String(socket.authorizationError ?? "not verified");
  const code = verdict.includes("CERT_HAS_EXPIRED") && certificate.validToDate.getTime() <= nowMs ? "expired" : "untrusted";
  return new CertError(code, `the peer's certificate chain does not verify: ${verdict}`, { fields: { verdict } });
}
