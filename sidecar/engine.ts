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
  /** What it speaks, where that is not what the client speaks: then the engine translates. Default: the client's protocol. */
  readonly protocol?: "http1" | "http2";
  /** True where what is dialled may turn out to be a trunk: its pool dials one at a time. Default: false. */
  readonly mayBeTrunk?: boolean;
  /** Opens a new connection. Calls back exactly once; the error is a ProtocolError with its reason. */
  dial(done: (error: Error | null, connection: UpstreamConnection | null) => void): void;
  /** A connection to it was cut off, as with {@link HttpHandler.flooded}. Default: nobody is told. */
  readonly flooded?: (kind: string) => void;
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
       * `sign` holds it for a moment (at most 64 KiB), so that a unary body can be digested, or sent again, and streams when it does not end.
       * What may be sent again is bounded by this: a body that streams is gone once it was sent.
       */
      readonly body: "stream" | "verify" | "sign";
    };

/** What happens to a request whose answer is not passed on. */
export interface Retry {
  /** Where it goes next; charged already. */
  readonly upstream: Upstream;
  /** How long the engine waits before it takes a connection, ms; 0 unless the server asked for it (`grpc-retry-pushback-ms`), at most 10 000. */
  readonly afterMs: number;
}

/** The stage list as an engine sees it. No method throws. */
export interface HttpHandler {
  /** Starts an exchange and runs the stages. `decide` is called exactly once, at once or later. */
  request(connection: ConnectionContext, head: RequestHead, decide: (exchange: Exchange, decision: Decision) => void): void;
  /** Asked for `verify` only, with the whole body; a refusal keeps it from the upstream. */
  checkBody(exchange: Exchange, body: Buffer): Refusal | null;
  /**
   * Called when a connection is taken and before the head is sent: completes `exchange.edit` for this very connection.
   * `connection` is null for HTTP/1.1, which gRPC does not speak; what must be bound to a connection is then refused. Called again for each further
   * attempt, it takes back what it had added for the one before.
   */
  seal(exchange: Exchange, connection: UpstreamConnection | null, body: Buffer | null): Refusal | null;
  /**
   * The upstream has processed nothing of the request: it could not be connected to, it refused the stream (REFUSED_STREAM, RFC 9113 section 8.7), or its
   * GOAWAY left the stream out. Gives another upstream to try, which may be the same one, or null: then `failure` is answered. Asked only while the whole
   * request can still be sent; how often and whether at all is decided here, for both directions.
   */
  another(exchange: Exchange, failure: Refusal): Upstream | null;
  /**
   * The head of a final answer came, and nothing but 1xx was sent to the client: is the request to be sent again instead? Asked before `response`, and only
   * while the whole request can still be sent: it had no body, or the body is held. Null: pass the answer on. Otherwise the engine forgets the answer (CANCEL for
   * a stream that goes on), waits `afterMs` and continues as after {@link another}: a connection, `seal`, the head. The wait, too, ends with `exchange.giveUp` and with
   * the client. Costs two comparisons for an answer of status below 500 without `grpc-status` and `x-remora-*` in its head.
   */
  retryAnswer(exchange: Exchange, status: number, fields: FieldView): Retry | null;
  /** The head of the answer: returns what of it is sent on. Sets `exchange.status`, and `exchange.grpcStatus` of a trailers-only answer. */
  response(exchange: Exchange, status: number, fields: FieldView): HeadEdit;
  /**
   * Trailer fields of a request or an answer, flat: returns those to send on. The engine itself sets `exchange.grpcStatus` from those of an answer, by
   * `noteGrpcStatus` of grpc-status.ts, before it calls `finish`.
   */
  trailers(fields: readonly string[]): string[];
  /** Bytes that are not a request at all: counted and logged, no exchange was begun. */
  malformed(connection: ConnectionContext, refusal: Refusal): void;
  /** The connection was cut off for more frames of one kind than its requests warrant; `malformed` has told it already. The kinds are those of flood-guard.ts. */
  flooded(connection: ConnectionContext, kind: string): void;
  /** Called exactly once for each exchange, when its last byte is through or it was given up. Its deadline is over with it. */
  finish(exchange: Exchange): void;
}

/** An accepted byte stream, its protocol already known; bytes read for detection were put back. */
export interface ServedConnection {
  readonly stream: Duplex;
  /** True for a trunk: HTTP/2 whose streams are connections of HTTP/1.1, all of this context. Only where the engine {@link Engine.knowsTrunks}. Default: false. */
  readonly isTrunk?: boolean;
  readonly context: ConnectionContext;
  readonly handler: HttpHandler;
  /** Explicit capture only: opens a CONNECT tunnel for the authority, or refuses it. */
  readonly tunnel: ((authority: string, client: Duplex, head: Buffer, answer: (refusal: Refusal | null) => void) => void) | null;
}

/** Moves the bytes of HTTP/1.1, upgrades, HTTP/2 and gRPC. */
export interface Engine {
  /** True when it can carry connections of HTTP/1.1 over trunks, and be called by them. */
  readonly knowsTrunks: boolean;
  /** Takes over the stream until it ends. */
  serve(connection: ServedConnection): void;
  /** Tells every client to go elsewhere (GOAWAY, `connection: close`); idle connections end now, busy ones after their last answer. */
  drain(direction: Exchange["direction"]): void;
  /** As {@link drain} for one connection, whose `isRetired` is set already. */
  retire(context: ConnectionContext): void;
  /** Destroys what is left and empties the pools. */
  close(): void;
}

/** An engine for one version of HTTP. */
export type EngineHalf = Omit<Engine, "knowsTrunks">;

/** Largest request body that is held to be digested or verified, in bytes (design 9). */
export const HELD_BODY_BYTES = 64 * 1024;
