// What the stage lists may ask of a request that goes from HTTP/1.1 to HTTP/2: bodies that are held, other attempts, answers that are not passed on, an end from
// outside. The stage list is the test's own, as those of the sidecar ask some of it of other requests only.
import { constants, createServer, type IncomingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from "node:net";
import { once } from "node:events";
import t, { type Test } from "tap";
import { systemClock } from "../../../core/clock.ts";
import { createEngine } from "../../../sidecar/create-engine.ts";
import type { HttpHandler, Upstream, UpstreamConnection } from "../../../sidecar/engine.ts";
import { Exchange, refuse } from "../../../sidecar/exchange.ts";
import { answerEdit, trailerFields } from "../../../sidecar/policy/header-hygiene.ts";
import { connectRaw, eventually, type RawClient } from "../../support/raw-peers.ts";
import { bodyOf } from "./translate-http1-to-http2.ts";

type App = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, index: number) => void;

interface Served {
  readonly client: RawClient;
  readonly finished: Exchange[];
  readonly bodies: string[];
  readonly sealed: Array<UpstreamConnection | null>;
}

/** A client of an engine whose only upstream is `app`. */
async function serve(
  t: Test,
  app: App,
  handler: (upstream: Upstream) => Partial<HttpHandler> & { readonly body?: "stream" | "verify" },
): Promise<Served> {
  const server = createServer();
  let calls = 0;
  server.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    app(stream as ServerHttp2Stream, headers, calls++);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const upstream: Upstream = {
    key: "app",
    address: "app:80",
    protocol: "http2",
    dial(done) {
      const stream = connect(port, "127.0.0.1", () => done(null, { kind: "plain", stream }));
      stream.on("error", () => {});
    },
  };
  const engine = await createEngine("splice", systemClock);
  const finished: Exchange[] = [];
  const bodies: string[] = [];
  const sealed: Array<UpstreamConnection | null> = [];
  const { body = "stream", ...rest } = handler(upstream);
  const stages: HttpHandler = {
    request(connection, head, decide) {
      const exchange = new Exchange(connection, head, 0);
      decide(exchange, { kind: "forward", upstream, body });
    },
    checkBody(_exchange, bytes) {
      bodies.push(bytes.toString());
      return bytes.toString() === "forged" ? refuse("signature_invalid") : null;
    },
    seal(_exchange, connection) {
      sealed.push(connection);
      return null;
    },
    another: () => null,
    retryAnswer: () => null,
    response(exchange, status, fields) {
      exchange.status = status;
      return answerEdit(fields, true);
    },
    trailers: trailerFields,
    malformed: () => {},
    flooded: () => {},
    finish: (exchange) => void finished.push(exchange),
    ...rest,
  };
  const peer = { identity: null, address: "127.0.0.1", channelBinding: null, told: true };
  const front = createTcpServer({ allowHalfOpen: true }, (stream: Socket) => {
    stream.on("error", () => {});
    engine.serve({
      stream,
      context: { connectionId: 1, direction: "inbound", protocol: "http1", peer, port },
      handler: stages,
      tunnel: null,
    });
  });
  front.listen(0, "127.0.0.1");
  await once(front, "listening");
  t.teardown(() => {
    engine.close();
    front.close();
    server.close();
  });
  return { client: connectRaw(t, (front.address() as AddressInfo).port), finished, bodies, sealed };
}

const echo: App = async (stream, headers) => {
  let sum = "";
  stream.once("trailers", (trailers) => {
    sum = String(trailers["x-sum"]);
  });
  const body = await bodyOf(stream);
  stream.respond({ ":status": 200 });
  stream.end(`<${body} ${headers["content-length"]} ${headers.expect} ${sum}>`);
};

