// Header hygiene (design 10): what of a message head may cross the sidecar, and what the sidecar itself says in it. Decides on fields by their kind
// (`core/field-kind.ts`) and says so as an edit. `host`, `transfer-encoding` and `upgrade` pass through: framing and upgrades belong to the engine, which
// decides on them before and after (design 1).
//
// A field named by `Connection` is removed (RFC 9110 7.6.1) unless it is essential end to end (`isEssential`): "Connection: authorization" or
// "Connection: x-forwarded-for" is how a client makes a proxy drop what the app behind it relies on. The nomination is ignored, the field stays.
//
// HOT PATH: looks only at fields of the kinds it has to do with; no regex, no lower-casing, no closure per request. Heads without a `Connection` field
// pay nothing for nominations, and a good request id stays where it is.
import { FIELD, isEssential, kindOf } from "../../core/field-kind.ts";
import { sameName } from "../../core/field-name.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { FieldView, HeadEdit } from "../fields.ts";

/** Longest request id that is taken over. */
const MAX_REQUEST_ID_LENGTH = 128;

/** Makes the `traceparent` to forward: a child of a valid incoming one, else a new root, else (null) none. */
export type ChildTraceparent = (incoming: string | null) => string | null;

/** What is known about a request that came to this workload. Make one per connection, not per request. */
export interface InboundHygiene {
  /** The verified caller; null for plaintext. */
  readonly clientIdentity: SpiffeId | null;
  /** The word on it, made by {@link clientCertificate}; empty for plaintext. */
  readonly clientCertificate: string;
  /** True when the peer is a sidecar: its signature fields end here. Those of a plaintext client belong to the app and stay. */
  readonly peerMeshed: boolean;
  /** Makes a request id. */
  readonly requestId: () => string;
  readonly childTraceparent: ChildTraceparent;
}

/** The value of `x-forwarded-client-cert` (Envoy's form) for a caller of `identity`; empty without a caller's identity. */
export function clientCertificate(identity: SpiffeId, caller: SpiffeId | null): string {
  return caller === null ? "" : `By=${identity};URI=${caller}`;
}

/** What is known about a request of the local app. Make one per process. */
export interface OutboundHygiene {
  readonly requestId: () => string;
  readonly childTraceparent: ChildTraceparent;
}

/**
 * Edits a request as the app may see it and returns its request id. `x-forwarded-client-cert` (`By=<this>;URI=<caller>`, Envoy's form) and
 * `x-remora-client-id` are always the sidecar's own words: absent when the caller has no identity, so that an app may trust them. `traceparent` is that
 * of the open span; null to make one.
 */
export function editInbound(fields: FieldView, hygiene: InboundHygiene, edit: HeadEdit, traceparent: string | null): string {
  edit.strip = hygiene.peerMeshed ? STRIPPED_FROM_MESH : STRIPPED_FROM_OUTSIDE;
  const requestId = editRequest(fields, hygiene, edit, traceparent);
  const { clientIdentity, clientCertificate } = hygiene;
  if (clientIdentity !== null) edit.added.push("x-forwarded-client-cert", clientCertificate, "x-remora-client-id", clientIdentity);
  return requestId;
}

/** Edits a request as it leaves for an upstream, before signing, and returns its request id: nothing the app says can pass as the mesh's word. */
export function editOutbound(fields: FieldView, hygiene: OutboundHygiene, edit: HeadEdit, traceparent: string | null): string {
  edit.strip = STRIPPED_FROM_MESH;
  return editRequest(fields, hygiene, edit, traceparent);
}

/**
 * The edit of an answer. `fromApp`: the answer comes from the local app, whose `x-remora-*` are not the mesh's word; a meshed peer's
 * `x-remora-reason` is kept for the local app (design 11).
 */
export function answerEdit(fields: FieldView, fromApp: boolean): HeadEdit {
  const usual = fromApp ? FROM_APP : FROM_MESH;
  const nominated = nominations(fields);
  return nominated === null ? usual : { ...usual, nominated };
}

/** The fields of a trailer section, of a request or an answer: the mesh says nothing in one, so nothing in one may look like its word. */
export function trailerFields(raw: readonly string[]): string[] {
  const fields: string[] = [];
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index] as string;
    if ((kindOf(name) & STRIPPED_FROM_TRAILERS) === 0) fields.push(name, raw[index + 1] as string);
  }
  return fields;
}

const STRIPPED_FROM_ANSWERS = FIELD.connection | FIELD.hopByHop | FIELD.te;
const STRIPPED_FROM_APP = STRIPPED_FROM_ANSWERS | FIELD.mesh;
const STRIPPED_FROM_TRAILERS = STRIPPED_FROM_APP | FIELD.identity;

const FROM_MESH: HeadEdit = Object.freeze({ strip: STRIPPED_FROM_ANSWERS, nominated: null, added: [] });
const FROM_APP: HeadEdit = Object.freeze({ strip: STRIPPED_FROM_APP, nominated: null, added: [] });

/** Kinds of fields that do not cross; `identity` is the pair that the inbound side writes itself. */
const STRIPPED_FROM_OUTSIDE = STRIPPED_FROM_TRAILERS | FIELD.traceparent;
const STRIPPED_FROM_MESH = STRIPPED_FROM_OUTSIDE | FIELD.signature;

const LOOKED_AT = FIELD.requestId | FIELD.traceparent | FIELD.te;

function editRequest(fields: FieldView, hygiene: OutboundHygiene, edit: HeadEdit, spanTraceparent: string | null): string {
  const { added } = edit;
  added.length = 0;
  edit.nominated = nominations(fields);
  let requestIds = 0;
  let requestId: string | null = null;
  let traceparents = 0;
  let traceparent: string | null = null;
  let trailers = false;
  const looksAt = (fields.kinds & LOOKED_AT) === 0 ? 0 : fields.count;
  for (let index = 0; index < looksAt; index += 1) {
    const kind = fields.kind(index);
    if ((kind & LOOKED_AT) === 0) continue;
    const value = fields.value(index);
    if (kind === FIELD.requestId) {
      requestIds += 1;
      if (requestId === null && isRequestId(value)) requestId = value;
    } else if (kind === FIELD.traceparent) {
      traceparents += 1;
      traceparent = value;
    } else {
      trailers ||= sameName(value, "trailers");
    }
  }
  // gRPC servers refuse a call without it; any other TE is between two neighbours.
  if (trailers) added.push("te", "trailers");
  if (requestId === null || requestIds > 1 || isNominated(edit.nominated, "x-request-id")) {
    requestId ??= hygiene.requestId();
    edit.strip |= FIELD.requestId;
    added.push("x-request-id", requestId);
  }
  // Two of them are none (W3C Trace Context 3.2.2).
  const child = spanTraceparent ?? hygiene.childTraceparent(traceparents === 1 ? traceparent : null);
  if (child !== null) added.push("traceparent", child);
  return requestId;
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
function nominations(fields: FieldView): string[] | null {
  if ((fields.kinds & FIELD.connection) === 0) return null;
  let names: string[] | null = null;
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kind(index) !== FIELD.connection) continue;
    if (fields.valueIs(index, "keep-alive") || fields.valueIs(index, "close")) continue; // what Node and browsers send: names no field
    for (const item of fields.value(index).split(",")) {
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

function isNominated(nominated: readonly string[] | null, lower: string): boolean {
  return nominated?.includes(lower) === true;
}
