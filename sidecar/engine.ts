// The interface between the stage lists and whatever moves HTTP bytes (design 1, "engine"). `compat` implements it with http-proxy and
// node:http2; the splice engine implements the same. An engine frames, forwards and answers; it decides nothing.
import type { Duplex } from "node:stream";
import type { ConnectionContext, Exchange, Refusal, RequestHead } from "./exchange.ts";
import type { FieldView, HeadEdit } from "./fields.ts";
import type { MeshConnection } from "./transport/mesh-dial.ts";

/** The engines by name (design 1). */
export const ENGINES = ["splice", "compat"] as const;

/** The name of an engine. */
export type EngineName = (typeof ENGINES)[number];

/** A connection to an upstream: mutual TLS to a mesh peer, or plain to the app or outside of the mesh. */
export type UpstreamConnection =
  | { readonly kind: "mesh"; readonly mesh: MeshConnection }
  | { readonly kind: "plain"; readonly stream: Duplex };

/** Where a request goes. One object per endpoint and protocol, so that engines may pool by `key`. */
export interface Upstream {
  /** Names the pool: same key, same peer, same identity, same protocol. */
  readonly key: string;
  /** host:port, for logs and for requests that name no host. */
  readonly address: string;
  /** Opens a new connection. Calls back exactly once; the error is a ProtocolError with its reason. */
  dial(done: (error: Error | null, connection: UpstreamConnection | null) => void): void;
}

/** The outcome of the stage list for one request head. */
export type Decision =
  | { readonly kind: "refuse"; readonly refusal: Refusal }
  | {
      readonly kind: "forward";
      readonly upstream: Upstream;
      /**
       * What the engine does with the request body before the head is sent on:
       * `stream` sends at once; `verify` holds the whole body (at most 64 KiB) and asks {@link HttpHandler.checkBody};
       * `sign` holds it for a moment, so that a unary body can be digested, and streams when it does not end.
       */
      readonly body: "stream" | "verify" | "sign";
    };

/** The stage list as an engine sees it. No method throws. */
export interface HttpHandler {
  /** Starts an exchange and runs the stages. `decide` is called exactly once, at once or later. */
  request(connection: ConnectionContext, head: RequestHead, decide: (exchange: Exchange, decision: Decision) => void): void;
  /** Asked for `verify` only, with the whole body; a refusal keeps it from the upstream. */
  checkBody(exchange: Exchange, body: Buffer): Refusal | null;
  /**
   * Called when a connection is taken and before the head is sent: completes `exchange.edit` for this very connection.
   * `connection` is null for HTTP/1.1, which gRPC does not speak; what must be bound to a connection is then refused.
   */
  seal(exchange: Exchange, connection: UpstreamConnection | null, body: Buffer | null): Refusal | null;
  /** The upstream could not be used and nothing was delivered: another upstream to try, or null. */
  another(exchange: Exchange, failure: Refusal): Upstream | null;
  /** The head of the answer: returns what of it is sent on. Sets `exchange.status`. */
  response(exchange: Exchange, status: number, fields: FieldView): HeadEdit;
  /** Trailer fields of a request or an answer, flat: returns those to send on. */
  trailers(fields: readonly string[]): string[];
  /** Bytes that are not a request at all: counted and logged, no exchange was begun. */
  malformed(connection: ConnectionContext, refusal: Refusal): void;
  /** Called exactly once for each exchange, when its last byte is through or it was given up. */
  finish(exchange: Exchange): void;
}

/** An accepted byte stream, its protocol already known; bytes read for detection were put back. */
export interface ServedConnection {
  readonly stream: Duplex;
  readonly context: ConnectionContext;
  readonly handler: HttpHandler;
  /** Explicit capture only: opens a CONNECT tunnel for the authority, or refuses it. */
  readonly tunnel: ((authority: string, client: Duplex, head: Buffer, answer: (refusal: Refusal | null) => void) => void) | null;
}

/** Moves the bytes of HTTP/1.1, upgrades, HTTP/2 and gRPC. */
export interface Engine {
  /** Takes over the stream until it ends. */
  serve(connection: ServedConnection): void;
  /** Tells every client to go elsewhere (GOAWAY, `connection: close`); idle connections end now, busy ones after their last answer. */
  drain(direction: Exchange["direction"]): void;
  /** Destroys what is left and empties the pools. */
  close(): void;
}

/** Largest request body that is held to be digested or verified, in bytes (design 9). */
export const HELD_BODY_BYTES = 64 * 1024;
