// Signs an outbound gRPC request (design 9) for one peer on one connection. Owns what is printed into the head; which requests are signed and when a body is
// known is the engine's business.
//
// HOT PATH: per request one nonce from a pool, one HMAC over a base that is mostly in place, a digest for unary bodies: some 5 µs, nearly all of it SHA-256.
// What repeats on a connection (identities, binding) is handed over as the same strings each time, so that HPACK finds it by comparing pointers.
import { hash, type KeyObject, sign as signBytes } from "node:crypto";
import type { Clock } from "../../core/clock.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { MessageCertificate } from "../../core/x509/peer-check.ts";
import { createPairwiseKeys } from "./pairwise-key.ts";
import {
  basePieces,
  type Blanks,
  type BodyKind,
  type CallHead,
  formatBeforeNonce,
  formatDigest,
  formatSignature,
  formatTimes,
  MAX_DIGESTED_BYTES,
  NONCE_BYTES,
  profileBase,
  type SigningMode,
} from "./profile.ts";

/** What signing needs of the workload's credentials; `Credentials` of sidecar/identity has it. Immutable, swapped on renewal. */
export interface SigningCredentials {
  readonly messageKey: KeyObject;
  readonly messageKeyId: string;
  /** DER. */
  readonly messageCertificate: Buffer;
  readonly previous: { readonly messageKey: KeyObject; readonly messageKeyId: string; readonly expiresAtMs: number } | null;
}

/** A request to sign. */
export interface SignRequest {
  readonly method: string;
  readonly authority: string;
  /** Origin-form. One with a query is signed without it and refused by the verifier: gRPC has none. */
  readonly path: string;
  readonly contentType: string;
  /** The peer that the connection leads to, as its certificate says. */
  readonly dst: SpiffeId;
  /** The peer's checked message certificate (`MessageCertificates.ofDer`), or null when unknown: then `hmac` falls back to `sign`. */
  readonly dstMessageCertificateKey: MessageCertificate | null;
  /** RFC 9266 exporter of the connection. */
  readonly channelBinding: Buffer;
  /** The whole body when it is known, at most 64 KiB; null (or larger) signs a stream. */
  readonly body: Buffer | null;
  /** True until the peer has surely seen {@link Signer.keyId} on this connection. */
  readonly includeCertificate: boolean;
}

/** Signs requests. */
export interface Signer {
  readonly mode: SigningMode;
  /** Id of the key that signs now. It changes on renewal: include the certificate again when it is not the one last sent on the connection. */
  keyId(): string;
  /** The fields to append, flat; empty in mode `mtls`. Remove what the app sent under these names first (`outboundHeaders`). */
  sign(request: SignRequest): string[];
}

/** Nonces made at a time. */
const NONCE_POOL = 256;

/** Makes a signer. `randomBytes` must be a cryptographic source. */
export function createSigner(options: {
  readonly identity: SpiffeId;
  readonly credentials: () => SigningCredentials;
  readonly mode: SigningMode;
  readonly clock: Clock;
  readonly randomBytes: (size: number) => Buffer;
}): Signer {
  const { identity, credentials, mode, clock } = options;
  const pairwise = createPairwiseKeys();
  const nextNonce = noncePool(options.randomBytes);
  const certificateText = textOfCertificate();
  const bindingText = textsOfBindings();
  const timesAt = textsOfTimes();

  /** Signs with the key that both ends share. */
  function signShared(current: SigningCredentials, peer: MessageCertificate, call: CallHead, body: BodyKind, blanks: Blanks): Signed {
    const key = pairwise.get({ identity, keyId: current.messageKeyId, privateKey: current.messageKey }, peer);
    const signature = key.form(call, body, key.keyId).tag(blanks);
    if (signature === null) throw new RangeError("the connection has no channel binding of 32 bytes");
    return { signature, behindNonce: key.behindNonce };
  }

  return {
    mode,
    keyId: () => credentials().messageKeyId,
    sign(request) {
      if (mode === "mtls") return [];
      const current = credentials();
      const peer = mode === "hmac" ? request.dstMessageCertificateKey : null;
      const { method, authority, contentType, dst, includeCertificate } = request;
      const digest = digestOf(request.body);
      const body: BodyKind = digest === "" ? "stream" : "digest";
      const times = timesAt(Math.floor(clock.nowMs() / 1_000));
      const blanks: Blanks = { binding: bindingText(request.channelBinding), digest, times: times.text, nonce: nextNonce(), nonceFrom: 0 };
      const call: CallHead = { method, authority, path: withoutQuery(request.path), contentType, src: identity, dst };
      const signed = peer === null ? signAlone(current, call, body, blanks) : signShared(current, peer, call, body, blanks);
      const fields = ["x-remora-src", identity, "x-remora-dst", dst, "x-remora-body", body, "x-remora-cb", blanks.binding];
      if (body === "digest") fields.push("content-digest", digest);
      if (includeCertificate) fields.push("x-remora-cert", certificateText(current));
      fields.push("signature-input", `${times[body]}${blanks.nonce}${signed.behindNonce}`, "signature", formatSignature(signed.signature));
      return fields;
    },
  };
}

