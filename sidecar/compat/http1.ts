// HTTP/1.1 and upgrades of the compat engine: node:http parses what clients send, http-proxy forwards it. Chosen for being well known, not for
// speed: this is the reference that the splice engine is tested against.
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { type Duplex, Readable } from "node:stream";
import httpProxy from "http-proxy";
import { LRUCache } from "lru-cache";
import type { Decision, ServedConnection, Upstream } from "../engine.ts";
import { HELD_BODY_BYTES } from "../engine.ts";
import { type Exchange, type Refusal, type RequestHead, refuse } from "../exchange.ts";
import { answerFor, RESCUE } from "../rescue.ts";
import { resetStream } from "../transport/reset.ts";
import { failureOf } from "./failure.ts";
import { headerObject } from "./flat-headers.ts";
import { holdBody } from "./hold-body.ts";
import { UpstreamAgent } from "./upstream-agent.ts";
import { forwardUpgrade } from "./upgrade.ts";

/** Largest request head, bytes (431 above). */
const MAX_HEAD_BYTES = 64 * 1024;
/** Time for a whole request head, ms (408 above). */
const HEAD_TIMEOUT_MS = 15_000;
/** Idle time of a client's connection, ms; above the idle time of a pooled one on the other side, so that the dialling side closes first. */
const KEEP_ALIVE_MS = 75_000;
/** Pools kept; the least recently used one is emptied. */
const MAX_POOLS = 4096;

type Forward = Extract<Decision, { kind: "forward" }>;

/** The HTTP/1.1 half of the compat engine. */
export interface CompatHttp1 {
  serve(connection: ServedConnection): void;
  drain(direction: Exchange["direction"]): void;
  close(): void;
}

interface Served extends ServedConnection {
  /** Requests begun and not finished. */
  inFlight: number;
}

