// One request on its way through the sidecar: what its head said, who sent it, where it goes and how it ended (design 4).
// The stage lists fill it in from top to bottom, the engine moves its bytes, `observe` reads it once at the end.
import type { Reason } from "../core/reasons.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { Span } from "../core/tracing.ts";
import type { Endpoint } from "./discovery/discovery.ts";
import type { Pick } from "./resilience/balancer.ts";

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

/** A request and everything that is known of it so far. */
export interface Exchange {
  /** Number of the connection it came on; on every log line. */
  readonly connectionId: number;
  readonly direction: Direction;
  readonly protocol: "http1" | "http2";
  readonly peer: Peer;
  /** Port that was asked for: the app's port inbound, the destination's port outbound; 0 until known. */
  port: number;
  readonly method: string;
  /** `:authority`, the authority of an absolute-form target, or `Host`. */
  readonly authority: string;
  /** Origin-form target: as received, until the path stage gives it its canonical form. What is signed and forwarded. */
  path: string;
  readonly contentType: string;
  /** True for `application/grpc` and its subtypes, in any content-type field there is. */
  readonly grpc: boolean;
  /** Head fields as received, flat: name, value, name, value, … without pseudo headers. */
  readonly receivedHeaders: readonly string[];
  /** Head fields to forward, flat; set by the hygiene stage, completed by the seal. */
  headers: string[];
  /** Head fields added to the answer, flat. */
  readonly answerHeaders: string[];
  readonly startedMonoMs: number;
  requestId: string;
  /** Identity and name of the other side for logs: the caller inbound, the called one outbound. */
  remoteIdentity: SpiffeId | null;
  service: string;
  endpointAddress: string;
  /** Status of the answer; 0 until there is one. */
  status: number;
  /** `grpc-status` of the answer, -1 until seen. */
  grpcStatus: number;
  /** Set exactly when this sidecar answered by itself or the upstream failed. */
  refusal: Refusal | null;
  /** True between load shedding's `tryEnter` and `finish`. */
  admitted: boolean;
  /** Monotonic instant of the answer's head; 0 until there is one. */
  answeredMonoMs: number;
  /** Digest that the body must have, once the signature stage found one (design 9). */
  expectedDigest: Buffer | null;
  /** Outbound: key of the destination's view; empty for a destination outside of the mesh. */
  destinationKey: string;
  /** Outbound: the endpoint that was chosen last, from the balance stage on. */
  pick: Pick<Endpoint> | null;
  /** Outbound: the message key whose certificate this request carries, and the connection it is introduced to; null when it carries none. */
  introduces: { readonly connection: { sentMessageKeyId: string }; readonly keyId: string } | null;
  /** Endpoints tried so far. */
  attempts: number;
  /** The open trace span; null when tracing is off. */
  span: Span | null;
}

/** What an engine knows of a request when its head is complete. */
export interface RequestHead {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly headers: readonly string[];
}

/** The part of an {@link Exchange} that is the same for all requests of one connection. */
export interface ConnectionContext {
  readonly connectionId: number;
  readonly direction: Direction;
  readonly protocol: "http1" | "http2";
  readonly peer: Peer;
  readonly port: number;
}

/** Starts an exchange from a request head. */
export function beginExchange(connection: ConnectionContext, head: RequestHead, startedMonoMs: number): Exchange {
  const contentType = headerValue(head.headers, "content-type") ?? "";
  return {
    connectionId: connection.connectionId,
    direction: connection.direction,
    protocol: connection.protocol,
    peer: connection.peer,
    port: connection.port,
    method: head.method,
    authority: head.authority,
    path: head.path,
    contentType,
    grpc: hasGrpcContent(head.headers),
    receivedHeaders: head.headers,
    headers: [],
    answerHeaders: [],
    startedMonoMs,
    requestId: "",
    remoteIdentity: connection.peer.identity,
    service: "",
    endpointAddress: "",
    status: 0,
    grpcStatus: -1,
    refusal: null,
    admitted: false,
    answeredMonoMs: 0,
    expectedDigest: null,
    destinationKey: "",
    pick: null,
    introduces: null,
    attempts: 0,
    span: null,
  };
}

const GRPC = "application/grpc";

/** True when any content-type is gRPC's, whatever its case: a second or oddly written one must not be a way around signing. */
function hasGrpcContent(headers: readonly string[]): boolean {
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] as string;
    if (name.length === 12 && name.toLowerCase() === "content-type" && isGrpc(headers[index + 1] as string)) return true;
  }
  return false;
}

function isGrpc(contentType: string): boolean {
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

/** Sets the value of a field in a flat header list, if it is there; `name` is lower case. */
export function replaceHeader(headers: string[], name: string, value: string): void {
  for (let index = 0; index < headers.length; index += 2) if ((headers[index] as string).toLowerCase() === name) headers[index + 1] = value;
}
