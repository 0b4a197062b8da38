// Names whose values are others in every message. In a table they would push out what does repeat, so that an encoder never puts them there, even where
// their sender did.
import { FIELD } from "../../../core/field-kind.ts";

/** By kind, which an entry knows already: ids, deadlines, signatures, lengths, and what the mesh says of a single request. */
const CHANGING_KINDS =
  FIELD.requestId | FIELD.traceparent | FIELD.signature | FIELD.contentLength | FIELD.grpcTimeout | FIELD.grpcPushback | FIELD.mesh;

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
]);

/** `name` has the kind `kind`. True when the value of a field is not expected again. */
export function isChanging(name: string, kind: number): boolean {
  return (kind & CHANGING_KINDS) !== 0 || CHANGING_NAMES.has(name);
}