/** Makes the HTTP/1.1 half. */
export function createCompatHttp1(): CompatHttp1 {
  const served = new Map<Duplex, Served>();
  const draining = new Set<Exchange["direction"]>();
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  const pools = new LRUCache<string, UpstreamAgent>({ max: MAX_POOLS, dispose: (agent) => agent.destroy() });
  const proxy = createProxy();
  const server = createServer(
    {
      maxHeaderSize: MAX_HEAD_BYTES,
      headersTimeout: HEAD_TIMEOUT_MS,
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: 1000,
      // Only WebSocket and its like are tunnelled; an offer of HTTP/2 (RFC 7540's h2c) is ignored, as RFC 9113 section 3.1 asks.
      shouldUpgradeCallback: (request) => !/\bh2c\b/i.test(request.headers.upgrade ?? ""),
    },
    onRequest,
  );
  // The timer that enforces `headersTimeout` is armed by `listening`, which a server that is only given sockets never emits by itself.
  server.emit("listening");
  server.on("upgrade", onUpgrade);
  server.on("connect", onConnect);
  server.on("clientError", onClientError);

  function serve(connection: ServedConnection): void {
    const entry: Served = { ...connection, inFlight: 0 };
    served.set(connection.stream, entry);
    connection.stream.once("close", () => served.delete(connection.stream));
    server.emit("connection", connection.stream);
    connection.stream.resume();
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = served.get(request.socket);
    if (connection === undefined) return void request.socket.destroy();
    connection.inFlight += 1;
    connection.handler.request(connection.context, headOf(request), (exchange, decision) => {
      exchanges.set(request, exchange);
      response.once("close", () => finish(connection, exchange));
      if (decision.kind === "refuse") return answer(connection, response, exchange, decision.refusal);
      if (decision.body !== "verify") return forward(connection, request, response, exchange, decision, null);
      holdBody(request, HELD_BODY_BYTES, (body) => {
        const refusal =
          body === null ? refuse("signature_invalid", "body larger than 64 KiB") : connection.handler.checkBody(exchange, body);
        if (refusal !== null) answer(connection, response, exchange, refusal);
        else forward(connection, request, response, exchange, decision, body);
      });
    });
  }

  function finish(connection: Served, exchange: Exchange): void {
    connection.inFlight -= 1;
    connection.handler.finish(exchange);
    if (draining.has(connection.context.direction) && connection.inFlight === 0) connection.stream.end();
  }

  function forward(
    connection: Served,
    request: IncomingMessage,
    response: ServerResponse,
    exchange: Exchange,
    decision: Forward,
    held: Buffer | null,
  ): void {
    const refusal = connection.handler.seal(exchange, null, held);
    if (refusal !== null) return answer(connection, response, exchange, refusal);
    takeConnection(connection, exchange, decision.upstream, (failure, agent) => {
      if (agent === null) return answer(connection, response, exchange, failure as Refusal);
      if (response.destroyed) return;
      send(connection, request, response, exchange, agent, held, false);
    });
  }

  /** Dials until an endpoint accepts or the stage list has no other to offer. */
  function takeConnection(
    connection: Served,
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
      agent = new UpstreamAgent(upstream);
      pools.set(upstream.key, agent);
    }
    agent.upstream = upstream;
    return agent;
  }

  function send(
    connection: Served,
    request: IncomingMessage,
    response: ServerResponse,
    exchange: Exchange,
    agent: UpstreamAgent,
    held: Buffer | null,
    isRetry: boolean,
  ): void {
    request.url = exchange.path;
    request.headers = outgoingHeaders(request, exchange) as IncomingMessage["headers"];
    const options = { target: PLACEHOLDER_TARGET, agent, ...(held === null ? {} : { buffer: Readable.from([held]) }) };
    proxy.web(request, response, options, (error) => {
      if (response.headersSent) {
        exchange.refusal ??= failureOf(error);
        return resetStream(connection.stream);
      }
      const failure = failureOf(error);
      if (!isRetry && failure.reason === "upstream_reset" && isBodiless(request) && !response.destroyed) {
        return takeConnection(connection, exchange, agent.upstream, (refusal, next) => {
          if (next === null) answer(connection, response, exchange, refusal as Refusal);
          else send(connection, request, response, exchange, next, null, true);
        });
      }
      answer(connection, response, exchange, failure);
    });
  }

  function createProxy(): httpProxy {
    const created = httpProxy.createProxyServer({});
    // http-proxy sets `content-length: 0` on DELETE and OPTIONS that have a chunked body, which breaks the framing (http-party/node-http-proxy#1263).
    const passes = created as unknown as { webPasses: ReadonlyArray<(...args: unknown[]) => unknown> };
    passes.webPasses = passes.webPasses.filter((pass) => pass.name !== "deleteLength");
    created.on("proxyReq", (proxied, _request, response) => {
      // http-proxy listens for `aborted`, which says nothing about a client that leaves after its request was complete.
      response.once("close", () => {
        if (!response.writableFinished) proxied.destroy();
      });
    });
    created.on("proxyRes", (answered, request, response) => onUpstreamResponse(answered, request, response as ServerResponse));
    return created;
  }

  function onUpstreamResponse(answered: IncomingMessage, request: IncomingMessage, response: ServerResponse): void {
    const connection = served.get(request.socket);
    const exchange = exchanges.get(request);
    if (connection === undefined || exchange === undefined) return void answered.destroy();
    const fields = connection.handler.response(exchange, answered.statusCode ?? 502, answered.rawHeaders);
    answered.headers = headerObject(fields) as IncomingMessage["headers"];
    answered.headers.connection = response.shouldKeepAlive && !draining.has(connection.context.direction) ? "keep-alive" : "close";
    answered.once("end", () => {
      if (answered.rawTrailers.length > 0) response.addTrailers(headerObject(answered.rawTrailers) as Record<string, string>);
    });
    answered.once("close", () => {
      if (answered.complete || response.writableFinished) return;
      exchange.refusal ??= refuse("upstream_reset", "the answer ended before it was complete");
      resetStream(connection.stream);
    });
  }

  function answer(connection: Served, response: ServerResponse, exchange: Exchange, refusal: Refusal): void {
    exchange.refusal = refusal;
    if (response.headersSent || response.destroyed) return resetStream(connection.stream);
    const answered = answerFor(refusal.reason, [...refusal.headers, ...exchange.answerHeaders], {
      grpc: exchange.grpc,
      told: connection.context.peer.told,
    });
    exchange.status = answered.status;
    const close = RESCUE[refusal.reason].close || draining.has(connection.context.direction);
    if (close) answered.headers.push("connection", "close");
    response.writeHead(answered.status, answered.headers);
    response.end(exchange.method === "HEAD" ? undefined : answered.body);
  }

  function onUpgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const connection = served.get(socket);
    if (connection === undefined) return void socket.destroy();
    connection.inFlight += 1;
    connection.handler.request(connection.context, headOf(request), (exchange, decision) => {
      socket.once("close", () => finish(connection, exchange));
      const give = (refusal: Refusal) => answerRaw(connection, exchange, refusal);
      if (decision.kind === "refuse") return give(decision.refusal);
      const refusal =
        decision.body === "verify"
          ? refuse("bad_request", "a signed request cannot upgrade")
          : connection.handler.seal(exchange, null, null);
      if (refusal !== null) return give(refusal);
      takeConnection(connection, exchange, decision.upstream, (failure, agent) => {
        if (agent === null) return give(failure as Refusal);
        const { upgrade } = request.headers;
        request.url = exchange.path;
        request.headers = { ...headerObject(exchange.headers), connection: "Upgrade", upgrade } as IncomingMessage["headers"];
        forwardUpgrade({ request, socket, head, agent, exchange, handler: connection.handler, fail: give });
      });
    });
  }

  function onConnect(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const connection = served.get(socket);
    if (connection === undefined) return void socket.destroy();
    const authority = request.url ?? "";
    const give = (refusal: Refusal) => {
      connection.handler.malformed(connection.context, refusal);
      writeRaw(socket, refusal, connection.context.peer.told);
    };
    if (connection.tunnel === null) return give(refuse("bad_request", `CONNECT ${authority} is not served here`));
    connection.tunnel(authority, socket, head, (refusal) => {
      if (refusal !== null) give(refusal);
      else socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    });
  }

  /** Answers a request whose socket node:http has let go of. */
  function answerRaw(connection: Served, exchange: Exchange, refusal: Refusal): void {
    exchange.refusal = refusal;
    exchange.status = RESCUE[refusal.reason].status;
    writeRaw(connection.stream, refusal, connection.context.peer.told, exchange.answerHeaders);
  }

  function onClientError(error: Error & { code?: string }, socket: Duplex): void {
    const connection = served.get(socket);
    const reason =
      error.code === "HPE_HEADER_OVERFLOW" ? "header_too_large" : error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? "timeout" : "bad_request";
    const refusal = refuse(reason, `${error.code ?? "unknown"}: ${error.message}`);
    // ECONNRESET is a client that left, not one that misbehaved.
    if (error.code === "ECONNRESET" || connection === undefined) return void socket.destroy();
    connection.handler.malformed(connection.context, refusal);
    if (connection.inFlight > 0 || !socket.writable) return resetStream(socket);
    writeRaw(socket, refusal, connection.context.peer.told, [], reason === "timeout" ? 408 : RESCUE[reason].status);
  }

  function drain(direction: Exchange["direction"]): void {
    draining.add(direction);
    for (const [stream, connection] of served) {
      if (connection.context.direction === direction && connection.inFlight === 0) stream.end();
    }
  }

  function close(): void {
    for (const stream of served.keys()) stream.destroy();
    pools.clear();
    server.close();
  }

  return { serve, drain, close };
}

