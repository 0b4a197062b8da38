// Who is at the other end of a call of gRPC, before anybody has judged it: the certificate that TLS has verified. What it may be used for is checked by
// core/x509/peer-check.ts.
import { X509Certificate } from "node:crypto";
import type { SpiffeId } from "./spiffe.ts";
import { checkPeerCertificate, type PeerRules } from "./x509/peer-check.ts";

/** The part of a server's call that is looked at; the same as in grpc-js, and what the client sent with its certificate. */
export interface AuthenticatedCall {
  getAuthContext(): {
    readonly transportSecurityType?: string;
    readonly sslPeerCertificate?: { readonly raw?: Buffer; readonly issuers?: readonly Buffer[] };
  };
}

/** Parsed once for all calls of a connection, which gives them the same bytes. */
const parsed = new WeakMap<Buffer, X509Certificate>();

/**
 * The client certificate of the call's connection, chain verified against the roots of the time of the handshake; null when there is none that
 * verified, so an unverified one fails closed.
 */
export function peerCertificate(call: AuthenticatedCall): X509Certificate | null {
  const raw = call.getAuthContext().sslPeerCertificate?.raw;
  if (raw === undefined) return null;
  const known = parsed.get(raw) ?? new X509Certificate(raw);
  parsed.set(raw, known);
  return known;
}

/** What the client sent between its certificate and a root, in the order sent; not verified by itself. */
export function sentIssuers(call: AuthenticatedCall): readonly X509Certificate[] {
  return (call.getAuthContext().sslPeerCertificate?.issuers ?? []).map((raw) => new X509Certificate(raw));
}

/** What was found out about the certificates of open connections: their calls have one answer, until it ends. */
const identities = new WeakMap<X509Certificate, { readonly trustDomain: string; readonly identity: SpiffeId; readonly endMs: number }>();

/** As {@link checkPeerCertificate} for a client, once for all calls of a connection. */
export function clientIdentity(certificate: X509Certificate, rules: PeerRules): SpiffeId {
  const known = identities.get(certificate);
  if (known !== undefined && known.trustDomain === rules.trustDomain && rules.nowMs < known.endMs) return known.identity;
  const identity = checkPeerCertificate(certificate, { ...rules, usage: "client" });
  identities.set(certificate, { trustDomain: rules.trustDomain, identity, endMs: certificate.validToDate.getTime() });
  return identity;
}
