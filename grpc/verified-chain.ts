// Which client certificates count as verified: those that OpenSSL says so of, and those that it finds too young only because this machine's clock stepped back. A live
// sidecar that renewed its certificate a moment ago must not be cut off by that (design 12: clock steps on any node do not end leases).
import type { X509Certificate } from "node:crypto";
import type { TLSSocket } from "node:tls";
import type { JudgedAt } from "../core/x509/judged-at.ts";
import { isValidAt } from "../core/x509/peer-check.ts";
import { sentCertificates } from "../core/x509/verify-peer.ts";

const TOO_YOUNG = "CERT_NOT_YET_VALID";

/** Walks a chain as OpenSSL does, at the instant at which the leaf is judged: true when it ends at a root that is trusted now. */
export type IsTrusted = (leaf: X509Certificate, issuers: readonly X509Certificate[]) => boolean;

/** What the client sent, leaf first; empty when it is not verified. */
export function verifiedChain(socket: TLSSocket, judgedAt: JudgedAt, isTrusted: IsTrusted | undefined): readonly X509Certificate[] {
  if (socket.authorized) return sentCertificates(socket);
  if (String(socket.authorizationError) !== TOO_YOUNG || isTrusted === undefined) return [];
  // OpenSSL tells the last thing that it found only; what it may have found before is looked for again.
  const [leaf, ...issuers] = sentCertificates(socket);
  if (leaf === undefined || !isValidAt(leaf, judgedAt(leaf)) || !isTrusted(leaf, issuers)) return [];
  return [leaf, ...issuers];
}
