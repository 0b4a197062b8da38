// The one signature profile of the mesh (design 9): RFC 9421 with label `remora`, a fixed list of covered components and fixed parameters in a fixed
// order. Owns its text, both ways: printing the base and the input, and reading an input, which is accepted in exactly the form it is printed in.
// Fixed, so that both sides build the base without interpreting anything.
//
// HOT PATH: string concatenation and comparisons at known offsets; no regex, no dictionary parser.
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
const INPUT_STREAM = `${LABEL}${COVERED.stream}`;
const INPUT_DIGEST = `${LABEL}${COVERED.digest}`;
const CREATED = ";created=";
const EXPIRES = ";expires=";
const NONCE = ';nonce="';
const KEY_ID = '";keyid="';
const ALGORITHM = '";alg="';
const TAG = '";tag="remora-grpc-v1"';

/** Epoch seconds have ten digits until 2286. */
const SECONDS_DIGITS = 10;
/** 16 bytes in base64url without padding. */
const ID_LENGTH = 22;
/** 32 and 64 bytes in base64 with padding. */
const HMAC_TEXT_LENGTH = 44;
const ECDSA_TEXT_LENGTH = 88;
const DIGEST_PREFIX = "sha-256=:";
const DIGEST_BYTES = 32;

/** What a head says, ready to be covered. */
export interface ProfileHead {
  readonly method: string;
  readonly authority: string;
  /** Origin-form; no query (gRPC has none, RFC 9421's `@path` would not cover it). */
  readonly path: string;
  readonly contentType: string;
  readonly src: string;
  readonly dst: string;
  /** base64url of the channel binding. */
  readonly binding: string;
}

/** The parameters of a signature, as read. */
export interface ProfileInput {
  readonly body: BodyKind;
  /** Epoch seconds. */
  readonly created: number;
  readonly expires: number;
  /** 22 characters of base64url. */
  readonly nonce: string;
  /** Key of the signer. */
  readonly srcKeyId: string;
  /** Key of the receiver; empty exactly for `ecdsa-p256-sha256`. */
  readonly dstKeyId: string;
  readonly algorithm: SigningAlgorithm;
  /** Inner list and parameters as received: the `@signature-params` line. */
  readonly signatureParams: string;
}

/** Prints inner list and parameters. `keyId`: `<src>` for ecdsa, `<src>.<dst>` for hmac. */
export function formatSignatureParams(body: BodyKind, createdS: number, nonce: string, keyId: string, algorithm: SigningAlgorithm): string {
  return `${COVERED[body]}${CREATED}${createdS}${EXPIRES}${createdS + LIFETIME_S}${NONCE}${nonce}${KEY_ID}${keyId}${ALGORITHM}${algorithm}${TAG}`;
}

/** Prints the value of `signature-input`. */
export function formatSignatureInput(signatureParams: string): string {
  return LABEL + signatureParams;
}

/** Prints the value of `signature`. */
export function formatSignature(base64: string): string {
  return `${LABEL}:${base64}:`;
}

/** Prints the value of `content-digest` (RFC 9530). */
export function formatDigest(base64: string): string {
  return `${DIGEST_PREFIX}${base64}:`;
}

/** Prints the signature base. `contentDigest` is the field's value, or null for a stream. */
export function profileBase(head: ProfileHead, contentDigest: string | null, signatureParams: string): string {
  const body: BodyKind = contentDigest === null ? "stream" : "digest";
  const digestLine = contentDigest === null ? "" : `\n"content-digest": ${contentDigest}`;
  return `"@method": ${head.method}\n"@authority": ${canonicalAuthority(head.authority, "http")}\n"@path": ${head.path}\n"content-type": ${
    head.contentType
  }\n"x-remora-src": ${head.src}\n"x-remora-dst": ${head.dst}\n"x-remora-body": ${body}\n"x-remora-cb": ${
    head.binding
  }${digestLine}\n"@signature-params": ${signatureParams}`;
}

/** Reads the value of `signature-input`; null when it is anything but what {@link formatSignatureInput} prints. */
export function parseSignatureInput(value: string): ProfileInput | null {
  const body: BodyKind = value.startsWith(INPUT_DIGEST) ? "digest" : "stream";
  let at = expect(value, 0, body === "digest" ? INPUT_DIGEST : INPUT_STREAM);
  at = expect(value, at, CREATED);
  const created = readSeconds(value, at);
  at = expect(value, at + SECONDS_DIGITS, EXPIRES);
  const expires = readSeconds(value, at);
  at = expect(value, at + SECONDS_DIGITS, NONCE);
  const nonce = readId(value, at);
  at = expect(value, at + ID_LENGTH, KEY_ID);
  const srcKeyId = readId(value, at);
  at += ID_LENGTH;
  const isPair = value.charCodeAt(at) === 0x2e; /* . */
  const dstKeyId = isPair ? readId(value, at + 1) : "";
  at = expect(value, isPair ? at + 1 + ID_LENGTH : at, ALGORITHM);
  const algorithm: SigningAlgorithm = isPair ? "hmac-sha256" : "ecdsa-p256-sha256";
  at = expect(value, at, isPair ? "hmac-sha256" : "ecdsa-p256-sha256");
  at = expect(value, at, TAG);
  if (at !== value.length || created < 0 || expires < 0 || nonce === null || srcKeyId === null || dstKeyId === null) return null;
  return { body, created, expires, nonce, srcKeyId, dstKeyId, algorithm, signatureParams: value.slice(LABEL.length) };
}

/** Reads the value of `signature`: the bytes, or null when it is not one signature of the right length under our label. */
export function parseSignature(value: string, algorithm: SigningAlgorithm): Buffer | null {
  const textLength = algorithm === "hmac-sha256" ? HMAC_TEXT_LENGTH : ECDSA_TEXT_LENGTH;
  const from = LABEL.length + 1;
  if (value.length !== from + textLength + 1 || !value.startsWith(LABEL) || value.charCodeAt(from - 1) !== COLON) return null;
  if (value.charCodeAt(value.length - 1) !== COLON) return null;
  return canonicalBytes(value.slice(from, -1), algorithm === "hmac-sha256" ? 32 : 64);
}

/** Reads the value of `content-digest`: 32 bytes, or null when it is not exactly one SHA-256 digest. */
export function parseDigest(value: string): Buffer | null {
  if (value.length !== DIGEST_PREFIX.length + HMAC_TEXT_LENGTH + 1 || !value.startsWith(DIGEST_PREFIX)) return null;
  if (value.charCodeAt(value.length - 1) !== COLON) return null;
  return canonicalBytes(value.slice(DIGEST_PREFIX.length, -1), DIGEST_BYTES);
}

/** Node reads base64 leniently; only the one spelling that it would print is taken. */
function canonicalBytes(base64: string, length: number): Buffer | null {
  const bytes = Buffer.from(base64, "base64");
  return bytes.length === length && bytes.toString("base64") === base64 ? bytes : null;
}

const COLON = 0x3a;

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
  for (let index = at; index < at + ID_LENGTH; index += 1) {
    if (!isBase64Url(value.charCodeAt(index))) return null;
  }
  return value.slice(at, at + ID_LENGTH);
}

function isBase64Url(code: number): boolean {
  return (
    (code >= 0x61 && code <= 0x7a) || (code >= 0x41 && code <= 0x5a) || (code >= 0x30 && code <= 0x39) || code === 0x2d || code === 0x5f
  );
}
