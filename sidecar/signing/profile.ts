// The one signature profile of the mesh (design 9): RFC 9421 with label `remora`, a fixed list of covered components and fixed parameters in a fixed
// order. Owns its text, both ways: printing the base and the input, and reading an input, which is accepted in exactly the form it is printed in.
// Fixed, so that both sides build the base without interpreting anything.
//
// HOT PATH: comparisons at known offsets; no regex, no dictionary parser. The base is printed once per kind of request (base-form.ts).
import { canonicalAuthority } from "./signature-base.ts";

/** How messages are signed, weakest first. */
export const SIGNING_MODES = ["mtls", "hmac", "sign"] as const;
export type SigningMode = (typeof SIGNING_MODES)[number];

export type SigningAlgorithm = "hmac-sha256" | "ecdsa-p256-sha256";

/** `digest`: the body's digest is covered; `stream`: the head only. */
export type BodyKind = "digest" | "stream";

/** Seconds from `created` to `expires`. */
export const LIFETIME_S = 30;
/** Seconds that the two clocks may differ. */
export const SKEW_S = 20;
/** Largest body that is digested, bytes. */
export const MAX_DIGESTED_BYTES = 64 * 1024;
/** Bytes of a nonce. */
export const NONCE_BYTES = 16;

const COVERED_HEAD = '"@method" "@authority" "@path" "content-type" "x-remora-src" "x-remora-dst" "x-remora-body" "x-remora-cb"';
/** The inner lists that the two kinds of body cover. */
export const COVERED: Readonly<Record<BodyKind, string>> = { stream: `(${COVERED_HEAD})`, digest: `(${COVERED_HEAD} "content-digest")` };

const LABEL = "remora=";
const CREATED = ";created=";
const EXPIRES = ";expires=";
const NONCE = ';nonce="';
const INPUT: Readonly<Record<BodyKind, string>> = {
  stream: `${LABEL}${COVERED.stream}${CREATED}`,
  digest: `${LABEL}${COVERED.digest}${CREATED}`,
};
const KEY_ID = '";keyid="';
const ALGORITHM = '";alg="';
const TAG = '";tag="remora-grpc-v1"';

/** Epoch seconds have ten digits until 2286. */
const SECONDS_DIGITS = 10;
/** 16 bytes in base64url without padding: a nonce, a key id. */
export const ID_LENGTH = 22;
/** 32 bytes in base64url without padding: a channel binding. */
export const BINDING_LENGTH = 43;
/** 32 bytes in base64 with padding: a digest, a tag. */
const SHA256_TEXT_LENGTH = 44;
/** 64 bytes in base64 with padding. */
const ECDSA_TEXT_LENGTH = 88;
/** What the letters of base64url stand for, by their code. */
const NO_VALUE = 0xff;
const BASE64URL_VALUES = new Uint8Array(0x80).fill(NO_VALUE);
for (const [value, letter] of [..."ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"].entries()) {
  BASE64URL_VALUES[letter.charCodeAt(0)] = value;
}
const DIGEST_PREFIX = "sha-256=:";
/** Where the base64 begins in the value of `content-digest`, and how long the value is. */
export const DIGEST_FROM = DIGEST_PREFIX.length;
export const DIGEST_LENGTH = DIGEST_FROM + SHA256_TEXT_LENGTH + 1;
/** Where the base64 begins in the value of `signature`. */
export const SIGNATURE_FROM = LABEL.length + 1;
const DIGEST_LINE = '\n"content-digest": ';
const PARAMS_LINE = '\n"@signature-params": ';
/** Two times with what stands between them. */
export const TIMES_LENGTH = SECONDS_DIGITS + EXPIRES.length + SECONDS_DIGITS;

/** What all requests of a kind have in common, ready to be covered. */
export interface CallHead {
  readonly method: string;
  readonly authority: string;
  /** Origin-form; no query (gRPC has none, RFC 9421's `@path` would not cover it). */
  readonly path: string;
  readonly contentType: string;
  readonly src: string;
  readonly dst: string;
}

/** What differs from one request of a kind to the next. */
export interface Blanks {
  /** base64url of the channel binding, 43 characters. */
  readonly binding: string;
  /** The value of `content-digest`, 54 characters; empty for a stream. */
  readonly digest: string;
  /** {@link formatTimes}. */
  readonly times: string;
  /** Where `nonce` holds it: 22 characters of base64url. */
  readonly nonce: string;
  readonly nonceFrom: number;
}