t.test("a body that is to be verified goes when it is whole and good, without its Expect; a forged one does not", async (t) => {
  const { client, bodies, finished } = await serve(t, echo, () => ({ body: "verify" }));
  client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 100 Continue\r\n\r\n$/);
  client.send("hello");
  t.match(await client.until(/>/), /<hello 5 undefined >/);
  client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX-Sum: 5\r\n\r\n");
  t.match(await client.until(/>[^]*>/), /<hello undefined undefined 5>/);
  client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
  t.match(await client.until(/>[^]*>[^]*>/), /< undefined undefined >/);
  client.send("POST / HTTP/1.1\r\nHost: app\r\nContent-Length: 6\r\n\r\nforged");
  t.match(await client.until(/401 /), /HTTP\/1\.1 401 /);
  t.same(bodies, ["hello", "hello", "", "forged"]);
  t.same(
    finished.map(({ status }) => status),
    [200, 200, 200, 401],
  );
});

t.test("a body that is held is sent again when its stream was refused; what speaks HTTP/1.1 is sealed as such", async (t) => {
  const app: App = (stream, headers, index) => {
    if (index === 0) stream.close(constants.NGHTTP2_REFUSED_STREAM);
    else echo(stream, headers, index);
  };
  const { client, sealed } = await serve(t, app, (upstream) => ({ body: "verify", another: () => upstream }));
  client.send("POST / HTTP/1.1\r\nHost: app\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 5\r\n\r\n");
  t.match(await client.until(/>/), /200 OK[^]*<hello undefined undefined 5>/);
  t.same(sealed, [null, null]);
});

t.test("an answer that is not passed on is cancelled, and the request sent again", async (t) => {
  const codes: number[] = [];
  const app: App = (stream, _headers, index) => {
    stream.once("close", () => codes.push(stream.rstCode ?? -1));
    stream.respond({ ":status": index < 2 ? 503 : 200 });
    stream.write(`answer ${index}`);
    if (index === 2) stream.end();
  };
  const { client } = await serve(t, app, (upstream) => ({
    retryAnswer: (_exchange, status) => (status === 503 ? { upstream, afterMs: 0 } : null),
  }));
  client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
  t.match(await client.until(/\r\n0\r\n\r\n$/), /^HTTP\/1\.1 200 OK[^]*answer 2\r\n/);
  t.ok(await eventually(() => codes.length === 3));
  t.same(codes.sort(), [constants.NGHTTP2_NO_ERROR, constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]);
});

t.test("a request whose time is over: answered while it can be, cut off when not, cancelled either way", async (t) => {
  const codes: number[] = [];
  let given: Exchange | null = null;
  const app: App = (stream, headers) => {
    stream.once("close", () => codes.push(stream.rstCode ?? -1));
    if (headers[":path"] === "/begun") {
      stream.respond({ ":status": 200 });
      stream.write("do");
    }
  };
  const { client, finished } = await serve(t, app, () => ({
    seal(exchange) {
      given = exchange;
      return null;
    },
  }));
  client.send("GET /silent HTTP/1.1\r\nHost: app\r\n\r\n");
  await eventually(() => given !== null);
  await new Promise((resolve) => setTimeout(resolve, 30));
  (given as Exchange | null)?.giveUp?.(refuse("timeout", "over"));
  t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 504 /);
  client.send("GET /begun HTTP/1.1\r\nHost: app\r\n\r\n");
  await client.until(/do\r\n/);
  (given as Exchange | null)?.giveUp?.(refuse("timeout", "over"));
  t.ok(await client.ended());
  t.notMatch(client.text(), /\r\n0\r\n/);
  t.ok(await eventually(() => codes.length === 2));
  t.same(codes, [constants.NGHTTP2_CANCEL, constants.NGHTTP2_CANCEL]);
  t.same(
    finished.map(({ refusal }) => refusal?.reason),
    ["timeout", "timeout"],
  );
});

t.test("what may not be sent is refused by the seal", async (t) => {
  const { client } = await serve(t, echo, () => ({ seal: () => refuse("bad_request", "gRPC needs HTTP/2", [], 505) }));
  client.send("GET / HTTP/1.1\r\nHost: app\r\n\r\n");
  t.ok(await client.ended());
  t.match(client.text(), /^HTTP\/1\.1 505 /);
});
