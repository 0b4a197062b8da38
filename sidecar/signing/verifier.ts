// Verifies the signature of an inbound gRPC request (design 9), in two steps: `verifyHead` when the head is there, `digestMatches` when a digested body is.
// Everything that is not exactly right is refused; the reason tells logs and metrics what was wrong, the peer learns nothing (sidecar/rescue.ts).
//
// HOT PATH: one pass over the kinds of the fields, one comparison with the input before, one HMAC over a base that is mostly in place, one table probe.
// Certificates and pairwise keys are cached.
import { hash, type KeyObject, verify as verifyBytes, type X509Certificate } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import type { Reason } from "../../core/reasons.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { MessageCertificate } from "../../core/x509/peer-check.ts";
import type { FieldView } from "../fields.ts";
import { sameTag } from "./mac-key.ts";
import type { MessageCertificates } from "./message-certificates.ts";
import type { NonceCache } from "./nonce-cache.ts";
import { createPairwiseKeys, type OwnMessageKey, type PairwiseKeys } from "./pairwise-key.ts";
import {
  basePieces,
  type Blanks,
  type CallHead,
  canonicalBytes,
  DIGEST_FROM,
  decodeNonce,
  LIFETIME_S,
  NONCE_BYTES,
  type ProfileInput,
  isDigest,
  parseSignature,
  parseSignatureInput,
  profileBase,
  SIGNATURE_FROM,
  SKEW_S,
  type SigningMode,
} from "./profile.ts";
import { collectSignedFields, type SignedFields } from "./signed-fields.ts";
import type { SigningCredentials } from "./signer.ts";

/** A request whose signature is to be checked. */
export interface VerifyRequest {
  readonly method: string;
  readonly authority: string;
  /** Origin-form, as received. */
  readonly path: string;
  /** As received: before any hygiene, without pseudo headers. */
  readonly fields: FieldView;
  /** The peer of the connection, as TLS verified it. */
  readonly peer: SpiffeId;
  /** RFC 9266 exporter of the connection. */
  readonly channelBinding: Buffer;
  /** One per connection, from {@link createVerifierState}. */
  readonly connection: VerifierState;
}

/** What is remembered of a connection. Only the verifier writes it. */
export interface VerifierState {
  /** base64url of the channel binding; empty until the first request. */
  binding: string;
  /** The last certificate seen on it, as text and checked. */
  certificateText: string;
  certificate: MessageCertificate | null;
  /** The roots it was checked against. */
  roots: readonly X509Certificate[];
  /** The last input read on it, right or wrong: only spares reading what is the same. */
  input: ProfileInput | null;
  /** The last head on it that a base can say. */
  path: string;
  authority: string;
  method: string;
}

/** The outcome for a head. A `digest` still has to match: hold the body (at most 64 KiB) and ask {@link digestMatches} before anything is delivered. */
export type VerifyResult =
  | { readonly ok: true; readonly body: "stream" }
  | { readonly ok: true; readonly body: "digest" /** The signed `content-digest`. */; readonly expected: string }
  | { readonly ok: false; readonly reason: SignatureReason /** For the log. */; readonly detail: string };

export type SignatureReason = Extract<
  Reason,
  "signature_missing" | "signature_invalid" | "signature_expired" | "signature_replayed" | "overloaded"
>;

/** Verifies requests. */
export interface Verifier {
  /** The weakest mode that is enough. `mtls`: nothing is checked and everything passes. */
  readonly required: SigningMode;
  verifyHead(request: VerifyRequest): VerifyResult;
}

/** Makes the state for a new connection. */
export function createVerifierState(): VerifierState {
  return { binding: "", certificateText: "", certificate: null, roots: [], input: null, path: "", authority: "", method: "" };
}

/** Makes a verifier. `nonces` is shared by all connections of the process. */
export function createVerifier(options: {
  readonly identity: SpiffeId;
  readonly credentials: () => SigningCredentials;
  readonly required: SigningMode;
  readonly clock: Clock;
  readonly certificates: MessageCertificates;
  readonly nonces: NonceCache;
}): Verifier {
  return new ProfileVerifier(options);
}