/** http-proxy needs a target to build a URL from; the agent decides where the bytes really go. */
const PLACEHOLDER_TARGET = { protocol: "http:", host: "upstream", hostname: "upstream", port: "80" } as unknown as string;

const ABSOLUTE_FORM = /^https?:\/\/([^/?#]+)(.*)$/i;

/** Method, authority and path of a request; an absolute-form target wins over Host (RFC 9112 section 3.2.2). */
function headOf(request: IncomingMessage): RequestHead {
  const target = request.url ?? "/";
  const absolute = ABSOLUTE_FORM.exec(target);
  const method = request.method ?? "GET";
  if (absolute === null) return { method, authority: request.headers.host ?? "", path: target, headers: request.rawHeaders };
  const [, authority, rest] = absolute as unknown as [string, string, string];
  return { method, authority, path: rest.startsWith("/") ? rest : `/${rest}`, headers: request.rawHeaders };
}

/** What http-proxy sends on. The framing is as the request came: hygiene has taken `transfer-encoding` off. */
function outgoingHeaders(request: IncomingMessage, exchange: Exchange): Record<string, string | string[]> {
  const headers = headerObject(exchange.headers);
  headers.host = exchange.authority;
  if (request.headers["transfer-encoding"] !== undefined) headers["transfer-encoding"] = "chunked";
  return headers;
}

function isBodiless(request: IncomingMessage): boolean {
  const { method, headers } = request;
  const safe = method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE";
  return safe && headers["content-length"] === undefined && headers["transfer-encoding"] === undefined;
}

/** Writes a refusal onto a bare socket and ends it. */
function writeRaw(
  socket: Duplex,
  refusal: Refusal,
  told: boolean,
  extra: readonly string[] = [],
  status = RESCUE[refusal.reason].status,
): void {
  const { headers, body } = answerFor(refusal.reason, [...refusal.headers, ...extra], { grpc: false, told });
  let text = `HTTP/1.1 ${status} ${RESCUE[refusal.reason].text}\r\nconnection: close\r\n`;
  for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
  (socket as Socket).end(`${text}\r\n${body}`);
}
