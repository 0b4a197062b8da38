// Header hygiene (design 10): what of a message head may cross the sidecar, and what the sidecar itself says in it. Works on flat raw lists (name, value,
// name, value, …) without pseudo headers. `host`, `transfer-encoding` and `upgrade` pass through: framing and upgrades belong to the engine, which decides on
// them before and after (design 1). Names are classified by `field-class.ts`.
//
// A field named by `Connection` is removed (RFC 9110 7.6.1) unless it is essential end to end (`isEssential`): "Connection: authorization" or
// "Connection: x-forwarded-for" is how a client makes a proxy drop what the app behind it relies on. The nomination is ignored, the field stays.
//
// HOT PATH: one pass, one output array, one switch on the name's length per field; no regex, no lower-casing, no closure per request. Heads without a
// `Connection` field pay nothing for nominations.
import { sameName } from "../../core/field-name.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import { classOf, FIELD, isEssential } from "./field-class.ts";

/** Longest request id that is taken over. */
const MAX_REQUEST_ID_LENGTH = 128;

/** Makes the `traceparent` to forward: a child of a valid incoming one, else a new root, else (null) none. */
export type ChildTraceparent = (incoming: string | null) => string | null;

/** What is known about a request that came to this workload. Make one per connection, not per request. */
export interface InboundHygiene {
  /** This workload. */
  readonly identity: SpiffeId;
  /** The verified caller; null for plaintext. */
  readonly clientIdentity: SpiffeId | null;
  /** True when the peer is a sidecar: its signature fields end here. Those of a plaintext client belong to the app and stay. */
  readonly peerMeshed: boolean;
  /** Makes a request id. */
  readonly requestId: () => string;
  readonly childTraceparent: ChildTraceparent;
}

/** What is known about a request of the local app. Make one per process. */
export interface OutboundHygiene {
  readonly requestId: () => string;
  readonly childTraceparent: ChildTraceparent;
}

/**
 * The fields of a request as the app may see them. `x-forwarded-client-cert` (`By=<this>;URI=<caller>`, Envoy's form) and `x-remora-client-id` are always
 * the sidecar's own words: absent when the caller has no identity, so that an app may trust them.
 */
export function inboundHeaders(raw: readonly string[], hygiene: InboundHygiene): string[] {
  const headers = forwarded(raw, hygiene, hygiene.peerMeshed ? STRIPPED_FROM_MESH : STRIPPED_FROM_OUTSIDE);
  const { clientIdentity } = hygiene;
  if (clientIdentity !== null) {
    headers.push("x-forwarded-client-cert", `By=${hygiene.identity};URI=${clientIdentity}`, "x-remora-client-id", clientIdentity);
  }
  return headers;
}

/** The fields of a request as they leave for an upstream, before signing: nothing the app says can pass as the mesh's word. */
export function outboundHeaders(raw: readonly string[], hygiene: OutboundHygiene): string[] {
  return forwarded(raw, hygiene, STRIPPED_FROM_MESH);
}

/**
 * The fields of an answer. `fromApp`: the answer comes from the local app, whose `x-remora-*` are not the mesh's word; a meshed peer's
 * `x-remora-reason` is kept for the local app (design 11).
 */
export function responseHeaders(raw: readonly string[], options: { readonly fromApp: boolean }): string[] {
  const nominated = nominations(raw);
  const headers: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const field = classOf(name);
    if (field === FIELD.connection || field === FIELD.hopByHop || field === FIELD.te) continue;
    if (options.fromApp && field === FIELD.mesh) continue;
    if (nominated !== null && isNominated(nominated, name)) continue;
    headers.push(name, raw[index + 1] as string);
  }
  return headers;
}

/** The fields of a trailer section, of a request or an answer: the mesh says nothing in one, so nothing in one may look like its word. */
export function trailerFields(raw: readonly string[]): string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    if ((classOf(name) & STRIPPED_FROM_TRAILERS) === 0) fields.push(name, raw[index + 1] as string);
  }
  return fields;
}

const STRIPPED_FROM_TRAILERS = FIELD.connection | FIELD.hopByHop | FIELD.te | FIELD.mesh | FIELD.identity;

/** Bits of field classes that do not cross; `identity` is the pair that the inbound side writes itself. */
const ALWAYS_STRIPPED = FIELD.connection | FIELD.hopByHop | FIELD.mesh | FIELD.identity | FIELD.te | FIELD.requestId | FIELD.traceparent;
const STRIPPED_FROM_MESH = ALWAYS_STRIPPED | FIELD.signature;
const STRIPPED_FROM_OUTSIDE = ALWAYS_STRIPPED;

function forwarded(raw: readonly string[], hygiene: OutboundHygiene, stripped: number): string[] {
  const nominated = nominations(raw);
  const headers: string[] = [];
  let requestId: string | null = null;
  let traceparents = 0;
  let traceparent: string | null = null;
  let trailers = false;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    const value = raw[index + 1] as string;
    const field = classOf(name);
    if ((field & stripped) === 0) {
      if (nominated === null || !isNominated(nominated, name)) headers.push(name, value);
    } else if (field === FIELD.requestId) {
      if (requestId === null && isRequestId(value)) requestId = value;
    } else if (field === FIELD.traceparent) {
      traceparents += 1;
      traceparent = value;
    } else if (field === FIELD.te) {
      trailers ||= sameName(value, "trailers");
    }
  }
  // gRPC servers refuse a call without it; any other TE is between two neighbours.
  if (trailers) headers.push("te", "trailers");
  headers.push("x-request-id", requestId ?? hygiene.requestId());
  // Two of them are none (W3C Trace Context 3.2.2).
  const child = hygiene.childTraceparent(traceparents === 1 ? traceparent : null);
  if (child !== null) headers.push("traceparent", child);
  return headers;
}

/** Visible ASCII without separators that would read as something else in a log line; 1..128 characters. */
function isRequestId(value: string): boolean {
  if (value.length === 0 || value.length > MAX_REQUEST_ID_LENGTH) return false;
  for (let index = 0; index < value.length; index += 1) {
    const code = value.charCodeAt(index);
    if (code <= 0x20 || code >= 0x7f || code === 0x22 /* " */ || code === 0x2c /* , */ || code === 0x5c /* \ */) return false;
  }
  return true;
}

/** The names in all `Connection` fields that may be dropped, or null when there are none: the usual case. */
function nominations(raw: readonly string[]): string[] | null {
  let names: string[] | null = null;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    if (name.length !== "connection".length || !sameName(name, "connection")) continue;
    const value = raw[index + 1] as string;
    if (value === "keep-alive" || value === "close") continue; // what Node and browsers send: names no field
    for (const item of value.split(",")) {
      const nominated = item.trim().toLowerCase();
      if (nominated === "" || nominated === "close" || nominated === "keep-alive" || isEssential(nominated)) continue;
      names ??= [];
      // At the bound further names are ignored: the work per head stays linear. Nobody honest nominates 16 fields.
      if (names.length < MAX_NOMINATIONS) names.push(nominated);
    }
  }
  return names;
}

/** Most names taken from `Connection` fields. */
const MAX_NOMINATIONS = 16;

function isNominated(nominated: readonly string[], name: string): boolean {
  for (const candidate of nominated) {
    if (candidate.length === name.length && sameName(name, candidate)) return true;
  }
  return false;
}
