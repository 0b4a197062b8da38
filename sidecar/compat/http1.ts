// HTTP/1.1 and upgrades of the compat engine: node:http parses what clients send, http-proxy forwards it (http1-forwarder.ts). Chosen for being well known, not for
// speed: this is the reference that the splice engine is tested against. Here are clients, their connections, and what they are answered.
import { createServer, type IncomingMessage, STATUS_CODES, type ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import type { Decision, ServedConnection } from "../engine.ts";
import { HELD_BODY_BYTES } from "../engine.ts";
import { type ConnectionContext, type Exchange, type Refusal, refuse } from "../exchange.ts";
import { editedFields } from "../fields.ts";
import { answerFor, RESCUE } from "../rescue.ts";
import { resetStream } from "../transport/reset.ts";
import { headerObject } from "./flat-headers.ts";
import { holdBody } from "./hold-body.ts";
import { endSoon } from "../transport/linger.ts";
import { createForwarder } from "./http1-forwarder.ts";
import { flawOf, hasBody, headOf, USERINFO } from "./http1-messages.ts";
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

type Forward = Extract<Decision, { kind: "forward" }>;

/** The HTTP/1.1 half of the compat engine. */
export interface CompatHttp1 {
  serve(connection: ServedConnection): void;
  drain(direction: Exchange["direction"]): void;
  retire(context: ConnectionContext): void;
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
  const forwarder = createForwarder({ clock, isLeaving, answer });
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
      if (isLeaving(connection.context) && connection.inFlight === 0) endSoon(connection.stream, clock);
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
    forwarder.takeConnection(connection, exchange, decision.upstream, (failure, agent) => {
      if (agent === null) return giveUp(connection, response, exchange, failure as Refusal);
      if (connection.stream.destroyed || response.headersSent) return;
      forwarder.send({ connection, request, response, exchange, held }, agent);
    });
  }

  /** Ends an exchange from outside, at any time. */
  function giveUp(connection: ServedConnection, response: ServerResponse, exchange: Exchange, refusal: Refusal): void {
    if (!response.writableEnded) answer(connection, response, exchange, refusal);
  }

  function answer(connection: ServedConnection, response: ServerResponse, exchange: Exchange, refusal: Refusal): void {
    exchange.refusal = refusal;
    if (response.headersSent || connection.stream.destroyed) return resetStream(connection.stream);
    const answered = answerFor(refusal, {
      grpc: exchange.grpc,
      told: connection.context.peer.told,
    });
    exchange.status = answered.status;
    const close = RESCUE[refusal.reason].close || isLeaving(connection.context);
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
      forwarder.takeConnection(connection, exchange, decision.upstream, (failure, agent) => {
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

  function isLeaving({ direction, isRetired }: ConnectionContext): boolean {
    return isRetired === true || draining.has(direction);
  }

  function retire(context: ConnectionContext): void {
    for (const [stream, connection] of served) {
      if (connection.context === context && connection.inFlight === 0) endSoon(stream, clock);
    }
  }

  function drain(direction: Exchange["direction"]): void {
    draining.add(direction);
    for (const [stream, connection] of served) {
      if (connection.context.direction === direction && connection.inFlight === 0) endSoon(stream, clock);
    }
  }

  function close(): void {
    for (const stream of served.keys()) stream.destroy();
    forwarder.close();
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

  return { serve, drain, retire, close };
}
