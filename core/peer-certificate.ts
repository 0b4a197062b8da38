// Who is at the other end of a call of gRPC, before anybody has judged it: the certificate that TLS has verified. What it may be used for is checked by
// core/x509/peer-check.ts.
import { X509Certificate } from "node:crypto";

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