/** Compares the digest of a whole body with the `content-digest` it was signed with, in constant time. */
export function digestMatches(expected: string, body: Buffer): boolean {
  return sameTag(hash("sha256", body, "base64"), expected, DIGEST_FROM);
}

const STREAM: VerifyResult = Object.freeze({ ok: true, body: "stream" });

class ProfileVerifier implements Verifier {
  readonly required: SigningMode;
  readonly #options: Parameters<typeof createVerifier>[0];
  readonly #pairwise: PairwiseKeys = createPairwiseKeys();
  readonly #nonce = new Uint8Array(NONCE_BYTES);

  constructor(options: Parameters<typeof createVerifier>[0]) {
    this.#options = options;
    this.required = options.required;
  }

  verifyHead(request: VerifyRequest): VerifyResult {
    if (this.required === "mtls") return STREAM;
    const fields = collectSignedFields(request.fields);
    if (fields === null) return invalid("a field of the signature is there twice");
    if (fields.signatureInput === null && fields.signature === null) return refused("signature_missing", "no signature");
    if (fields.signatureInput === null || fields.signature === null) return invalid("half a signature");
    const input = parseSignatureInput(fields.signatureInput, request.connection.input);
    if (input === null) return invalid("signature-input is not of the profile");
    request.connection.input = input;
    // Weaker than required fails closed.
    if (this.required === "sign" && input.algorithm !== "ecdsa-p256-sha256") return invalid("signed with a weaker algorithm than required");
    const mismatch = this.#mismatch(request, fields, input);
    if (mismatch !== null) return invalid(mismatch);
    const nowMs = this.#options.clock.nowMs();
    const late = outsideWindow(input, nowMs / 1_000);
    if (late !== null) return refused("signature_expired", late);
    const digest = fields.contentDigest ?? "";
    if (input.body === "digest" && !isDigest(digest)) return invalid("content-digest is not of the profile");
    const wrong = this.#wrongSignature(request, fields, input, digest, nowMs);
    if (wrong !== null) return invalid(wrong);
    return this.#claimNonce(input, digest);
  }

  /** Compares what the fields claim with what TLS and our own identity say; null when all agree. */
  #mismatch(request: VerifyRequest, fields: SignedFields, input: ProfileInput): string | null {
    const { connection } = request;
    if (connection.binding === "") connection.binding = request.channelBinding.toString("base64url");
    if (request.channelBinding.length === 0) return "the connection has no channel binding";
    if (fields.binding !== connection.binding) return "bound to another connection";
    if (fields.src !== request.peer) return "x-remora-src is not the peer";
    if (fields.dst !== this.#options.identity) return "x-remora-dst is not this workload";
    if (fields.body !== input.body) return "x-remora-body does not fit the covered components";
    if ((fields.contentDigest !== null) !== (input.body === "digest")) return "content-digest does not fit x-remora-body";
    if (fields.contentType === null) return "no content-type";
    if (request.path === connection.path && request.authority === connection.authority && request.method === connection.method) return null;
    const flaw = headFlaw(request);
    if (flaw !== null) return flaw;
    connection.path = request.path;
    connection.authority = request.authority;
    connection.method = request.method;
    return null;
  }

