// One request on its way through the sidecar: what its head said, who sent it, where it goes and how it ended (design 4).
// The stage lists fill it in from top to bottom, the engine moves its bytes, `observe` reads it once at the end.
import { FIELD } from "../core/field-kind.ts";
import type { Reason } from "../core/reasons.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { Span } from "../core/tracing.ts";
import type { Endpoint } from "./discovery/discovery.ts";
import { type FieldView, firstOfKind, RequestEdit } from "./fields.ts";
import type { RoutePolicy } from "./policy/routes.ts";
import type { Route } from "./recent-route.ts";
import type { Pick } from "./resilience/balancer.ts";
import type { Deadline } from "./resilience/deadlines.ts";

/** Which way the request travels, seen from the app next to this sidecar. */
export type Direction = "inbound" | "outbound";

/** The peer of a connection, fixed when it is accepted. */
export interface Peer {
  /** The verified identity, or null for plaintext and for the local app. */
  readonly identity: SpiffeId | null;
  /** Address of the other end; `::ffff:` is already removed. */
  readonly address: string;
  /** RFC 9266 exporter of the peer's mTLS connection (32 bytes), or null without one. */
  readonly channelBinding: Buffer | null;
  /** True for a mesh peer and for the app next to us: they are told the reason of a refusal (design 11). */
  readonly told: boolean;
}

/** Why a request is not forwarded, and what its answer carries besides the status of `rescue.ts`. */
export interface Refusal {
  readonly reason: Reason;
  /** Flat header list added to the answer, e.g. `retry-after`. */
  readonly headers: readonly string[];
  /** Detail for the log line; never sent to the peer. */
  readonly detail: string;
  /** HTTP status of the answer where the reason has several; 0 for the one in `rescue.ts`. */
  readonly status: number;
}

/** Makes a {@link Refusal}. */
export function refuse(reason: Reason, detail = "", headers: readonly string[] = [], status = 0): Refusal {
  return { reason, headers, detail, status };
}

/** The part of an {@link Exchange} that is the same for all requests of one connection. */
export interface ConnectionContext {
  readonly connectionId: number;
  readonly direction: Direction;
  readonly protocol: "http1" | "http2";
  readonly peer: Peer;
  readonly port: number;
  /** True once its client is to send no further request on it: see `Engine.retire`. */
  isRetired?: boolean;
}

/** What an engine knows of a request when its head is complete. Valid until the exchange is finished. */
export interface RequestHead {
  readonly method: string;
  /** `:authority`, the authority of an absolute-form target, or `Host`. */
  readonly authority: string;
  /** Origin-form target; `*` of an OPTIONS, empty for a CONNECT. */
  readonly path: string;
  /** True when the path has nothing in it that its canonical form could have otherwise, as far as the engine has seen; false when it did not look. */
  readonly isPlainPath: boolean;
  /** Without pseudo headers. */
  readonly fields: FieldView;
}

/** A request and everything that is known of it so far. */
export class Exchange {
  /** The connection that it came on: number for every log line, direction, protocol, peer. */
  readonly connection: ConnectionContext;
  readonly head: RequestHead;
  /** True for `application/grpc` and its subtypes, in any content-type field there is. */
  readonly grpc: boolean;
  readonly startedMonoMs: number;
  /** What is forwarded of the head's fields; set by the hygiene stage, completed by the seal. */
  readonly edit = new RequestEdit();
  /** Port that was asked for: the app's port inbound, the destination's port outbound; 0 until known. */
  port: number;
  /** Identity and name of the other side for logs: the caller inbound, the called one outbound. */
  remoteIdentity: SpiffeId | null;
  service = "";
  endpointAddress = "";
  /** Status of the answer; 0 until there is one. */
  status = 0;
  /** `grpc-status` of the answer, 0 to 16, or -1 until seen: from a trailers-only head by the stage list, from trailers and for refusals by the engine. */
  grpcStatus = -1;
  /** Set exactly when this sidecar answered by itself or the upstream failed. */
  refusal: Refusal | null = null;
  /** True between load shedding's `tryEnter` and `finish`. */
  admitted = false;
  /** Monotonic instant of the answer's head; 0 until there is one. */
  answeredMonoMs = 0;
  /** `content-digest` that the body must have, once the signature stage found one (design 9). */
  expectedDigest: string | null = null;
  /** Outbound: the way to its destination in the mesh; null outside of it. */
  route: Route | null = null;
  /** Outbound: what its route allows, from the route stage on. */
  policy: RoutePolicy | null = null;
  /** Outbound: the endpoint that was chosen last, from the balance stage on. */
  pick: Pick<Endpoint> | null = null;
  /** Outbound: the message key whose certificate this request carries, and the connection it is introduced to; null when it carries none. */
  introduces: { readonly connection: { sentMessageKeyId: string }; readonly keyId: string } | null = null;
  /** Times that it was sent, or would have been. */
  attempts = 0;
  /** Instant from which the endpoint that was chosen last is to answer. */
  attemptMonoMs: number;
  /** Why the sidecar at the other end answered instead of its app; null when the app did, or nobody. */
  peerReason: string | null = null;
  /** Until when it may take; null for a request that nothing bounds. */
  deadline: Deadline | null = null;
  /** Longest time in which nothing of the exchange moves in either direction, ms, which the engine watches from the decision on; 0 for no bound of its own. Past it: `timeout`. */
  idleTimeoutMs = 0;
  /**
   * Ends the exchange from outside, as when its deadline is over: what can still be answered is answered, the rest reset (CANCEL to the upstream, CANCEL to a
   * client whose answer has begun). Set by the engine before `decide` returns, at the latest, and never called before that; no effect once finished.
   */
  giveUp: ((refusal: Refusal) => void) | null = null;
  /** The open trace span; null when tracing is off. */
  span: Span | null = null;
  /** The canonical form where it differs from what came; null while it does not. */
  #settledPath: string | null = null;
  /** Null for the one that came, as long as nobody has asked for it. */
  #requestId: string | null = "";

