// HTTP/1.1 and upgrades of the compat engine: node:http parses what clients send, http-proxy forwards it. Chosen for being well known, not for
// speed: this is the reference that the splice engine is tested against.
import { createServer, type IncomingMessage, STATUS_CODES, type ServerResponse, validateHeaderName, validateHeaderValue } from "node:http";
import { type Duplex, Readable } from "node:stream";
import httpProxy from "http-proxy";
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import { ProtocolError } from "../../core/errors.ts";
import type { Decision, ServedConnection, Upstream } from "../engine.ts";
import { HELD_BODY_BYTES } from "../engine.ts";
import { type Exchange, type Refusal, type RequestHead, refuse } from "../exchange.ts";
import { editedFields, FlatFields } from "../fields.ts";
import { answerFor, RESCUE } from "../rescue.ts";
import { resetStream } from "../transport/reset.ts";
import { failureOf } from "../upstream-failure.ts";
import { headerObject } from "./flat-headers.ts";
import { holdBody } from "./hold-body.ts";
import { endSoon } from "../transport/linger.ts";
import { UpstreamAgent } from "./upstream-agent.ts";
import { forwardUpgrade } from "./upgrade.ts";

/** Largest request head, bytes (431 above). */
const MAX_HEAD_BYTES = 64 * 1024;
/** Time for a whole request head, ms (408 above). */
const HEAD_TIMEOUT_MS = 15_000;
/** How often the time of heads is looked at, ms. */
const CHECK_INTERVAL_MS = 1_000;
/** Idle time of a client's connection, ms; above the idle time of a pooled one on the other side, so that the dialling side closes first. */
const KEEP_ALIVE_MS = 75_000;
/** How long the rest of a body is read after its request was answered, ms. */
const DISCARD_MS = 5_000;
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
  /** How each of them that is decided is finished; what is left when the connection closes ends with it. */
  readonly open: Set<() => void>;
  /** Pipelined requests that wait for the answer before theirs; few, as reading stops while there are any. */
  readonly waiting: Array<() => void>;
  /** True once it was answered for the last time, whatever still comes. */
  isOver: boolean;
}

