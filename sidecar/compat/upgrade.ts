// WebSocket and other upgrades of the compat engine (RFC 9110 section 7.8): http-proxy does the handshake with the upstream; only a 101 turns
// the pair into a tunnel. An upstream that answers otherwise is answered here, as http-proxy 1.18 would send a decoded body with chunked framing.
import type { ClientRequest, IncomingMessage } from "node:http";
import type { Duplex } from "node:stream";
import httpProxy from "http-proxy";
import type { Clock } from "../../core/clock.ts";
import type { HttpHandler } from "../engine.ts";
import type { Exchange, Refusal } from "../exchange.ts";
import { editedFields, FlatFields } from "../fields.ts";
import { resetStream } from "../transport/reset.ts";
import { failureOf } from "../upstream-failure.ts";
import { headerObject } from "./flat-headers.ts";
import { endSoon } from "../transport/linger.ts";
import type { UpstreamAgent } from "./upstream-agent.ts";

const FRAMING = new Set(["transfer-encoding", "connection", "keep-alive", "content-length"]);

/** Forwards one upgrade request; `request.headers` and `request.url` are what is to be sent. */
export function forwardUpgrade(options: {
  readonly request: IncomingMessage;
  readonly socket: Duplex;
  readonly head: Buffer;
  readonly agent: UpstreamAgent;
  readonly exchange: Exchange;
  readonly handler: HttpHandler;
  readonly clock: Clock;
  /** Answers the client when there is no answer from the upstream. */
  readonly fail: (refusal: Refusal) => void;
}): void {
  const { socket, exchange, handler, clock } = options;
  const editedAnswer = (answered: IncomingMessage, status: number) => {
    const fields = new FlatFields(answered.rawHeaders);
    return editedFields(fields, handler.response(exchange, status, fields));
  };
  const proxy = httpProxy.createProxyServer({});
  // http-proxy destroys what is not a GET for a WebSocket; which upgrades are tunnelled is decided before we come here.
  const passes = proxy as unknown as { wsPasses: ReadonlyArray<(...args: unknown[]) => unknown> };
  passes.wsPasses = passes.wsPasses.filter((pass) => pass.name !== "checkMethodAndHeader");
  let switched = false;

  proxy.on("proxyReqWs", (proxied: ClientRequest) => {
    proxied.prependListener("upgrade", (answered: IncomingMessage, upstream: Duplex) => {
      switched = true;
      const { upgrade } = answered.headers;
      answered.headers = {
        ...headerObject(editedAnswer(answered, 101)),
        connection: "Upgrade",
        upgrade,
      } as IncomingMessage["headers"];
      endTogether(socket, upstream, clock);
      endTogether(upstream, socket, clock);
    });
    // In the next tick http-proxy listens as well, and would write this answer a second time. Before that none can come.
    process.nextTick(() => {
      proxied.removeAllListeners("response");
      proxied.once("response", (answered: IncomingMessage) => {
        passOn(answered, socket, editedAnswer(answered, answered.statusCode ?? 502), clock);
      });
    });
    socket.once("close", () => proxied.destroy());
  });
  const target = { protocol: "http:", host: "upstream", hostname: "upstream", port: "80" } as unknown as string;
  proxy.ws(options.request, socket, options.head, { target, agent: options.agent }, (error) => {
    if (switched || !socket.writable) return resetStream(socket);
    options.fail(failureOf(error));
  });
}

/** Writes an ordinary answer, close-delimited: the connection cannot be used again. */
function passOn(answered: IncomingMessage, socket: Duplex, fields: readonly string[], clock: Clock): void {
  let text = `HTTP/1.1 ${answered.statusCode} ${answered.statusMessage}\r\nconnection: close\r\n`;
  for (let index = 0; index < fields.length; index += 2) {
    if (!FRAMING.has((fields[index] as string).toLowerCase())) text += `${fields[index]}: ${fields[index + 1]}\r\n`;
  }
  socket.write(`${text}\r\n`, "latin1");
  answered.on("error", () => resetStream(socket));
  answered.once("end", () => endSoon(socket, clock));
  answered.pipe(socket, { end: false });
}

/** http-proxy passes on an ordered end; a side that broke off must be heard of on the other, and neither may stay behind alone. */
function endTogether(side: Duplex, other: Duplex, clock: Clock): void {
  side.on("error", () => resetStream(other));
  side.once("close", () => {
    if (side.readableEnded && side.writableFinished) endSoon(other, clock);
    else resetStream(other);
  });
}
