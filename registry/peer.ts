// Who is at the other end of a call. The identity is that of the verified client certificate, never of a message (design 8).
import type { X509Certificate } from "node:crypto";
import { CertError, RegistryError } from "../core/errors.ts";
import { peerCertificate } from "../core/peer-certificate.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { BidiCall } from "../core/wire/server-call.ts";
import type { JudgedAt } from "../core/x509/judged-at.ts";
import { checkPeerCertificate } from "../core/x509/peer-check.ts";

/** A peer whose certificate passed every check. */
export interface Peer {
  readonly identity: SpiffeId;
  /** End of its certificate, epoch ms: nothing is accepted on the connection after that. */
  readonly expiresAtMs: number;
  readonly remoteAddress: string;
}

/** Peers of open connections, by the certificate that each connection has an object of: its streams have one peer. */
const checked = new WeakMap<X509Certificate, { readonly trustDomain: string; readonly peer: Peer }>();

/** Checks the certificate of a call. Raises `RegistryError("unauthenticated")` that says what is wrong with it. */
export function identifyPeer<Request, Response>(
  call: BidiCall<Request, Response>,
  { trustDomain, judgedAt }: { readonly trustDomain: string; readonly judgedAt: JudgedAt },
): Peer {
  const certificate = peerCertificate(call);
  if (certificate === null) throw new RegistryError("unauthenticated", "a client certificate of this mesh is needed");
  const known = checked.get(certificate);
  const nowMs = judgedAt(certificate);
  if (known !== undefined && known.trustDomain === trustDomain && nowMs < known.peer.expiresAtMs) return known.peer;
  try {
    const identity = checkPeerCertificate(certificate, { trustDomain, usage: "client", nowMs });
    const peer = { identity, expiresAtMs: certificate.validToDate.getTime(), remoteAddress: hostOf(call.getPeer()) };
    checked.set(certificate, { trustDomain, peer });
    return peer;
  } catch (cause) {
    if (!(cause instanceof CertError)) throw cause;
    throw new RegistryError("unauthenticated", `the client certificate is refused: ${cause.message}`, {
      cause,
      fields: { code: cause.code },
    });
  }
}

/** grpc-js gives `address:port`, without brackets also for IPv6. */
function hostOf(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(":"));
}
