// HTTP/2 and gRPC of the compat engine, on node:http2: each stream of a client becomes one stream on a pooled upstream connection, so that every
// request is balanced, signed and counted on its own. Trailers, resets and half-closes are passed on in both directions.
import {
  type ClientHttp2Stream,
  constants,
  type IncomingHttpHeaders,
  performServerHandshake,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import { type Decision, HELD_BODY_BYTES, type ServedConnection, type Upstream } from "../engine.ts";
import { type ConnectionContext, type Exchange, type Refusal, refuse } from "../exchange.ts";
import { editedFields, FlatFields } from "../fields.ts";
import { noteGrpcStatus } from "../grpc-status.ts";
import { answerFor } from "../rescue.ts";
import { failureOf, refusedUnseen } from "../upstream-failure.ts";
import { holdBody } from "./hold-body.ts";
import { headOf, requestFields, withoutPseudo } from "./http2-messages.ts";
import { carry, isGone, isOver, sendTrailers } from "./http2-streams.ts";
import { peekBody } from "./peek-body.ts";
import { CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, type UpstreamSession, UpstreamSessions } from "./upstream-sessions.ts";

/** Streams that one client may have open. */
const MAX_CONCURRENT_STREAMS = 1000;
/** Largest header list, bytes, and most fields (design 13, issue on floods). */
const MAX_HEADER_LIST_BYTES = 64 * 1024;
const MAX_HEADER_PAIRS = 200;
/** Pools kept; the least recently used one is closed. */
const MAX_POOLS = 4096;
/** How long the end of a request body is waited for, so that a unary message can be digested (design 9), ms. */
const UNARY_WAIT_MS = 2;

/** How long a client may go on with its request after the whole answer, ms. */
const ANSWERED_MS = 2_000;
/** How long the rest of a refused request is read and thrown away before its stream is reset, ms. */
const DISCARD_MS = 100;

const { NGHTTP2_CANCEL, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM, NGHTTP2_INTERNAL_ERROR } = constants;
const HEADERS_FRAME = 1;
const END_STREAM_FLAG = constants.NGHTTP2_FLAG_END_STREAM;

type Forward = Extract<Decision, { kind: "forward" }>;

/** A request body that was held or looked into before its head is sent. */
interface Body {
  /** What was read already. */
  readonly read: Buffer | null;
  /** True when `read` is all of it. */
  readonly complete: boolean;
}

/** What may become of a request that was sent in vain. */
interface SendAgain {
  /** The upstream has not looked at it (RFC 9113 section 8.7). */
  refused(reset: Refusal): void;
  /** It was answered: true when the answer is to be forgotten, as the request is sent again. */
  failed(status: number, fields: FlatFields): boolean;
}

/** The HTTP/2 half of the compat engine. */
export interface CompatHttp2 {
  serve(connection: ServedConnection): void;
  drain(direction: Exchange["direction"]): void;
  retire(context: ConnectionContext): void;
  close(): void;
}

/** Makes the HTTP/2 half. */
export function createCompatHttp2(clock: Clock): CompatHttp2 {
  const sessions = new Map<ServerHttp2Session, ServedConnection>();
  const pools = new LRUCache<string, UpstreamSessions>({ max: MAX_POOLS, dispose: (pool) => pool.destroy() });

  function serve(connection: ServedConnection): void {
    const session = performServerHandshake(connection.stream, {
      settings: {
        maxConcurrentStreams: MAX_CONCURRENT_STREAMS,
        initialWindowSize: STREAM_WINDOW_BYTES,
        maxHeaderListSize: MAX_HEADER_LIST_BYTES,
      },
      maxHeaderListPairs: MAX_HEADER_PAIRS,
    });
    sessions.set(session, connection);
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.on("error", (error) => {
      if ((error as NodeJS.ErrnoException).code === "ECONNRESET") return;
      connection.handler.malformed(connection.context, refuse("bad_request", error.message));
    });
    // Our sockets may be half-open, which HTTP/2 cannot be: a client that has ended is gone.
    connection.stream.once("end", () => connection.stream.destroy());
    session.once("close", () => sessions.delete(session));
    session.on("stream", (stream, _headers, flags, ...rest) => {
      const raw = rest[0] as unknown as string[];
      onStream(connection, stream, (flags & END_STREAM_FLAG) !== 0, raw);
    });
  }

  function onStream(connection: ServedConnection, stream: ServerHttp2Stream, bodiless: boolean, raw: readonly string[]): void {
    stream.on("error", () => {});
    const head = headOf(raw);
    connection.handler.request(connection.context, head, (exchange, decision) => {
      let finished = false;
      const finish = () => {
        if (finished) return;
        finished = true;
        connection.handler.finish(exchange);
      };
      stream.once("close", finish);
      exchange.giveUp = (refusal) => answer(connection, stream, exchange, refusal);
      if (exchange.idleTimeoutMs > 0) stream.setTimeout(exchange.idleTimeoutMs, () => exchange.giveUp?.(idle(exchange)));
      // The client may have left while the stages were waiting for a look-up.
      if (stream.destroyed) finish();
      if (isGone(stream)) return;
      if (decision.kind === "refuse") return answer(connection, stream, exchange, decision.refusal);
      const next = (body: Body) => forward(connection, stream, exchange, decision, body);
      if (bodiless) return checked(connection, stream, exchange, decision, { read: EMPTY, complete: true }, next);
      if (decision.body === "stream") return next({ read: null, complete: false });
      if (decision.body === "sign") {
        const options = { maxBytes: HELD_BODY_BYTES, waitMs: UNARY_WAIT_MS, clock, isCutOff: () => isGone(stream) };
        return peekBody(stream, options, (read, complete) => next({ read, complete }));
      }
      holdBody(stream, HELD_BODY_BYTES, (held) => {
        if (isGone(stream)) return;
        if (held === null) answer(connection, stream, exchange, refuse("signature_invalid", "body larger than 64 KiB"));
        else checked(connection, stream, exchange, decision, { read: held, complete: true }, next);
      });
    });
  }

  function checked(
    connection: ServedConnection,
    stream: ServerHttp2Stream,
    exchange: Exchange,
    decision: Forward,
    body: Body,
    next: (body: Body) => void,
  ): void {
    const refusal = decision.body === "verify" ? connection.handler.checkBody(exchange, body.read as Buffer) : null;
    if (refusal !== null) answer(connection, stream, exchange, refusal);
    else next(body);
  }

  function forward(connection: ServedConnection, stream: ServerHttp2Stream, exchange: Exchange, decision: Forward, body: Body): void {
    attempt(decision.upstream);

    function attempt(upstream: Upstream): void {
      takeSession(connection, exchange, upstream, (failure, taken) => {
        if (isOver(stream, exchange)) return;
        if (taken === null) return answer(connection, stream, exchange, failure as Refusal);
        const refusal = connection.handler.seal(exchange, taken.connection, body.complete ? body.read : null);
        if (refusal !== null) return answer(connection, stream, exchange, refusal);
        send(connection, stream, exchange, taken, body, { refused, failed });
      });
    }

    function refused(reset: Refusal): void {
      const next = body.complete ? connection.handler.another(exchange, reset) : null;
      if (next === null) answer(connection, stream, exchange, refusedUnseen(reset));
      else attempt(next);
    }

    function failed(status: number, fields: FlatFields): boolean {
      const retry = body.complete ? connection.handler.retryAnswer(exchange, status, fields) : null;
      if (retry === null) return false;
      if (retry.afterMs === 0) attempt(retry.upstream);
      else clock.after(retry.afterMs, () => void (isOver(stream, exchange) || attempt(retry.upstream)));
      return true;
    }
  }

  /** Dials until an endpoint accepts or the stage list has no other to offer. */
  function takeSession(
    connection: ServedConnection,
    exchange: Exchange,
    upstream: Upstream,
    done: (failure: Refusal | null, taken: UpstreamSession | null) => void,
  ): void {
    let pool = pools.get(upstream.key);
    if (pool === undefined) {
      pool = new UpstreamSessions(upstream, clock);
      pools.set(upstream.key, pool);
    }
    pool.upstream = upstream;
    pool.take((error, taken) => {
      if (error === null) return done(null, taken);
      const failure = failureOf(error);
      const next = connection.handler.another(exchange, failure);
      if (next === null) done(failure, null);
      else takeSession(connection, exchange, next, done);
    });
  }

  function send(
    connection: ServedConnection,
    stream: ServerHttp2Stream,
    exchange: Exchange,
    taken: UpstreamSession,
    body: Body,
    again: SendAgain,
  ): void {
    const endStream = body.complete && (body.read?.length ?? 0) === 0;
    let upstream: ClientHttp2Stream;
    try {
      upstream = taken.session.request(requestFields(exchange) as unknown as IncomingHttpHeaders, {
        endStream,
        waitForTrailers: !endStream,
      });
    } catch (error) {
      if (taken.session.closed || taken.session.destroyed) return again.refused(failureOf(error as Error));
      return answer(connection, stream, exchange, refuse("bad_request", `the request cannot be passed on: ${(error as Error).message}`));
    }
    taken.streams += 1;
    upstream.once("close", () => {
      taken.streams -= 1;
    });
    if (!endStream) sendBody(connection, stream, upstream, body);
    passAnswer(connection, stream, upstream, exchange, again);
  }

  function passAnswer(
    connection: ServedConnection,
    stream: ServerHttp2Stream,
    upstream: ClientHttp2Stream,
    exchange: Exchange,
    again: SendAgain,
  ): void {
    let isDropped = false;
    let answered = false;
    let isUnsent = false;
    let trailers: string[] = [];
    upstream.on("headers", (headers) => {
      if (isGone(stream) || stream.headersSent) return;
      try {
        stream.additionalHeaders(headers);
      } catch {
        // An informational answer that node:http2 will not send is only missed.
      }
    });
    upstream.once("response", (headers, flags, ...rest) => {
      const raw = (rest[0] ?? []) as unknown as string[];
      answered = true;
      if (isOver(stream, exchange)) return upstream.close(NGHTTP2_CANCEL);
      const status = headers[":status"] ?? 502;
      const fields = new FlatFields(withoutPseudo(raw));
      isDropped = again.failed(status, fields);
      if (isDropped) return upstream.close(NGHTTP2_CANCEL);
      const edit = connection.handler.response(exchange, status, fields);
      const endStream = (flags & END_STREAM_FLAG) !== 0;
      try {
        stream.respond([":status", String(status), ...editedFields(fields, edit)] as unknown as IncomingHttpHeaders, {
          endStream,
          waitForTrailers: !endStream,
        });
      } catch (error) {
        // Node takes fields that it will not send, such as two content-types (ERR_HTTP2_HEADER_SINGLE_VALUE).
        upstream.close(NGHTTP2_CANCEL);
        return answer(
          connection,
          stream,
          exchange,
          refuse("upstream_reset", `the answer cannot be passed on: ${(error as Error).message}`),
        );
      }
      if (endStream) return endRequest(stream);
      stream.once("wantTrailers", () => sendTrailers(stream, trailers));
      stream.once("finish", () => endRequest(stream));
      carry(upstream, stream);
    });
    upstream.once("trailers", (_headers, _flags, ...rest) => {
      if (isDropped) return;
      trailers = connection.handler.trailers((rest[0] ?? []) as unknown as string[]);
      noteGrpcStatus(exchange, trailers);
    });
    upstream.on("error", () => {});
    upstream.on("frameError", (type) => {
      if (type === HEADERS_FRAME) isUnsent = true;
    });
    upstream.once("close", () => {
      if (isDropped || exchange.refusal !== null) return;
      if (answered && upstream.rstCode === NGHTTP2_NO_ERROR) {
        // It wants no more of the request: what still comes has nowhere to go.
        if (!stream.destroyed) stream.resume();
        return;
      }
      const reset = refuse("upstream_reset", `stream closed with code ${upstream.rstCode}`);
      if (!answered && isGone(stream)) return;
      if (!answered && (isUnsent || upstream.rstCode === NGHTTP2_REFUSED_STREAM)) return again.refused(reset);
      if (!answered) return answer(connection, stream, exchange, reset);
      if (isGone(stream) || stream.writableFinished) return;
      exchange.refusal ??= reset;
      stream.close(upstream.rstCode === NGHTTP2_NO_ERROR ? NGHTTP2_INTERNAL_ERROR : upstream.rstCode);
    });
    stream.once("close", () => {
      if (!upstream.closed && !upstream.destroyed) upstream.close(stream.rstCode === NGHTTP2_NO_ERROR ? NGHTTP2_CANCEL : stream.rstCode);
    });
  }

  function answer(connection: ServedConnection, stream: ServerHttp2Stream, exchange: Exchange, refusal: Refusal): void {
    if (isGone(stream)) return;
    exchange.refusal = refusal;
    if (stream.headersSent) return stream.close(refusal.reason === "timeout" ? NGHTTP2_CANCEL : NGHTTP2_INTERNAL_ERROR);
    const told = connection.context.peer.told;
    const { status, headers, body } = answerFor(refusal, {
      grpc: exchange.grpc,
      told,
    });
    exchange.status = status;
    noteGrpcStatus(exchange, headers);
    const bodiless = body === "" || exchange.method === "HEAD";
    stream.respond([":status", String(status), ...headers] as unknown as IncomingHttpHeaders, { endStream: bodiless });
    if (!bodiless) stream.end(body);
    discardRest(stream);
  }

  /** The rest of the request is not wanted (RFC 9113 section 8.1). Not reset at once: nghttp2 drops an answer that is still queued behind a reset. */
  function discardRest(stream: ServerHttp2Stream): void {
    stream.resume();
    const timer = clock.after(DISCARD_MS, () => stream.close(NGHTTP2_NO_ERROR));
    stream.once("close", () => timer.cancel());
  }

  /** The answer is through; a client that goes on sending after it is given a moment, so that its stream cannot stay for ever. */
  function endRequest(stream: ServerHttp2Stream): void {
    if (stream.readableEnded || stream.destroyed) return;
    const timer = clock.after(ANSWERED_MS, () => stream.close(NGHTTP2_NO_ERROR));
    stream.once("close", () => timer.cancel());
  }

  function drain(direction: Exchange["direction"]): void {
    for (const [session, connection] of sessions) if (connection.context.direction === direction) session.close();
  }

  function retire(context: ConnectionContext): void {
    for (const [session, connection] of sessions) if (connection.context === context) session.close();
  }

  function close(): void {
    for (const session of sessions.keys()) session.destroy(undefined, NGHTTP2_REFUSED_STREAM);
    pools.clear();
  }

  return { serve, drain, retire, close };
}

const EMPTY = Buffer.alloc(0);

/** Sends what was read of the body, then the rest as it comes, then the trailers. */
function sendBody(connection: ServedConnection, stream: ServerHttp2Stream, upstream: ClientHttp2Stream, body: Body): void {
  let trailers: string[] = [];
  stream.once("trailers", (_headers, _flags, ...rest) => {
    trailers = connection.handler.trailers((rest[0] ?? []) as unknown as string[]);
  });
  upstream.once("wantTrailers", () => sendTrailers(upstream, trailers));
  if (body.read !== null && body.read.length > 0) upstream.write(body.read);
  if (body.complete) upstream.end();
  else carry(stream, upstream);
}

function idle({ idleTimeoutMs }: Exchange): Refusal {
  return refuse("timeout", `nothing moved for ${idleTimeoutMs} ms`);
}