/** The parameters of a signature, as read. */
export interface ProfileInput {
  readonly body: BodyKind;
  /** Epoch seconds. */
  readonly created: number;
  readonly expires: number;
  /** Both as they were written: `<created>;expires=<expires>`. */
  readonly times: string;
  /** The whole value, and where in it the nonce begins: 22 characters of base64url. */
  readonly value: string;
  readonly nonceFrom: number;
  /** Key of the signer. */
  readonly srcKeyId: string;
  /** Key of the receiver; empty exactly for `ecdsa-p256-sha256`. */
  readonly dstKeyId: string;
  /** Both as they were written. */
  readonly keyId: string;
  readonly algorithm: SigningAlgorithm;
  /** The value up to the nonce, and from its end on. */
  readonly beforeNonce: string;
  readonly behindNonce: string;
}

/** Prints `created` and `expires` as they stand in the parameters. Ten digits, whatever the clock says: their places are fixed. */
export function formatTimes(createdS: number): string {
  return `${String(createdS).padStart(SECONDS_DIGITS, "0")}${EXPIRES}${String(createdS + LIFETIME_S).padStart(SECONDS_DIGITS, "0")}`;
}

/** Prints the value of `signature-input` up to its nonce. */
export function formatBeforeNonce(body: BodyKind, times: string): string {
  return `${INPUT[body]}${times}${NONCE}`;
}

/** Prints what follows the nonce. `keyId`: `<src>` for ecdsa, `<src>.<dst>` for hmac. */
export function formatBehindNonce(keyId: string, algorithm: SigningAlgorithm): string {
  return `${KEY_ID}${keyId}${ALGORITHM}${algorithm}${TAG}`;
}

/** Prints the value of `signature`. */
export function formatSignature(base64: string): string {
  return `${LABEL}:${base64}:`;
}

/** Prints the value of `content-digest` (RFC 9530). */
export function formatDigest(base64: string): string {
  return `${DIGEST_PREFIX}${base64}:`;
}

/** The pieces of a signature base: fixed text, and between it in this order binding, digest (none for a stream), times and nonce. */
export interface BasePieces {
  readonly beforeBinding: string;
  readonly beforeDigest: string;
  readonly beforeTimes: string;
  readonly beforeNonce: string;
  readonly behindNonce: string;
}

/** Prints the fixed text of a base. */
export function basePieces(call: CallHead, body: BodyKind, keyId: string, algorithm: SigningAlgorithm): BasePieces {
  const authority = canonicalAuthority(call.authority, "http");
  return {
    beforeBinding: `"@method": ${call.method}\n"@authority": ${authority}\n"@path": ${call.path}\n"content-type": ${
      call.contentType
    }\n"x-remora-src": ${call.src}\n"x-remora-dst": ${call.dst}\n"x-remora-body": ${body}\n"x-remora-cb": `,
    beforeDigest: body === "digest" ? DIGEST_LINE : "",
    beforeTimes: `${PARAMS_LINE}${COVERED[body]}${CREATED}`,
    beforeNonce: NONCE,
    behindNonce: formatBehindNonce(keyId, algorithm),
  };
}

/** Prints a whole base. `digest` is empty for a stream. */
export function profileBase({ beforeBinding, beforeDigest, beforeTimes, beforeNonce, behindNonce }: BasePieces, blanks: Blanks): string {
  const nonce = blanks.nonce.slice(blanks.nonceFrom, blanks.nonceFrom + ID_LENGTH);
  return `${beforeBinding}${blanks.binding}${beforeDigest}${blanks.digest}${beforeTimes}${blanks.times}${beforeNonce}${nonce}${behindNonce}`;
}

/**
 * Reads the value of `signature-input`; null when it is anything but what we print. `last` is any value read before: what is the same as in it is
 * compared in one go and not read again.
 */
export function parseSignatureInput(value: string, last: ProfileInput | null = null): ProfileInput | null {
  return (last === null ? null : readLike(last, value)) ?? readWhole(value);
}

function readLike(last: ProfileInput, value: string): ProfileInput | null {
  const nonceAt = last.beforeNonce.length;
  const behindAt = nonceAt + ID_LENGTH;
  // Slices and `===` compare whole words; `startsWith` and `endsWith` go letter by letter.
  if (value.slice(0, nonceAt) !== last.beforeNonce || value.slice(behindAt) !== last.behindNonce) return null;
  return isId(value, nonceAt) ? withValue(last, value) : null;
}

function withValue(last: ProfileInput, value: string): ProfileInput {
  const { body, created, expires, times, nonceFrom, srcKeyId, dstKeyId, keyId, algorithm, beforeNonce, behindNonce } = last;
  return { body, created, expires, times, value, nonceFrom, srcKeyId, dstKeyId, keyId, algorithm, beforeNonce, behindNonce };
}