  constructor(connection: ConnectionContext, head: RequestHead, startedMonoMs: number) {
    this.connection = connection;
    this.head = head;
    this.startedMonoMs = startedMonoMs;
    this.attemptMonoMs = startedMonoMs;
    this.port = connection.port;
    this.remoteIdentity = connection.peer.identity;
    this.grpc = (head.fields.kinds & FIELD.contentType) !== 0 && hasGrpcContent(head.fields);
  }

  /** Empty until the hygiene stage has seen to it. */
  get requestId(): string {
    this.#requestId ??= firstOfKind(this.head.fields, FIELD.requestId) ?? "";
    return this.#requestId;
  }

  /** Null: the one that came is good. */
  set requestId(id: string | null) {
    this.#requestId = id;
  }

  get connectionId(): number {
    return this.connection.connectionId;
  }

  get direction(): Direction {
    return this.connection.direction;
  }

  get protocol(): "http1" | "http2" {
    return this.connection.protocol;
  }

  get peer(): Peer {
    return this.connection.peer;
  }

  /** Who asks, as rate limits know it: the verified identity, or empty. */
  get identity(): string {
    return this.connection.peer.identity ?? "";
  }

  /** Address of the other end. */
  get ip(): string {
    return this.connection.peer.address;
  }

  get method(): string {
    return this.head.method;
  }

  get authority(): string {
    return this.head.authority;
  }

  /** The target that is matched on, signed and forwarded: as it came until the path stage settles it. */
  get path(): string {
    return this.#settledPath ?? this.head.path;
  }

  /** Settles the path on its canonical form. */
  settlePath(path: string): void {
    if (path !== this.head.path) this.#settledPath = path;
  }

  /** True when the path goes on in another form than it came in. */
  get isPathSettledAnew(): boolean {
    return this.#settledPath !== null;
  }

  get contentType(): string {
    return firstOfKind(this.head.fields, FIELD.contentType) ?? "";
  }
}

const GRPC = "application/grpc";

/** True when any content-type is gRPC's, whatever its case: a second or oddly written one must not be a way around signing. */
function hasGrpcContent(fields: FieldView): boolean {
  for (let index = 0; index < fields.count; index += 1) {
    if (fields.kind(index) === FIELD.contentType && isGrpc(fields.value(index))) return true;
  }
  return false;
}

function isGrpc(contentType: string): boolean {
  if (contentType === GRPC) return true;
  const mediaType = contentType.trimStart();
  if (mediaType.length < GRPC.length || mediaType.slice(0, GRPC.length).toLowerCase() !== GRPC) return false;
  const next = mediaType.charCodeAt(GRPC.length);
  return mediaType.length === GRPC.length || next === 0x2b /* + */ || next === 0x3b /* ; */ || next === 0x20;
}

/** First value of a field in a flat header list; `name` is lower case. */
export function headerValue(headers: readonly string[], name: string): string | null {
  for (let index = 0; index < headers.length; index += 2) {
    const candidate = headers[index] as string;
    if (candidate.length === name.length && (candidate === name || candidate.toLowerCase() === name)) return headers[index + 1] as string;
  }
  return null;
}
