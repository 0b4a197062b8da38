// The fields of identity.proto's messages, by the property names of identity.ts. A number once given is never given again.
import { BYTES, field, repeated, TEXT, UINT64 } from "./field.ts";
import type { CertifyRequest, CertifyResponse, TrustBundle, WatchTrustRequest } from "./identity.ts";
import { message, messageWithChoice } from "./message.ts";

export const trustBundle = message<TrustBundle>("TrustBundle", {
  trustDomain: field(1, TEXT),
  version: field(2, UINT64),
  roots: repeated(3, BYTES),
  issuingRoot: field(4, BYTES),
  renewWithinMs: field(5, UINT64),
});

export const certifyRequest = messageWithChoice<CertifyRequest, "credential" | "serviceAccountToken" | "joinToken">(
  "CertifyRequest",
  { csr: field(1, BYTES), messageCsr: field(2, BYTES) },
  { name: "credential", fields: { serviceAccountToken: field(3, TEXT), joinToken: field(4, TEXT) } },
);

export const certifyResponse = message<CertifyResponse>("CertifyResponse", {
  certificateChain: repeated(1, BYTES),
  messageCertificate: field(2, BYTES),
  notAfterMs: field(3, UINT64),
  trust: field(4, trustBundle.kind),
});

export const watchTrustRequest = message<WatchTrustRequest>("WatchTrustRequest", {});
