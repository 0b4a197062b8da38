// Where the compat engine's HTTP/1.1 requests go: a pool of connections to each upstream, http-proxy that moves request and answer, and what it has to be told to
// do it by the letter.
import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import httpProxy from "http-proxy";
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import { ProtocolError } from "../../core/errors.ts";
import type { ServedConnection, Upstream } from "../engine.ts";
import { type ConnectionContext, type Exchange, type Refusal, refuse } from "../exchange.ts";
import { editedFields, FlatFields } from "../fields.ts";
import { resetStream } from "../transport/reset.ts";
import { failureOf } from "../upstream-failure.ts";
import { headerObject } from "./flat-headers.ts";
import { isBodiless, isSendable, outgoingHeaders, sendableOnly } from "./http1-messages.ts";
import { UpstreamAgent } from "./upstream-agent.ts";

/** Pools kept; the least recently used one is emptied. */
const MAX_POOLS = 4096;

/** A request on its way to an upstream. */
export interface Forwarded {
  readonly connection: ServedConnection;
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly exchange: Exchange;
  /** Its body where it was read before; null: it is still to come. */
  readonly held: Buffer | null;
}

/** Parts of {@link createForwarder}. */
export interface ForwarderParts {
  readonly clock: Clock;
  /** True when the connection ends with the answer. */
  readonly isLeaving: (context: ConnectionContext) => boolean;
  /** Answers with a refusal, or resets where an answer has begun. */
  readonly answer: (connection: ServedConnection, response: ServerResponse, exchange: Exchange, refusal: Refusal) => void;
}

/** Sends requests on. */
export interface Forwarder {
  /** Dials until an endpoint accepts or the stage list has no other to offer. */
  takeConnection(
    connection: ServedConnection,
    exchange: Exchange,
    upstream: Upstream,
    done: (failure: Refusal | null, agent: UpstreamAgent | null) => void,
  ): void;
  /** Sends the request on and its answer back. */
  send(forwarded: Forwarded, agent: UpstreamAgent): void;
  close(): void;
}