/** Makes the HTTP/1.1 half. */
export function createCompatHttp1(clock: Clock, options: { readonly headTimeoutMs?: number } = {}): CompatHttp1 {
  const served = new Map<Duplex, Served>();
  const draining = new Set<Exchange["direction"]>();
  const exchanges = new WeakMap<IncomingMessage, Exchange>();
  const pools = new LRUCache<string, UpstreamAgent>({ max: MAX_POOLS, dispose: (agent) => agent.destroy() });
  const proxy = createProxy();
  const server = createServer(
    {
      maxHeaderSize: MAX_HEAD_BYTES,
      headersTimeout: options.headTimeoutMs ?? HEAD_TIMEOUT_MS,
      requestTimeout: 0,
      keepAliveTimeout: KEEP_ALIVE_MS,
      connectionsCheckingInterval: Math.min(CHECK_INTERVAL_MS, options.headTimeoutMs ?? CHECK_INTERVAL_MS),
      // Only WebSocket and its like are tunnelled; an offer of HTTP/2 (RFC 7540's h2c) is ignored, as RFC 9113 section 3.1 asks.
      shouldUpgradeCallback: (request) => !/\bh2c\b/i.test(request.headers.upgrade ?? "") && !hasBody(request),
    },
    onRequest,
  );
  // The timer that enforces `headersTimeout` is armed by `listening`, which a server that is only given sockets never emits by itself.
  server.emit("listening");
  // Answered with 100 only when the stages let the request pass, so that a refused body is not asked for (RFC 9110 section 10.1.1).
  server.on("checkContinue", onRequest);
  server.on("upgrade", onUpgrade);
  server.on("connect", onConnect);
  server.on("clientError", onClientError);

  function serve(connection: ServedConnection): void {
    const entry: Served = { ...connection, inFlight: 0, open: new Set(), waiting: [], isOver: false };
    served.set(connection.stream, entry);
    connection.stream.once("close", () => {
      served.delete(connection.stream);
      // Answers that wait behind another one never hear of it from node:http.
      for (const finish of [...entry.open]) finish();
    });
    server.emit("connection", connection.stream);
    connection.stream.resume();
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const connection = served.get(request.socket);
    if (connection === undefined) return void request.socket.destroy();
    response.on("error", () => resetStream(connection.stream));
    if (connection.inFlight === 0) return begin(connection, request, response);
    connection.waiting.push(() => begin(connection, request, response));
    connection.stream.pause();
  }

  /** One at a time: answers go out in order anyway, and a client that pipelines must not open a connection for each of its requests. */
  function beginNext(connection: Served): void {
    const next = connection.waiting.shift();
    // One that was answered for the last time takes no more.
    if (next === undefined || !connection.stream.writable) return;
    if (connection.waiting.length === 0) connection.stream.resume();
    next();
  }

  function begin(connection: Served, request: IncomingMessage, response: ServerResponse): void {
    const flaw = flawOf(request);
    if (flaw !== null) return answerFlawed(connection, flaw);
    connection.inFlight += 1;
    connection.handler.request(connection.context, headOf(request), (exchange, decision) => {
      exchanges.set(request, exchange);
      if (!isOpenFor(connection, exchange, response)) return;
      // Before node:http hears of it, which would throw away what is left and then end the pipe: the app would take a part for the whole.
      response.prependOnceListener("finish", () => discardRest(connection, request));
      exchange.giveUp = (refusal) => giveUp(connection, response, exchange, refusal);
      if (exchange.idleTimeoutMs > 0)
        response.setTimeout(exchange.idleTimeoutMs, () =>
          exchange.giveUp?.(refuse("timeout", `nothing moved for ${exchange.idleTimeoutMs} ms`)),
        );
      if (decision.kind === "refuse") return answer(connection, response, exchange, decision.refusal);
      if (request.headers.expect !== undefined) response.writeContinue();
      if (decision.body !== "verify") return forward(connection, request, response, exchange, decision, null);
      holdBody(request, HELD_BODY_BYTES, (body) => {
        if (connection.stream.destroyed) return;
        const refusal =
          body === null ? refuse("signature_invalid", "body larger than 64 KiB") : connection.handler.checkBody(exchange, body);
        if (refusal !== null) answer(connection, response, exchange, refusal);
        else forward(connection, request, response, exchange, decision, body);
      });
    });
  }

  /** Sees to it that the exchange is finished exactly once, when `ended` closes or the connection does. False when that is now. */
  function isOpenFor(connection: Served, exchange: Exchange, ended: ServerResponse | Duplex): boolean {
    function finish(): void {
      if (!connection.open.delete(finish)) return;
      connection.inFlight -= 1;
      connection.handler.finish(exchange);
      if (draining.has(connection.context.direction) && connection.inFlight === 0) endSoon(connection.stream, clock);
      else beginNext(connection);
    }
    connection.open.add(finish);
    ended.once("close", finish);
    // The client may have left while the stages were waiting for a look-up.
    if (connection.stream.destroyed) finish();
    return !connection.stream.destroyed;
  }

  /** An answer that came before the whole body: the rest is read and thrown away for a moment, so that the connection can go on. */
  function discardRest(connection: Served, request: IncomingMessage): void {
    if (request.readableEnded) return;
    request.unpipe();
    request.resume();
    if (request.complete) return;
    const timer = clock.after(DISCARD_MS, () => resetStream(connection.stream));
    request.once("end", () => timer.cancel());
    request.once("close", () => timer.cancel());
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
      if (agent === null) return giveUp(connection, response, exchange, failure as Refusal);
      if (connection.stream.destroyed || response.headersSent) return;
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
      agent = new UpstreamAgent(upstream, clock);
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
    let failed = false;
    proxy.web(request, response, options, (error) => {
      // http-proxy tells of both sides' errors, one after the other; and of the end of a request that was given up.
      if (failed || connection.stream.destroyed || (response.writableEnded && exchange.refusal !== null)) return;
      failed = true;
      if (response.headersSent) {
        exchange.refusal ??= failureOf(error);
        return resetStream(connection.stream);
      }
      const failure = failureOf(error);
      if (!isRetry && failure.reason === "upstream_reset" && isBodiless(request)) {
        return takeConnection(connection, exchange, agent.upstream, (refusal, next) => {
          if (connection.stream.destroyed || response.headersSent) return;
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
    created.on("proxyReq", (proxied, request, response) => {
      // http-proxy writes targets anew: `\\` as `/`, `//` as `/`.
      proxied.path = exchanges.get(request)?.path ?? proxied.path;
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
    created.on("proxyRes", (answered, request, response) => onUpstreamResponse(answered, request, response as ServerResponse));
    return created;
  }

  function onUpstreamResponse(answered: IncomingMessage, request: IncomingMessage, response: ServerResponse): void {
    const connection = served.get(request.socket);
    const exchange = exchanges.get(request);
    if (connection === undefined || exchange === undefined || response.headersSent) return void answered.destroy();
    if (!isSendable(answered)) {
      answered.destroy();
      return answer(connection, response, exchange, refuse("upstream_reset", "the answer's head is not HTTP"));
    }
    const answeredFields = new FlatFields(answered.rawHeaders);
    const edit = connection.handler.response(exchange, answered.statusCode ?? 502, answeredFields);
    const keepAliveHint = answered.headers["keep-alive"];
    answered.headers = headerObject(editedFields(answeredFields, edit)) as IncomingMessage["headers"];
    delete answered.headers.trailer; // as in a request
    answered.headers.connection = response.shouldKeepAlive && !draining.has(connection.context.direction) ? "keep-alive" : "close";
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

  /** Ends an exchange from outside, at any time. */
  function giveUp(connection: Served, response: ServerResponse, exchange: Exchange, refusal: Refusal): void {
    if (!response.writableEnded) answer(connection, response, exchange, refusal);
  }

  function answer(connection: Served, response: ServerResponse, exchange: Exchange, refusal: Refusal): void {
    exchange.refusal = refusal;
    if (response.headersSent || connection.stream.destroyed) return resetStream(connection.stream);
    const answered = answerFor(refusal, {
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
    socket.on("error", () => {}); // node:http has let go of it; `close` follows
    const flaw = flawOf(request);
    if (flaw !== null) return answerFlawed(connection, flaw);
    connection.inFlight += 1;
    connection.handler.request(connection.context, headOf(request), (exchange, decision) => {
      if (!isOpenFor(connection, exchange, socket)) return;
      const give = (refusal: Refusal) => answerRaw(connection, exchange, refusal);
      exchange.giveUp = give;
      if (decision.kind === "refuse") return give(decision.refusal);
      const refusal =
        decision.body === "verify"
          ? refuse("bad_request", "a signed request cannot upgrade")
          : connection.handler.seal(exchange, null, null);
      if (refusal !== null) return give(refusal);
      takeConnection(connection, exchange, decision.upstream, (failure, agent) => {
        if (socket.destroyed) return;
        if (agent === null) return give(failure as Refusal);
        const { upgrade } = request.headers;
        request.url = exchange.path;
        request.headers = {
          ...headerObject(editedFields(exchange.head.fields, exchange.edit)),
          connection: "Upgrade",
          upgrade,
        } as IncomingMessage["headers"];
        forwardUpgrade({ request, socket, head, agent, exchange, handler: connection.handler, clock, fail: give });
      });
    });
  }

  function onConnect(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    const connection = served.get(socket);
    if (connection === undefined) return void socket.destroy();
    socket.on("error", () => {}); // node:http has let go of it; `close` follows
    const authority = request.url ?? "";
    const give = (refusal: Refusal) => {
      connection.handler.malformed(connection.context, refusal);
      writeRaw(connection, refusal);
    };
    if (authority.includes("@")) return give(USERINFO);
    if (connection.tunnel === null) return give(refuse("bad_request", `CONNECT ${authority} is not served here`));
    connection.inFlight += 1; // for as long as the connection lives: a drain leaves tunnels alone
    connection.tunnel(authority, socket, head, (refusal) => {
      if (refusal !== null) give(refusal);
      else if (!socket.destroyed) socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
    });
  }

  /** Answers a request whose socket node:http has let go of. */
  function answerRaw(connection: Served, exchange: Exchange, refusal: Refusal): void {
    exchange.refusal = refusal;
    exchange.status = RESCUE[refusal.reason].status;
    writeRaw(connection, refusal);
  }

  /** Answers a head that could be read in two ways, and ends the connection (design 13, rule 5). */
  function answerFlawed(connection: Served, flaw: Refusal): void {
    connection.handler.malformed(connection.context, flaw);
    if (connection.inFlight > 0) resetStream(connection.stream);
    else writeRaw(connection, flaw);
  }

  function onClientError(error: Error & { code?: string }, socket: Duplex): void {
    const connection = served.get(socket);
    const reason =
      error.code === "HPE_HEADER_OVERFLOW" ? "header_too_large" : error.code === "ERR_HTTP_REQUEST_TIMEOUT" ? "timeout" : "bad_request";
    const refusal = refuse(reason, `${error.code ?? "unknown"}: ${error.message}`);
    // ECONNRESET is a client that left, not one that misbehaved.
    if (error.code === "ECONNRESET" || connection === undefined) return void socket.destroy();
    if (connection.isOver) return;
    connection.handler.malformed(connection.context, refusal);
    if (connection.inFlight > 0 || !socket.writable) return resetStream(socket);
    if (reason !== "timeout") return writeRaw(connection, refusal);
    connection.isOver = true;
    endSoon(socket, clock, "HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
  }

  function drain(direction: Exchange["direction"]): void {
    draining.add(direction);
    for (const [stream, connection] of served) {
      if (connection.context.direction === direction && connection.inFlight === 0) endSoon(stream, clock);
    }
  }

  function close(): void {
    for (const stream of served.keys()) stream.destroy();
    pools.clear();
    server.close();
  }

  /** Writes a refusal onto the bare socket and ends it. */
  function writeRaw(connection: Served, refusal: Refusal): void {
    if (connection.isOver) return;
    connection.isOver = true;
    const { told } = connection.context.peer;
    const { status, headers, body } = answerFor(refusal, { grpc: false, told });
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nconnection: close\r\n`;
    for (let index = 0; index < headers.length; index += 2) text += `${headers[index]}: ${headers[index + 1]}\r\n`;
    endSoon(connection.stream, clock, `${text}\r\n${body}`);
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
  const fields = new FlatFields(request.rawHeaders);
  if (absolute === null) return { method, authority: request.headers.host ?? "", path: target, isPlainPath: false, fields };
  const [, authority, rest] = absolute as unknown as [string, string, string];
  return { method, authority, path: rest.startsWith("/") ? rest : `/${rest}`, isPlainPath: false, fields };
}

/** What http-proxy sends on. The framing is as the request came: hygiene has taken `transfer-encoding` off. */
function outgoingHeaders(request: IncomingMessage, exchange: Exchange): Record<string, string | string[]> {
  const headers = headerObject(editedFields(exchange.head.fields, exchange.edit));
  // An HTTP/1.0 client need not name a host; the app's side is HTTP/1.1 and must be told one.
  headers.host = exchange.authority === "" ? exchange.endpointAddress : exchange.authority;
  // Both were between the client and us: the one is answered, and what is not switched is not offered on.
  delete headers["expect"];
  delete headers["upgrade"];
  delete headers["trailer"]; // node:http throws at it, into nobody's hands, where the body is not chunked; trailers need no announcement
  if (request.headers["transfer-encoding"] !== undefined) headers["transfer-encoding"] = "chunked";
  return headers;
}

function isBodiless(request: IncomingMessage): boolean {
  const { method } = request;
  const safe = method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE";
  return safe && !hasBody(request);
}

function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

const USERINFO = refuse("bad_request", "userinfo in the authority (RFC 9110 section 4.2.4)");

/** What node:http lets pass and two readers could understand in two ways; null when there is none. Details never quote what may be a password. */
function flawOf(request: IncomingMessage): Refusal | null {
  let hosts = 0;
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    if ((request.rawHeaders[index] as string).toLowerCase() === "host") hosts += 1;
  }
  if (hosts > 1) return refuse("bad_request", "more than one Host (RFC 9112 section 3.2)");
  const coding = request.headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked") return refuse("bad_request", "a transfer coding other than chunked");
  const authority = ABSOLUTE_FORM.exec(request.url ?? "")?.[1] ?? "";
  return authority.includes("@") || request.headers.host?.includes("@") ? USERINFO : null;
}

/** True when node:http can send the head of this answer on: its client reads more than its server writes. */
function isSendable(answered: IncomingMessage): boolean {
  if ((answered.statusCode ?? 0) < 200 || !isSendableField("reason-phrase", answered.statusMessage ?? "")) return false;
  return sendableOnly(answered.rawHeaders).length === answered.rawHeaders.length;
}

/** The fields of a flat list that node:http would write. */
function sendableOnly(fields: readonly string[]): string[] {
  const sendable: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    if (isSendableField(name, value)) sendable.push(name, value);
  }
  return sendable;
}

function isSendableField(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}
