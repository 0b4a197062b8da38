// The outbound side's view of signing (design 9): completes an exchange's headers for the peer and the connection that were taken.
import type { SpiffeId } from "../../core/spiffe.ts";
import type { Endpoint } from "../discovery/discovery.ts";
import type { Exchange } from "../exchange.ts";
import type { MessageCertificates } from "./message-certificates.ts";
import type { Signer } from "./signer.ts";

/** The mesh connection that a request goes out on; `MeshConnection` of sidecar/transport is one. */
export interface SignedConnection {
  readonly peer: SpiffeId;
  readonly channelBinding: Buffer;
  /** Id of the message key whose certificate was last sent on it; empty at first. */
  sentMessageKeyId: string;
}

/** Signatures of outbound requests. */
export interface OutboundSignatures {
  /** True when a unary body is to be known before its head is sent. */
  readonly wantsBody: boolean;
  /** Appends the signature's fields to `exchange.edit`. `body` is null for a stream. */
  sign(exchange: Exchange, endpoint: Endpoint, connection: SignedConnection, body: Buffer | null): void;
}

/** The view of a signer that adds nothing. */
const UNSIGNED: OutboundSignatures = { wantsBody: false, sign: () => {} };

/** Makes the outbound side's view of `signer`. */
export function createOutboundSignatures(signer: Signer, certificates: MessageCertificates): OutboundSignatures {
  if (signer.mode === "mtls") return UNSIGNED; // not even the certificate of the peer is looked up
  return {
    wantsBody: true,
    sign(exchange, endpoint, connection, body) {
      const keyId = signer.keyId();
      const { messageCertificate } = endpoint;
      const fields = signer.sign({
        method: exchange.method,
        authority: exchange.authority,
        path: exchange.path,
        contentType: exchange.contentType,
        dst: connection.peer,
        dstMessageCertificateKey: messageCertificate === null ? null : certificates.ofDer(messageCertificate, connection.peer),
        channelBinding: connection.channelBinding,
        body,
        // HTTP/2 keeps heads in order, so the peer has seen it once the first one is written.
        includeCertificate: connection.sentMessageKeyId !== keyId,
      });
      connection.sentMessageKeyId = keyId;
      exchange.edit.addAll(fields);
    },
  };
}
