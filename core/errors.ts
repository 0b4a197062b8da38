// One error class per boundary (style 16). Each has a closed `code`, an optional `cause` and structured `fields` that the log line carries.
import type { Reason } from "./reasons.ts";

/** Values that explain an error in a log line; never secrets. */
export type ErrorFields = Readonly<Record<string, string | number | boolean | readonly string[] | null>>;

interface ErrorOptionsWithFields {
  readonly cause?: unknown;
  readonly fields?: ErrorFields;
}

abstract class BoundaryError<Code extends string> extends Error {
  readonly code: Code;
  readonly fields: ErrorFields;

  constructor(code: Code, message: string, options: ErrorOptionsWithFields = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = code;
    this.fields = options.fields ?? {};
  }
}

/** Settings are wrong. `message` lists every mistake, one a line. */
export class ConfigError extends BoundaryError<"invalid_settings" | "invalid_value"> {}

/** Bytes from a peer break the protocol's rules, or the peer went away in the middle. `code` is the reason given on the wire. */
export class ProtocolError extends BoundaryError<Reason> {}

/** A policy refuses the traffic. `code` is the reason given on the wire. */
export class PolicyError extends BoundaryError<Reason> {}

/** Codes of {@link CertError}. */
export type CertErrorCode =
  | "malformed"
  | "wrong_trust_domain"
  | "not_one_uri_san"
  | "ca_as_leaf"
  | "weak_key"
  | "wrong_usage"
  | "untrusted"
  | "expired"
  | "identity_mismatch"
  | "credential_refused"
  | "rate_limited"
  | "unavailable"
  | "conflict";

/** A certificate, CSR or credential is not acceptable. */
export class CertError extends BoundaryError<CertErrorCode> {}

/** Codes of {@link RegistryError}. */
export type RegistryErrorCode = "unauthenticated" | "forbidden" | "bad_request" | "overloaded" | "unavailable";

/** The registry refuses an announcement or a question. */
export class RegistryError extends BoundaryError<RegistryErrorCode> {}

/** Codes of {@link AdmissionError}. */
export type AdmissionErrorCode = "malformed_review" | "unsupported_media_type" | "too_large" | "invalid_annotation" | "conflict";

/** A pod cannot be admitted as asked. */
export class AdmissionError extends BoundaryError<AdmissionErrorCode> {}
