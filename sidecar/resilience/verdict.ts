// What the end of a request says: about its endpoint, to the balancer and the breaker, and about whether it may be sent again. gRPC is judged by
// `grpc-status`, whether it came in trailers or in a trailers-only head, everything else by the status.
import { FIELD } from "../../core/field-kind.ts";
import type { Exchange } from "../exchange.ts";
import { type FieldView, firstOfKind } from "../fields.ts";
import { GRPC_STATUS, isServerFault } from "../grpc-status.ts";

/** Longest wait that a server may ask for before the request is sent again, ms; with a longer one its answer is passed on. */
export const MAX_PUSHBACK_MS = 10_000;

/** Time that an endpoint must have had before a deadline of the caller's own speaks against it, ms: somebody in a hurry is no proof of a slow server. */
const LEAST_PATIENCE_MS = 100;

/** Refusals of the sidecar at the other end after which its app has seen nothing of the request: it could be done elsewhere. */
const UNPROCESSED: ReadonlySet<string> = new Set(["connect_failed", "overloaded", "draining"]);

/** Refusals of the sidecar at the other end that speak of the endpoint. The rest (`rate_limited`, `forbidden`, …) are a policy's word about the request. */
const FAULTY: ReadonlySet<string> = new Set(["connect_failed", "overloaded", "draining", "upstream_reset", "timeout"]);

/** `unprocessed`: nobody has begun with it. `failed`: somebody may have, and did not finish. `final`: sending it again would not help, or is nobody's business. */
export type AnswerKind = "unprocessed" | "failed" | "final";

/** What a head says about sending its request again. `peerReason` as in the exchange. */
export function answerKind(exchange: Exchange, status: number, grpcStatus: number, peerReason: string | null): AnswerKind {
  if (peerReason !== null && UNPROCESSED.has(peerReason)) return "unprocessed";
  // Whatever ran out of time has none left.
  if (peerReason === "timeout") return "final";
  const isUnavailable = exchange.grpc && grpcStatus !== -1 ? grpcStatus === GRPC_STATUS.UNAVAILABLE : status >= 502 && status <= 504;
  return isUnavailable ? "failed" : "final";
}

/** How long a server asks to wait, ms, 0 without a word (`grpc-retry-pushback-ms`, gRFC A6); -1: it asks not to be asked again, or for longer than is waited. */
export function pushbackMs(fields: FieldView): number {
  const value = firstOfKind(fields, FIELD.grpcPushback);
  if (value === null) return 0;
  return /^[0-9]{1,5}$/.test(value) && Number(value) <= MAX_PUSHBACK_MS ? Number(value) : -1;
}

/**
 * What the end of a request says about its endpoint, which had `latencyMs` for it: true for good, false for to blame, null for nothing, as when the client
 * left first or a policy refused.
 */
export function endpointVerdict(exchange: Exchange, latencyMs: number): boolean | null {
  const { refusal, peerReason } = exchange;
  if (refusal !== null) return ownVerdict(exchange, refusal.reason, latencyMs);
  if (peerReason !== null) {
    if (!FAULTY.has(peerReason)) return null;
    return peerReason === "timeout" && latencyMs < LEAST_PATIENCE_MS ? null : false;
  }
  if (exchange.status === 0) return null;
  return exchange.grpc ? grpcVerdict(exchange, latencyMs) : exchange.status < 500;
}

/** Where this sidecar ended it. A bound that the operator set is the measure of an endpoint; the caller's own time is one if it was worth the name. */
function ownVerdict(exchange: Exchange, reason: string, latencyMs: number): boolean | null {
  if (reason === "upstream_reset" || reason === "connect_failed") return false;
  if (reason !== "timeout") return null;
  // 408: it was the client that did not send.
  if (exchange.refusal?.status === 408) return null;
  return exchange.deadline?.isCallersOwn === true && latencyMs < LEAST_PATIENCE_MS ? null : false;
}

/**
 * UNKNOWN, INTERNAL, UNAVAILABLE and DATA_LOSS are a server's own failures; DEADLINE_EXCEEDED is one unless it came at once. RESOURCE_EXHAUSTED, CANCELLED,
 * UNIMPLEMENTED and the rest speak of the request, as 4xx does. Without a code: an answer that is no gRPC is judged by its status; one that was cut off by the
 * client says nothing, and one that the endpoint cut off was refused as `upstream_reset`.
 */
function grpcVerdict({ status, grpcStatus }: Exchange, latencyMs: number): boolean | null {
  if (grpcStatus === -1) return status === 200 ? null : status < 500;
  if (grpcStatus === GRPC_STATUS.DEADLINE_EXCEEDED) return latencyMs < LEAST_PATIENCE_MS ? null : false;
  return !isServerFault(grpcStatus);
}