/** A signature in base64, and how its `signature-input` ends. */
interface Signed {
  readonly signature: string;
  readonly behindNonce: string;
}

/** Signs with our message key, for everyone. */
function signAlone({ messageKey, messageKeyId }: SigningCredentials, call: CallHead, body: BodyKind, blanks: Blanks): Signed {
  const pieces = basePieces(call, body, messageKeyId, "ecdsa-p256-sha256");
  const base = Buffer.from(profileBase(pieces, blanks));
  const signature = signBytes("sha256", base, { key: messageKey, dsaEncoding: "ieee-p1363" }).toString("base64");
  return { signature, behindNonce: pieces.behindNonce };
}

/** The value of `content-digest`; empty for a stream. */
function digestOf(body: Buffer | null): string {
  return body === null || body.length > MAX_DIGESTED_BYTES ? "" : formatDigest(hash("sha256", body, "base64"));
}

function withoutQuery(path: string): string {
  const queryAt = path.indexOf("?");
  return queryAt < 0 ? path : path.slice(0, queryAt);
}

/** base64url of 16 random bytes each; one call to the source makes many. */
function noncePool(randomBytes: (size: number) => Buffer): () => string {
  let pool: Buffer = Buffer.alloc(0);
  let at = 0;
  return () => {
    if (at >= pool.length) {
      pool = randomBytes(NONCE_POOL * NONCE_BYTES);
      at = 0;
    }
    at += NONCE_BYTES;
    return pool.toString("base64url", at - NONCE_BYTES, at);
  };
}

/** The header's text of the current certificate, printed once per renewal. */
function textOfCertificate(): (current: SigningCredentials) => string {
  let of: SigningCredentials | null = null;
  let text = "";
  return (current) => {
    if (current !== of) {
      of = current;
      text = current.messageCertificate.toString("base64url");
    }
    return text;
  };
}

/** base64url of each connection's binding, printed once for as long as the Buffer lives. */
function textsOfBindings(): (binding: Buffer) => string {
  const texts = new WeakMap<Buffer, string>();
  return (binding) => {
    let text = texts.get(binding);
    if (text === undefined) {
      text = binding.toString("base64url");
      texts.set(binding, text);
    }
    return text;
  };
}

/** What the present second prints as: the times alone, and the inputs of both kinds up to the nonce. */
interface Times {
  readonly text: string;
  readonly digest: string;
  readonly stream: string;
}

/** Printed once in a second. */
function textsOfTimes(): (second: number) => Times {
  let of = -1;
  let times: Times = { text: "", digest: "", stream: "" };
  return (second) => {
    if (second !== of) {
      of = second;
      const text = formatTimes(second);
      times = { text, digest: formatBeforeNonce("digest", text), stream: formatBeforeNonce("stream", text) };
    }
    return times;
  };
}
