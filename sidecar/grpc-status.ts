// How a gRPC call ended (grpc/grpc, doc/statuscodes.md and PROTOCOL-HTTP2.md): the codes that the sidecar speaks of, and reading one from a trailers-only
// head or from trailers.
import { FIELD } from "../core/field-kind.ts";
import { type Exchange, headerValue } from "./exchange.ts";
import { type FieldView, firstOfKind } from "./fields.ts";

/** The codes that the sidecar gives or looks at. */
export const GRPC_STATUS = {
  UNKNOWN: 2,
  DEADLINE_EXCEEDED: 4,
  PERMISSION_DENIED: 7,
  RESOURCE_EXHAUSTED: 8,
  INTERNAL: 13,
  UNAVAILABLE: 14,
  DATA_LOSS: 15,
  UNAUTHENTICATED: 16,
} as const;

/** The code that a value stands for: 0 to 16. What is none is UNKNOWN, as clients take it. */
export function grpcStatusOf(value: string): number {
  if (value === "0") return 0;
  return /^(?:\d|1[0-6])$/.test(value) ? Number(value) : GRPC_STATUS.UNKNOWN;
}

/** The code in a head; -1 without one. Costs a comparison where there is none. */
export function grpcStatusOfHead(fields: FieldView): number {
  const value = firstOfKind(fields, FIELD.grpcStatus);
  return value === null ? -1 : grpcStatusOf(value);
}

/** Notes how a call ended from the trailers of its answer, flat. */
export function noteGrpcStatus(exchange: Exchange, trailers: readonly string[]): void {
  if (!exchange.grpc) return;
  const value = headerValue(trailers, "grpc-status");
  if (value !== null) exchange.grpcStatus = grpcStatusOf(value);
}

/** Codes of a server that failed, as bits: whatever was asked, another server might have done it. Others speak of the request or of its caller. */
const SERVER_FAULTS =
  (1 << GRPC_STATUS.UNKNOWN) | // an exception that nobody caught, or an answer without a status
  (1 << GRPC_STATUS.DEADLINE_EXCEEDED) |
  (1 << GRPC_STATUS.INTERNAL) |
  (1 << GRPC_STATUS.UNAVAILABLE) |
  (1 << GRPC_STATUS.DATA_LOSS);

/** True for a code (0 to 16, or -1 for none) with which a server says that it failed. */
export function isServerFault(code: number): boolean {
  return code > 0 && (SERVER_FAULTS & (1 << code)) !== 0;
}
