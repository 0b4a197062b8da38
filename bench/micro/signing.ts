// Twin of sidecar/signing/signer.ts, verifier.ts and nonce-cache.ts.
import { randomBytes } from "node:crypto";
import { systemClock } from "../../core/clock.ts";
import { FlatFields } from "../../sidecar/fields.ts";
import { createMessageCertificates } from "../../sidecar/signing/message-certificates.ts";
import { createNonceCache } from "../../sidecar/signing/nonce-cache.ts";
import type { SigningMode } from "../../sidecar/signing/profile.ts";
import { createSigner } from "../../sidecar/signing/signer.ts";
import { createVerifier, createVerifierState } from "../../sidecar/signing/verifier.ts";
import { createStaticIdentity, createThrowawayCa } from "../../test/support/throwaway-ca.ts";
import type { Cases } from "./measure.ts";

const call = { method: "POST", authority: "payments:8080", path: "/shop.Payments/Charge", contentType: "application/grpc" };
/** A gRPC message of 100 bytes with its prefix. */
const body = randomBytes(105);

function pairOf(mode: SigningMode) {
  const clock = systemClock;
  const ca = createThrowawayCa();
  const [caller, callee] = [createStaticIdentity(ca, "shop/web"), createStaticIdentity(ca, "shop/payments")];
  const { roots } = callee.current();
  const certificates = createMessageCertificates({ trust: { trustDomain: ca.trustDomain, roots: () => roots }, clock });
  const signer = createSigner({ identity: caller.identity, credentials: () => caller.current(), mode, clock, randomBytes });
  const verifier = createVerifier({
    identity: callee.identity,
    credentials: () => callee.current(),
    required: "hmac",
    clock,
    certificates,
    // The same request is verified over and over; the table is measured by itself below.
    nonces: { size: 0, claim: () => "fresh" },
  });
  const channelBinding = randomBytes(32);
  const request = {
    ...call,
    dst: callee.identity,
    dstMessageCertificateKey: certificates.ofDer(callee.current().messageCertificate, callee.identity),
    channelBinding,
    body,
    includeCertificate: false,
  };
  const connection = createVerifierState();
  const wire = (includeCertificate: boolean) => ({
    ...call,
    fields: new FlatFields(["content-type", call.contentType, "te", "trailers", ...signer.sign({ ...request, includeCertificate })]),
    peer: caller.identity,
    channelBinding,
    connection,
  });
  verifier.verifyHead(wire(true));
  const signed = wire(false);
  return { sign: () => signer.sign(request), verify: () => verifier.verifyHead(signed) };
}

/** Signing and verifying in both modes; the nonce table alone; a request without a signature. */
export function cases(): Cases {
  const [hmac, ecdsa] = [pairOf("hmac"), pairOf("sign")];
  const nonces = createNonceCache({ clock: systemClock, seed: [1, 2] });
  const nonce = randomBytes(16);
  return {
    "sign hmac": hmac.sign,
    "verify hmac": hmac.verify,
    "sign ecdsa": ecdsa.sign,
    "verify ecdsa": ecdsa.verify,
    "nonce seen before": () => nonces.claim(nonce, 0),
  };
}
