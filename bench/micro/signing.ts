// Twin of sidecar/signing/signer.ts, verifier.ts and nonce-cache.ts, and of what these two are made of.
import { createHmac, createSecretKey, hash, randomBytes } from "node:crypto";
import { type Clock, systemClock } from "../../core/clock.ts";
import { FlatFields } from "../../sidecar/fields.ts";
import { BaseForm } from "../../sidecar/signing/base-form.ts";
import { MAC_BLOCK_BYTES, MacKey, sameTag } from "../../sidecar/signing/mac-key.ts";
import { createMessageCertificates } from "../../sidecar/signing/message-certificates.ts";
import { createNonceCache } from "../../sidecar/signing/nonce-cache.ts";
import {
  basePieces,
  decodeNonce,
  formatBeforeNonce,
  formatBehindNonce,
  formatDigest,
  formatSignature,
  formatTimes,
  NONCE_BYTES,
  parseSignatureInput,
  profileBase,
  type SigningMode,
} from "../../sidecar/signing/profile.ts";
import { collectSignedFields } from "../../sidecar/signing/signed-fields.ts";
import { createSigner } from "../../sidecar/signing/signer.ts";
import { createVerifier, createVerifierState, digestMatches } from "../../sidecar/signing/verifier.ts";
import { createStaticIdentity, createThrowawayCa } from "../../test/support/throwaway-ca.ts";
import type { Cases } from "./measure.ts";

const call = { method: "POST", authority: "payments:8080", path: "/shop.Payments/Charge", contentType: "application/grpc" };
/** A gRPC message of 100 bytes with its prefix. */
const body = randomBytes(105);

function pairOf(mode: SigningMode) {
  // Read as ever, but standing still: the same request is verified for longer than a signature lives.
  const startedMs = systemClock.nowMs();
  const clock: Clock = { ...systemClock, nowMs: () => Math.min(startedMs, systemClock.nowMs()) };
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
    nonces: { size: () => 0, claim: () => "fresh" },
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

/** What signing and verifying with `hmac` are made of, each by itself. */
function parts(): Cases {
  const key = createSecretKey(randomBytes(32));
  const head = { ...call, src: "spiffe://cluster.local/ns/shop/sa/web", dst: "spiffe://cluster.local/ns/shop/sa/payments" };
  const id = () => randomBytes(16).toString("base64url");
  const keyId = `${id()}.${id()}`;
  const blanks = {
    binding: randomBytes(32).toString("base64url"),
    digest: formatDigest(hash("sha256", body, "base64")),
    times: formatTimes(1_800_000_000),
    nonce: id(),
    nonceFrom: 0,
  };
  const mac = new MacKey(key);
  const form = new BaseForm(mac, head, "digest", keyId);
  const frame = mac.frame(form.size - MAC_BLOCK_BYTES);
  const whole = profileBase(basePieces(head, "digest", keyId, "hmac-sha256"), blanks);
  const input = `${formatBeforeNonce("digest", blanks.times)}${blanks.nonce}${formatBehindNonce(keyId, "hmac-sha256")}`;
  const last = parseSignatureInput(input);
  const fields = new FlatFields([
    ...["content-type", call.contentType, "te", "trailers", "x-remora-src", head.src, "x-remora-dst", head.dst],
    ...["x-remora-body", "digest", "x-remora-cb", blanks.binding, "content-digest", blanks.digest],
    ...["signature-input", input, "signature", formatSignature(randomBytes(32).toString("base64"))],
  ]);
  const pool = randomBytes(NONCE_BYTES);
  const nonceBytes = new Uint8Array(NONCE_BYTES);
  const tag = mac.of(frame);
  return {
    "part: nonce to text": () => pool.toString("base64url"),
    "part: digest of 105 bytes": () => hash("sha256", body, "base64"),
    "part: digest compared": () => digestMatches(blanks.digest, body),
    "part: base printed whole": () => profileBase(basePieces(head, "digest", keyId, "hmac-sha256"), blanks),
    "part: hmac, in place": () => mac.of(frame),
    "part: hmac and blanks": () => form.tag(blanks),
    "part: hmac by createHmac": () => createHmac("sha256", key).update(whole).digest("base64"),
    "part: fields collected": () => collectSignedFields(fields),
    "part: input read": () => parseSignatureInput(input),
    "part: input like the last": () => parseSignatureInput(input, last),
    "part: tags compared": () => sameTag(tag, tag, 0),
    "part: nonce to bytes": () => decodeNonce(blanks.nonce, 0, nonceBytes),
  };
}

/** Signing and verifying in both modes; mode `mtls`; the parts of `hmac`; the nonce table alone. */
export function cases(): Cases {
  const [hmac, ecdsa, mtls] = [pairOf("hmac"), pairOf("sign"), pairOf("mtls")];
  const nonces = createNonceCache({ clock: systemClock, seed: [1, 2] });
  const nonce = randomBytes(NONCE_BYTES);
  return {
    "sign mtls": mtls.sign,
    "sign hmac": hmac.sign,
    "verify hmac": hmac.verify,
    "sign ecdsa": ecdsa.sign,
    "verify ecdsa": ecdsa.verify,
    ...parts(),
    "nonce seen before": () => nonces.claim(nonce, 0),
  };
}
