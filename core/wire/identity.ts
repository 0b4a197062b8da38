// Types of identity.proto as core/wire/load.ts delivers them. Kept by hand; `test/core/wire/types.test.ts` fails when the two differ.
import type { handleServerStreamingCall, handleUnaryCall, UntypedServiceImplementation } from "@grpc/grpc-js";

/** Asks for one TLS leaf and one message certificate. At most one of the two credentials is set; none: the connection's certificate. */
export interface CertifyRequest {
  /** PKCS#10 DER of the TLS key; SAN: exactly the one SPIFFE URI. */
  readonly csr: Buffer;
  /** PKCS#10 DER of the message key (design 9), same SAN. */
  readonly messageCsr: Buffer;
  /** Projected token, audience remora.io. */
  readonly serviceAccountToken?: string;
  /** One-time token from `remora token`. */
  readonly joinToken?: string;
  /** Which of the two is set, as received. Not sent. */
  readonly credential?: "serviceAccountToken" | "joinToken";
}

export interface CertifyResponse {
  /** DER: leaf first, then the issuers up to but not including the root; during a rotation also the root signed by the old one. */
  readonly certificateChain: readonly Buffer[];
  /** DER, followed by that of the issuers up to but not including the root. */
  readonly messageCertificate: Buffer;
  /** Epoch ms at which the earlier of the two ends. */
  readonly notAfterMs: number;
  /** Always set by the CA. */
  readonly trust: TrustBundle | null;
}

export type WatchTrustRequest = Readonly<Record<string, never>>;

export interface TrustBundle {
  readonly trustDomain: string;
  /** Grows by one at every change. */
  readonly version: number;
  /** DER. */
  readonly roots: readonly Buffer[];
  /** First 8 bytes of the SHA-256 of the root that leaves chain to from now on; empty from versions that do not rotate. */
  readonly issuingRoot: Buffer;
  /** A leaf of another root is renewed at a random time within this; 0 from versions that do not rotate. */
  readonly renewWithinMs: number;
}

/** What a server of `remora.v1.Identity` implements. */
export interface IdentityHandlers extends UntypedServiceImplementation {
  certify: handleUnaryCall<CertifyRequest, CertifyResponse>;
  watchTrust: handleServerStreamingCall<WatchTrustRequest, TrustBundle>;
}
