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
import { type FieldView, type HeadEdit, type RequestEdit, StandingFields } from "../fields.ts";

/** Longest request id that is taken over. */
const MAX_REQUEST_ID_LENGTH = 128;

/** What is known about a request that came to this workload. Make one per connection, not per request. */
export interface InboundHygiene {
  /** The word on the verified caller, made by {@link callerFields}; null for plaintext. */
  readonly caller: StandingFields | null;
  /** True when the peer is a sidecar: its signature fields end here. Those of a plaintext client belong to the app and stay. */
  readonly peerMeshed: boolean;
  /** Makes a request id. */
  readonly requestId: () => string;
}

/** What the app at `identity` is told of a caller: `x-forwarded-client-cert` (`By=<this>;URI=<caller>`, Envoy's form) and `x-remora-client-id`. */
export function callerFields(identity: SpiffeId, caller: SpiffeId): StandingFields {
  return new StandingFields(["x-forwarded-client-cert", `By=${identity};URI=${caller}`, "x-remora-client-id", caller]);
}

/** What is known about a request of the local app. Make one per process. */
export interface OutboundHygiene {
  readonly requestId: () => string;
}

/**
 * Edits a request as the app may see it, and returns its request id; null when it has a good one already. What {@link callerFields} makes is always the
 * sidecar's own word: absent when the caller has no identity, so that an app may trust it. `traceparent` is that of the open span; null without one.
 */
export function editInbound(fields: FieldView, hygiene: InboundHygiene, edit: RequestEdit, traceparent: string | null): string | null {
  edit.strip = hygiene.peerMeshed ? STRIPPED_FROM_MESH : STRIPPED_FROM_OUTSIDE;
  edit.standing = hygiene.caller;
  return editRequest(fields, hygiene, edit, traceparent);
}

/** As {@link editInbound}, for a request as it leaves for an upstream, before signing: nothing the app says can pass as the mesh's word. */
export function editOutbound(fields: FieldView, hygiene: OutboundHygiene, edit: RequestEdit, traceparent: string | null): string | null {
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

const FROM_MESH: HeadEdit = Object.freeze({ strip: STRIPPED_FROM_ANSWERS, nominated: null, added: [], standing: null });
const FROM_APP: HeadEdit = Object.freeze({ strip: STRIPPED_FROM_APP, nominated: null, added: [], standing: null });

/** Kinds of fields that do not cross; `identity` is the pair that the inbound side writes itself. */
const STRIPPED_FROM_OUTSIDE = STRIPPED_FROM_TRAILERS;
const STRIPPED_FROM_MESH = STRIPPED_FROM_OUTSIDE | FIELD.signature;

function editRequest(fields: FieldView, hygiene: OutboundHygiene, edit: RequestEdit, traceparent: string | null): string | null {
  edit.nominated = nominations(fields);
  // gRPC servers refuse a call without it; any other TE is between two neighbours.
  if ((fields.kinds & FIELD.te) !== 0) keepTrailers(fields, edit);
  if (traceparent !== null) {
    edit.strip |= FIELD.traceparent;
    edit.add("traceparent", traceparent);
  }
  const index = goodRequestId(fields);
  if (index !== -1 && isOnly(fields, FIELD.requestId, index) && !isNominated(edit.nominated, "x-request-id")) return null;
  const requestId = index === -1 ? hygiene.requestId() : fields.value(index);
  edit.strip |= FIELD.requestId;
  edit.add("x-request-id", requestId);
  return requestId;
}

function keepTrailers(fields: FieldView, edit: RequestEdit): void {
  let asks = false;
  let isAll = edit.nominated === null;
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kind(index) !== FIELD.te) continue;
    if (fields.valueIs(index, "trailers")) asks = true;
    else if (sameName(fields.value(index), "trailers")) [asks, isAll] = [true, false];
    else isAll = false;
  }
  if (asks && isAll) edit.strip &= ~FIELD.te;
  else if (asks) edit.add("te", "trailers");
}

/** The index of the first good request id: visible ASCII without what separates fields of a log line, 1 to 128 characters; -1 for none. */
function goodRequestId(fields: FieldView): number {
  if ((fields.kinds & FIELD.requestId) === 0) return -1;
  for (let index = 0; index < fields.count; index += 1)
    if (fields.kind(index) === FIELD.requestId && isRequestId(fields, index)) return index;
  return -1;
}

function isRequestId(fields: FieldView, index: number): boolean {
  const length = fields.valueLength(index);
  if (length === 0 || length > MAX_REQUEST_ID_LENGTH) return false;
  for (let at = 0; at < length; at += 1) {
    const code = fields.valueCode(index, at);
    if (code <= 0x20 || code >= 0x7f || code === 0x22 /* " */ || code === 0x2c /* , */ || code === 0x5c /* \ */) return false;
  }
  return true;
}

function isOnly(fields: FieldView, kind: number, only: number): boolean {
  for (let index = 0; index < fields.count; index += 1) if (index !== only && fields.kind(index) === kind) return false;
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