function readWhole(value: string): ProfileInput | null {
  const body: BodyKind = value.startsWith(INPUT.digest) ? "digest" : "stream";
  const timesAt = expect(value, 0, INPUT[body]);
  const created = readSeconds(value, timesAt);
  const expiresAt = expect(value, timesAt + SECONDS_DIGITS, EXPIRES);
  const expires = readSeconds(value, expiresAt);
  const nonceAt = expect(value, expiresAt + SECONDS_DIGITS, NONCE);
  const hasNonce = isId(value, nonceAt);
  const keyIdAt = expect(value, nonceAt + ID_LENGTH, KEY_ID);
  const srcKeyId = readId(value, keyIdAt);
  let at = keyIdAt + ID_LENGTH;
  const isPair = value.charCodeAt(at) === 0x2e; /* . */
  const dstKeyId = isPair ? readId(value, at + 1) : "";
  if (isPair) at += 1 + ID_LENGTH;
  const keyId = value.slice(keyIdAt, at);
  at = expect(value, at, ALGORITHM);
  const algorithm: SigningAlgorithm = isPair ? "hmac-sha256" : "ecdsa-p256-sha256";
  at = expect(value, at, algorithm);
  at = expect(value, at, TAG);
  if (at !== value.length || created < 0 || expires < 0 || !hasNonce || srcKeyId === null || dstKeyId === null) return null;
  return {
    body,
    created,
    expires,
    times: value.slice(timesAt, timesAt + TIMES_LENGTH),
    value,
    nonceFrom: nonceAt,
    srcKeyId,
    dstKeyId,
    keyId,
    algorithm,
    beforeNonce: value.slice(0, nonceAt),
    behindNonce: value.slice(nonceAt + ID_LENGTH),
  };
}

/** Reads the value of `signature`: its base64, or null when it is not one value of the algorithm's length under our label. */
export function parseSignature(value: string, algorithm: SigningAlgorithm): string | null {
  const textLength = algorithm === "hmac-sha256" ? SHA256_TEXT_LENGTH : ECDSA_TEXT_LENGTH;
  return betweenColons(value, `${LABEL}:`, textLength);
}

/** True when the value of `content-digest` has the shape of one SHA-256 digest. */
export function isDigest(value: string): boolean {
  return betweenColons(value, DIGEST_PREFIX, SHA256_TEXT_LENGTH) !== null;
}

/** Node reads base64 leniently; only the one spelling that it would print is taken. */
export function canonicalBytes(base64: string): Buffer | null {
  const bytes = Buffer.from(base64, "base64");
  return bytes.toString("base64") === base64 ? bytes : null;
}

function betweenColons(value: string, prefix: string, length: number): string | null {
  const end = prefix.length + length;
  if (value.length !== end + 1 || value.charCodeAt(end) !== COLON || !value.startsWith(prefix)) return null;
  return value.slice(prefix.length, end);
}

const COLON = 0x3a;

/** Writes the 16 bytes that the 22 characters of base64url at `from` stand for. False when their last bits are not zero: each nonce has one spelling. */
export function decodeNonce(text: string, from: number, into: Uint8Array): boolean {
  let bits = 0;
  let held = 0;
  let at = 0;
  for (let index = 0; index < ID_LENGTH; index += 1) {
    bits = (bits << 6) | (BASE64URL_VALUES[text.charCodeAt(from + index) & 0x7f] as number);
    held += 6;
    if (held >= 8) {
      held -= 8;
      into[at] = bits >> held;
      at += 1;
    }
  }
  return (bits & 0x0f) === 0;
}

/** Past any value: a failed step makes every later one fail. */
const FAILED = 1 << 20;

function expect(value: string, at: number, literal: string): number {
  return value.startsWith(literal, at) ? at + literal.length : FAILED;
}

/** Ten digits, or -1. */
function readSeconds(value: string, at: number): number {
  let seconds = 0;
  for (let index = at; index < at + SECONDS_DIGITS; index += 1) {
    const digit = value.charCodeAt(index) - 0x30;
    if (!(digit >= 0 && digit <= 9)) return -1; // NaN past the end, too
    seconds = seconds * 10 + digit;
  }
  return seconds;
}

/** 22 characters of base64url, or null. */
function readId(value: string, at: number): string | null {
  return isId(value, at) ? value.slice(at, at + ID_LENGTH) : null;
}

function isId(value: string, at: number): boolean {
  for (let index = at; index < at + ID_LENGTH; index += 1) {
    if (!isBase64Url(value.charCodeAt(index))) return false;
  }
  return true;
}

function isBase64Url(code: number): boolean {
  return code < BASE64URL_VALUES.length && BASE64URL_VALUES[code] !== NO_VALUE;
}