  #wrongSignature(request: VerifyRequest, fields: SignedFields, input: ProfileInput, digest: string, nowMs: number): string | null {
    const signature = parseSignature(fields.signature ?? "", input.algorithm);
    if (signature === null) return "signature is not of the profile";
    const peer = this.#peerCertificate(request, fields.certificate, input.srcKeyId, nowMs);
    if (peer === null) return "the signer's message certificate is unknown or not acceptable";
    const call: CallHead = {
      method: request.method,
      authority: request.authority,
      path: request.path,
      contentType: fields.contentType ?? "",
      src: request.peer,
      dst: this.#options.identity,
    };
    const blanks: Blanks = {
      binding: request.connection.binding,
      digest,
      times: input.times,
      nonce: input.value,
      nonceFrom: input.nonceFrom,
    };
    if (input.algorithm === "ecdsa-p256-sha256") {
      const base = profileBase(basePieces(call, input.body, input.keyId, input.algorithm), blanks);
      return isSignedBy(peer.publicKey, base, signature) ? null : "the signature does not match";
    }
    const own = this.#ownKey(input.dstKeyId, nowMs);
    if (own === null) return "signed for a message key that is not ours";
    const expected = this.#pairwise.get(own, peer).form(call, input.body, input.keyId).tag(blanks);
    return expected !== null && sameTag(expected, fields.signature ?? "", SIGNATURE_FROM) ? null : "the signature does not match";
  }

  /** The peer's certificate with that key: from this request, from this connection, or seen on another one. */
  #peerCertificate({ connection, peer }: VerifyRequest, text: string | null, keyId: string, nowMs: number): MessageCertificate | null {
    const { certificates } = this.#options;
    const known = connection.certificate;
    if (
      known !== null &&
      known.keyId === keyId &&
      (text === null || text === connection.certificateText) &&
      connection.roots === certificates.roots() &&
      nowMs < known.expiresAtMs
    ) {
      return known;
    }
    const given = text ?? connection.certificateText;
    const certificate = given === "" ? null : certificates.ofText(given, peer);
    if (text !== null && certificate === null) return null;
    if (certificate === null || certificate.keyId !== keyId) return certificates.byKeyId(keyId, peer);
    connection.certificateText = given;
    connection.certificate = certificate;
    connection.roots = certificates.roots();
    return certificate;
  }

  /** Our current message key, or the one before while it lasts. */
  #ownKey(keyId: string, nowMs: number): OwnMessageKey | null {
    const { identity } = this.#options;
    const current = this.#options.credentials();
    if (current.messageKeyId === keyId) return { identity, keyId, privateKey: current.messageKey };
    const { previous } = current;
    if (previous === null || previous.messageKeyId !== keyId || nowMs >= previous.expiresAtMs) return null;
    return { identity, keyId, privateKey: previous.messageKey };
  }

  /** Last of all, so that only true signatures take up memory. */
  #claimNonce(input: ProfileInput, digest: string): VerifyResult {
    if (!decodeNonce(input.value, input.nonceFrom, this.#nonce)) return invalid("nonce is not 16 bytes");
    const answer = this.#options.nonces.claim(this.#nonce, (input.expires + SKEW_S) * 1_000);
    if (answer === "replayed") return refused("signature_replayed", "nonce seen before");
    // What cannot be remembered must not pass.
    if (answer === "full") return refused("overloaded", "too many signatures to remember their nonces");
    return digest === "" ? STREAM : { ok: true, body: "digest", expected: digest };
  }
}

/** What a base could not say of a head; null when it can say all of it. */
function headFlaw({ method, authority, path }: VerifyRequest): string | null {
  // Not covered by "@path"; gRPC has no query.
  if (path.includes("?") || path.includes("#")) return "the path has a query";
  // A line break would move what follows it into another line of the base.
  return path.includes("\n") || authority.includes("\n") || method.includes("\n") ? "a line break in the head" : null;
}

/** Why a signature is out of its time; null when it is not. */
function outsideWindow(input: ProfileInput, nowS: number): string | null {
  if (input.expires <= input.created || input.expires - input.created > LIFETIME_S) return "expires is not within 30 s of created";
  if (input.created > nowS + SKEW_S) return "created in the future";
  if (input.expires < nowS - SKEW_S) return "expired";
  return null;
}

function isSignedBy(key: KeyObject, base: string, signature: string): boolean {
  const bytes = canonicalBytes(signature);
  return bytes !== null && verifyBytes("sha256", Buffer.from(base), { key, dsaEncoding: "ieee-p1363" }, bytes);
}

function invalid(detail: string): VerifyResult {
  return { ok: false, reason: "signature_invalid", detail };
}

function refused(reason: SignatureReason, detail: string): VerifyResult {
  return { ok: false, reason, detail };
}