/** Makes the forwarder of one engine. */
export function createForwarder({ clock, isLeaving, answer }: ForwarderParts): Forwarder {
  const underWay = new WeakMap<IncomingMessage, Forwarded>();
  const pools = new LRUCache<string, UpstreamAgent>({ max: MAX_POOLS, dispose: (agent) => agent.destroy() });
  const proxy = createProxy();

  function takeConnection(
    connection: ServedConnection,
    exchange: Exchange,
    upstream: Upstream,
    done: (failure: Refusal | null, agent: UpstreamAgent | null) => void,
  ): void {
    const agent = poolFor(upstream);
    agent.prepare((error) => {
      if (error === null) return done(null, agent);
      const failure = failureOf(error);
      const next = connection.handler.another(exchange, failure);
      if (next === null) done(failure, null);
      else takeConnection(connection, exchange, next, done);
    });
  }

  function poolFor(upstream: Upstream): UpstreamAgent {
    let agent = pools.get(upstream.key);
    if (agent === undefined) {
      agent = new UpstreamAgent(upstream, clock);
      pools.set(upstream.key, agent);
    }
    agent.upstream = upstream;
    return agent;
  }

  function send(forwarded: Forwarded, agent: UpstreamAgent, isRetry = false): void {
    const { connection, request, response, exchange, held } = forwarded;
    underWay.set(request, forwarded);
    request.url = exchange.path;
    request.headers = outgoingHeaders(request, exchange) as IncomingMessage["headers"];
    const options = { target: PLACEHOLDER_TARGET, agent, ...(held === null ? {} : { buffer: Readable.from([held]) }) };
    let failed = false;
    proxy.web(request, response, options, (error) => {
      // http-proxy tells of both sides' errors, one after the other; and of the end of a request that was given up.
      if (failed || connection.stream.destroyed || (response.writableEnded && exchange.refusal !== null)) return;
      failed = true;
      const failure = failureOf(error);
      if (response.headersSent) {
        exchange.refusal ??= failure;
        return resetStream(connection.stream);
      }
      if (isRetry || failure.reason !== "upstream_reset" || !isBodiless(request)) return answer(connection, response, exchange, failure);
      takeConnection(connection, exchange, agent.upstream, (refusal, next) => {
        if (connection.stream.destroyed || response.headersSent) return;
        if (next === null) answer(connection, response, exchange, refusal as Refusal);
        else send(forwarded, next, true);
      });
    });
  }

  function createProxy(): httpProxy {
    const created = httpProxy.createProxyServer({});
    // http-proxy sets `content-length: 0` on DELETE and OPTIONS that have a chunked body, which breaks the framing (http-party/node-http-proxy#1263).
    const passes = created as unknown as { webPasses: ReadonlyArray<(...args: unknown[]) => unknown> };
    passes.webPasses = passes.webPasses.filter((pass) => pass.name !== "deleteLength");
    created.on("proxyReq", (proxied, request, response) => {
      // http-proxy writes targets anew: `\\` as `/`, `//` as `/`.
      proxied.path = underWay.get(request)?.exchange.path ?? proxied.path;
      // http-proxy listens for `aborted`, which says nothing about a client that leaves after its request was complete; and a body whose rest was thrown away
      // must not look whole.
      let isAnswered = false;
      proxied.once("response", () => {
        isAnswered = true;
      });
      response.once("close", () => {
        if (!response.writableFinished || !proxied.writableEnded || !isAnswered) proxied.destroy();
      });
      // Without a listener node:http closes the connection and says nothing.
      proxied.once("upgrade", (_answered, upstream) => {
        upstream.destroy();
        proxied.emit("error", new ProtocolError("upstream_reset", "the upstream switched protocols without being asked"));
      });
    });
    created.on("proxyRes", (answered, request) => onAnswer(answered, underWay.get(request)));
    return created;
  }

  function onAnswer(answered: IncomingMessage, forwarded: Forwarded | undefined): void {
    if (forwarded === undefined || forwarded.connection.stream.destroyed || forwarded.response.headersSent) return void answered.destroy();
    const { connection, response, exchange } = forwarded;
    if (!isSendable(answered)) {
      answered.destroy();
      return answer(connection, response, exchange, refuse("upstream_reset", "the answer's head is not HTTP"));
    }
    const answeredFields = new FlatFields(answered.rawHeaders);
    const edit = connection.handler.response(exchange, answered.statusCode ?? 502, answeredFields);
    const keepAliveHint = answered.headers["keep-alive"];
    answered.headers = headerObject(editedFields(answeredFields, edit)) as IncomingMessage["headers"];
    delete answered.headers.trailer; // as in a request
    answered.headers.connection = response.shouldKeepAlive && !isLeaving(connection.context) ? "keep-alive" : "close";
    answered.once("end", () => {
      // The agent reads it from here when it takes the connection back: a pooled one must not be used when the app is about to close it.
      if (keepAliveHint !== undefined) answered.headers["keep-alive"] = keepAliveHint;
      const trailers = sendableOnly(connection.handler.trailers(answered.rawTrailers));
      if (trailers.length > 0 && !response.writableEnded) response.addTrailers(headerObject(trailers) as Record<string, string>);
    });
    answered.once("close", () => {
      if (answered.complete || response.writableFinished) return;
      exchange.refusal ??= refuse("upstream_reset", "the answer ended before it was complete");
      resetStream(connection.stream);
    });
  }

  return { takeConnection, send, close: () => pools.clear() };
}

/** http-proxy needs a target to build a URL from; the agent decides where the bytes really go. */
const PLACEHOLDER_TARGET = { protocol: "http:", host: "upstream", hostname: "upstream", port: "80" } as unknown as string;
