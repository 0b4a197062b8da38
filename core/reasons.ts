// The closed vocabulary of refusals (design 11): the same codes in logs, metrics, headers, registry answers and on the command line.

/** Every reason for which traffic is refused, with the one sentence that explains it to a person. */
export const REASONS = {
  rate_limited: "A rate limit of the called workload is used up.",
  forbidden: "The caller's identity is not allowed here.",
  unauthenticated: "The caller has no acceptable identity.",
  plaintext_refused: "The workload is strict and the connection is not mesh mTLS.",
  identity_mismatch: "The peer's certificate does not carry the expected identity.",
  no_endpoints: "The destination has no ready endpoint.",
  connect_failed: "No connection to the endpoint could be made, or it took no request on one.",
  upstream_reset: "The upstream ended the connection before its answer was complete.",
  timeout: "The upstream did not answer in time.",
  circuit_open: "The endpoint failed repeatedly and is being left alone for a while.",
  overloaded: "Too many requests are in flight.",
  draining: "The workload is shutting down.",
  bad_request: "The message is malformed or ambiguous.",
  header_too_large: "The message head is larger than allowed.",
  signature_missing: "The request is not signed and the workload requires it.",
  signature_invalid: "The request's signature does not match it.",
  signature_expired: "The request's signature is outside its time window.",
  signature_replayed: "The request's signature was used before.",
  loop_detected: "The connection leads back to the sidecar itself.",
  egress_refused: "The destination is not in the mesh and egress is denied.",
} as const;

/** One code of {@link REASONS}. */
export type Reason = keyof typeof REASONS;

/** True when `text` is one of the codes. */
export function isReason(text: string): text is Reason {
  return Object.hasOwn(REASONS, text);
}
