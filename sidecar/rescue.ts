// The only place where a reason becomes a status, a gRPC code, and keep or close (style 17; models: linkerd2-proxy's errors/respond.rs).
import type { Reason } from "../core/reasons.ts";
import type { Refusal } from "./exchange.ts";
import { GRPC_STATUS } from "./grpc-status.ts";

/** How a refusal is answered. */
export interface Rescue {
  /** HTTP status for requests that are not gRPC. */
  readonly status: number;
  /** `grpc-status` for gRPC requests, sent trailers-only with HTTP status 200. */
  readonly grpcStatus: number;
  /** Short text for the body and `grpc-message`; says nothing that the peer may not know. */
  readonly text: string;
  /** True when an HTTP/1.1 connection must end, because its framing can no longer be trusted. */
  readonly close: boolean;
}

/** The table. Exhaustive by type: a new reason does not compile until it has a row. */
export const RESCUE: Readonly<Record<Reason, Rescue>> = {
  rate_limited: { status: 429, grpcStatus: GRPC_STATUS.RESOURCE_EXHAUSTED, text: "rate limit exceeded", close: false },
  forbidden: { status: 403, grpcStatus: GRPC_STATUS.PERMISSION_DENIED, text: "not allowed", close: false },
  unauthenticated: { status: 401, grpcStatus: GRPC_STATUS.UNAUTHENTICATED, text: "not authenticated", close: false },
  plaintext_refused: { status: 403, grpcStatus: GRPC_STATUS.UNAUTHENTICATED, text: "not authenticated", close: true },
  identity_mismatch: { status: 502, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "upstream has the wrong identity", close: false },
  no_endpoints: { status: 503, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "no endpoint available", close: false },
  connect_failed: { status: 502, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "cannot connect to upstream", close: false },
  upstream_reset: { status: 502, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "upstream closed the connection", close: false },
  timeout: { status: 504, grpcStatus: GRPC_STATUS.DEADLINE_EXCEEDED, text: "upstream did not answer in time", close: false },
  circuit_open: { status: 503, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "circuit open", close: false },
  overloaded: { status: 503, grpcStatus: GRPC_STATUS.RESOURCE_EXHAUSTED, text: "overloaded", close: false },
  draining: { status: 503, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "shutting down", close: true },
  bad_request: { status: 400, grpcStatus: GRPC_STATUS.INTERNAL, text: "bad request", close: true },
  header_too_large: { status: 431, grpcStatus: GRPC_STATUS.RESOURCE_EXHAUSTED, text: "header too large", close: true },
  signature_missing: { status: 401, grpcStatus: GRPC_STATUS.UNAUTHENTICATED, text: "not authenticated", close: false },
  signature_invalid: { status: 401, grpcStatus: GRPC_STATUS.UNAUTHENTICATED, text: "not authenticated", close: false },
  signature_expired: { status: 401, grpcStatus: GRPC_STATUS.UNAUTHENTICATED, text: "not authenticated", close: false },
  signature_replayed: { status: 401, grpcStatus: GRPC_STATUS.UNAUTHENTICATED, text: "not authenticated", close: false },
  loop_detected: { status: 508, grpcStatus: GRPC_STATUS.UNAVAILABLE, text: "loop detected", close: true },
  egress_refused: { status: 403, grpcStatus: GRPC_STATUS.PERMISSION_DENIED, text: "egress is denied", close: false },
};

/** Reasons whose detail would help an attacker: a mesh peer is told `unauthenticated` instead (design 9). */
const DETAIL_WITHHELD: ReadonlySet<Reason> = new Set(["signature_missing", "signature_invalid", "signature_expired", "signature_replayed"]);

/** The answer of this sidecar to a refused request: status, flat header list, body. `told` is {@link Peer.told}. */
export function answerFor(
  refusal: Refusal,
  options: { readonly grpc: boolean; readonly told: boolean },
): {
  readonly status: number;
  readonly headers: string[];
  readonly body: string;
} {
  const { reason } = refusal;
  const rescue = RESCUE[reason];
  const answer = [...refusal.headers];
  if (options.told) answer.push("x-remora-reason", DETAIL_WITHHELD.has(reason) ? "unauthenticated" : reason);
  if (options.grpc) {
    answer.push("content-type", "application/grpc", "grpc-status", String(rescue.grpcStatus), "grpc-message", rescue.text);
    return { status: 200, headers: answer, body: "" };
  }
  const body = `${rescue.text}\n`;
  answer.push("content-type", "text/plain; charset=utf-8", "content-length", String(Buffer.byteLength(body)));
  return { status: refusal.status === 0 ? rescue.status : refusal.status, headers: answer, body };
}
