// Names whose values are others in every message. In a table they would push out what does repeat, so that an encoder never puts them there, even where
// their sender did.
import { FIELD } from "../../../core/field-kind.ts";

/** By kind, which an entry knows already: ids, deadlines, signatures and lengths. Most of what the mesh says holds for a connection. */
const CHANGING_KINDS = FIELD.requestId | FIELD.traceparent | FIELD.signature | FIELD.contentLength | FIELD.grpcTimeout | FIELD.grpcPushback;

/** By name, for want of a kind. */
const CHANGING_NAMES: ReadonlySet<string> = new Set([
  "age",
  "content-range",
  "date",
  "etag",
  "expires",
  "grpc-status-details-bin",
  "grpc-trace-bin",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "last-modified",
  "location",
  "range",
  "retry-after",
  "set-cookie",
  "tracestate",
  "x-b3-spanid",
  "x-b3-traceid",
  "x-correlation-id",
  "x-remora-cert",
  "x-remora-reason",
]);

/** `name` has the kind `kind`. True when the value of a field is not expected again. */
export function isChanging(name: string, kind: number): boolean {
  return (kind & CHANGING_KINDS) !== 0 || CHANGING_NAMES.has(name);
}
