import { once } from "node:events";
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import { type AddressInfo, connect } from "node:net";
import t from "tap";
import { WebSocket, WebSocketServer } from "ws";
import { type MeshPairOptions, startMeshPair } from "../../support/mesh-pair.ts";

type Handler = (request: IncomingMessage, response: ServerResponse) => void;
type Tap = { teardown(run: () => unknown): void };

async function listen(t: Tap, server: Server): Promise<number> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

async function meshed(t: Tap, handler: Handler, options: Partial<MeshPairOptions> = {}) {
  const appPort = await listen(t, createServer(handler));
  const pair = await startMeshPair({ appPort, ...options });
  t.teardown(() => pair.close());
  return pair;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly raw: string[];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: string;
}

async function ask(
  port: number,
  options: { method?: string; path?: string; headers?: Record<string, string | string[]>; body?: string | Buffer } = {},
): Promise<Answer> {
  const sent = request({
    host: "127.0.0.1",
    port,
    method: options.method ?? "GET",
    path: options.path ?? "/",
    headers: { host: "orders", ...options.headers },
    agent: false,
  });
  sent.end(options.body);
  const failed = once(sent, "error").then(([error]) => Promise.reject(error));
  failed.catch(() => {});
  const [answer] = (await Promise.race([once(sent, "response"), failed])) as [IncomingMessage];
  let body = "";
  for await (const chunk of answer) body += chunk;
  return { status: answer.statusCode ?? 0, headers: answer.headers, raw: answer.rawHeaders, trailers: answer.trailers, body };
}

/** Sends bytes as they are and gives everything that comes back. */
async function raw(port: number, bytes: string, waitMs = 2000): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  socket.write(Buffer.from(bytes, "latin1"));
  const timer = setTimeout(() => socket.destroy(), waitMs);
  await new Promise((resolve) => socket.once("close", resolve));
  clearTimeout(timer);
  return text;
}

t.test("a request passes both hops; the app sees who called and nothing forged", async (t) => {
  let seen: IncomingMessage["headers"] = {};
  const pair = await meshed(t, (request, response) => {
    seen = request.headers;
    response.setHeader("set-cookie", ["a=1", "b=2"]).setHeader("x-remora-reason", "forged").end(`hello ${request.url}`);
  });
  const answer = await ask(pair.outboundPort, {
    path: "/a?b=1",
    headers: { "x-remora-client-id": "spiffe://forged", "x-forwarded-client-cert": "forged", connection: "x-secret", "x-secret": "1" },
  });
  t.equal(answer.status, 200);
  t.equal(answer.body, "hello /a?b=1");
  t.same(answer.headers["set-cookie"], ["a=1", "b=2"]);
  t.equal(answer.headers["x-remora-reason"], undefined, "the app cannot speak for the mesh");
  t.equal(seen["x-remora-client-id"], "spiffe://cluster.local/ns/demo/sa/web");
  t.equal(seen["x-forwarded-client-cert"], "By=spiffe://cluster.local/ns/demo/sa/orders;URI=spiffe://cluster.local/ns/demo/sa/web");
  t.equal(seen["x-secret"], undefined, "a field named by Connection is hop-by-hop");
  t.equal(seen.host, "orders");
  t.match(seen["x-request-id"], /^[0-9a-f-]{36}$/);
  t.match(seen.traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
});

t.test("bodies of all framings arrive whole in both directions", async (t) => {
  const pair = await meshed(t, (request, response) => {
    response.setHeader("x-framing", request.headers["transfer-encoding"] ?? request.headers["content-length"] ?? "none");
    request.pipe(response);
  });
  const large = Buffer.alloc(3 * 1024 * 1024, "x").toString();
  for (const [method, headers, body, framing] of [
    ["POST", { "content-length": "5" }, "12345", "5"],
    ["POST", { "transfer-encoding": "chunked" }, "12345", "chunked"],
    ["DELETE", { "transfer-encoding": "chunked" }, "12345", "chunked"],
    ["DELETE", {}, undefined, "none"],
    ["PUT", { "transfer-encoding": "chunked" }, large, "chunked"],
  ] as const) {
    const answer = await ask(pair.outboundPort, { method, headers, ...(body === undefined ? {} : { body }) });
    t.equal(answer.body.length, body?.length ?? 0, `${method} ${framing}`);
    t.equal(answer.headers["x-framing"], framing);
  }
});

t.test("response trailers, HEAD, 204 and 304 keep their meaning", async (t) => {
  const pair = await meshed(t, (request, response) => {
    if (request.url === "/trailers") {
      response.writeHead(200, { trailer: "x-sum" });
      response.write("body");
      response.addTrailers({ "x-sum": "42" });
      response.end();
    } else if (request.url === "/204") response.writeHead(204).end();
    else if (request.url === "/304") response.writeHead(304, { etag: '"1"' }).end();
    else response.writeHead(200, { "content-length": "1000" }).end();
  });
  t.match(await ask(pair.outboundPort, { path: "/trailers" }), { body: "body", trailers: { "x-sum": "42" } });
  t.match(await ask(pair.outboundPort, { path: "/204" }), { status: 204, body: "" });
  t.match(await ask(pair.outboundPort, { path: "/304" }), { status: 304, headers: { etag: '"1"' } });
  t.match(await ask(pair.outboundPort, { method: "HEAD" }), { status: 200, headers: { "content-length": "1000" }, body: "" });
});

t.test("absolute-form names the destination and wins over Host", async (t) => {
  const pair = await meshed(t, (request, response) => response.end(`${request.headers.host} ${request.url}`));
  const text = await raw(pair.outboundPort, "GET http://orders/x?y HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
  t.match(text, /^HTTP\/1\.1 200/);
  t.match(text, /orders \/x\?y/);
});

t.test("keep-alive: several requests use one connection, pipelined ones are answered in order", async (t) => {
  const pair = await meshed(t, (request, response) => setTimeout(() => response.end(`<${request.url}>`), request.url === "/1" ? 50 : 0));
  const text = await raw(
    pair.outboundPort,
    "GET /1 HTTP/1.1\r\nHost: orders\r\n\r\nGET /2 HTTP/1.1\r\nHost: orders\r\n\r\nGET /3 HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n",
  );
  t.same(text.match(/<\/.>/g), ["</1>", "</2>", "</3>"]);
});

t.test("rate limit: 429 with retry-after and RateLimit fields, told to a meshed peer", async (t) => {
  const pair = await meshed(t, (_request, response) => response.end("ok"), { rateLimit: "1/m" });
  t.equal((await ask(pair.outboundPort)).status, 200);
  const refused = await ask(pair.outboundPort);
  t.equal(refused.status, 429);
  t.match(refused.headers, {
    "x-remora-reason": "rate_limited",
    "retry-after": /^[0-9]+$/,
    ratelimit: /r=0/,
    "ratelimit-policy": /q=1;w=60/,
  });
  t.match(await pair.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="rate_limited"\} 1/);
});

t.test("access: an identity that is not in the list is answered 403", async (t) => {
  const pair = await meshed(t, (_request, response) => response.end("ok"), { allow: "demo/other" });
  t.match(await ask(pair.outboundPort), { status: 403, headers: { "x-remora-reason": "forbidden" } });
});

t.test("load shedding: past the bound 503 with retry-after, at once", async (t) => {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const pair = await meshed(
    t,
    async (_request, response) => {
      await held;
      response.end("ok");
    },
    { maxInFlight: 1 },
  );
  const first = ask(pair.outboundPort);
  await new Promise((resolve) => setTimeout(resolve, 200));
  t.match(await ask(pair.outboundPort), { status: 503, headers: { "x-remora-reason": "overloaded", "retry-after": "1" } });
  release();
  t.equal((await first).status, 200);
  t.equal((await ask(pair.outboundPort)).status, 200, "and the place is free again");
});

t.test("a dead app is a 502, a dead instance is gone around", async (t) => {
  const closed = createServer().listen(0);
  await once(closed, "listening");
  const nobody = (closed.address() as AddressInfo).port;
  await new Promise((resolve) => closed.close(resolve));
  const dead = await startMeshPair({ appPort: nobody });
  t.teardown(() => dead.close());
  t.match(await ask(dead.outboundPort), { status: 502 });

  const pair = await meshed(t, (request, response) => request.pipe(response), { otherInboundPorts: [nobody, nobody] });
  for (let index = 0; index < 20; index++) {
    const answer = await ask(pair.outboundPort, { method: "POST", body: `body ${index}` });
    t.equal(answer.body, `body ${index}`, "the body of a request that was tried twice is whole");
  }
});

t.test("an answer that breaks off is never taken for a whole one", async (t) => {
  const pair = await meshed(t, (request, response) => {
    if (request.url === "/length") response.writeHead(200, { "content-length": "100" });
    response.write("half");
    setTimeout(() => response.destroy(), 50);
  });
  await t.rejects(ask(pair.outboundPort, { path: "/length" }));
  await t.rejects(ask(pair.outboundPort, { path: "/chunked" }));
});

t.test("a client that leaves takes its upstream request with it", async (t) => {
  let gone: (() => void) | null = null;
  const left = new Promise<void>((resolve) => {
    gone = resolve;
  });
  const pair = await meshed(t, (request, response) => {
    response.write("begin");
    request.socket.once("close", () => gone?.());
  });
  const sent = request({ host: "127.0.0.1", port: pair.outboundPort, headers: { host: "orders" }, agent: false }).end();
  sent.on("error", () => {});
  const [answer] = await once(sent, "response");
  answer.once("data", () => sent.destroy());
  await left;
  t.pass("the app's connection was closed");
});

t.test("WebSocket: echo through both hops, close codes kept; a refused upgrade is an ordinary answer", async (t) => {
  const server = createServer((_request, response) => response.writeHead(426, { "x-why": "plain" }).end("upgrade required"));
  const sockets = new WebSocketServer({ server, path: "/chat" });
  sockets.on("connection", (socket) => socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })));
  const appPort = await listen(t, server);
  const pair = await startMeshPair({ appPort });
  t.teardown(() => pair.close());
  const socket = new WebSocket(`ws://127.0.0.1:${pair.outboundPort}/chat`, { headers: { host: "orders" } });
  await once(socket, "open");
  socket.send("hello");
  t.equal(String((await once(socket, "message"))[0]), "hello");
  socket.send(Buffer.alloc(300_000, 7));
  t.equal(((await once(socket, "message"))[0] as Buffer).length, 300_000);
  socket.close(4001, "bye");
  t.equal((await once(socket, "close"))[0], 4001);

  const refused = new WebSocket(`ws://127.0.0.1:${pair.outboundPort}/other`, { headers: { host: "orders" } });
  const [error] = await once(refused, "error");
  t.match(error.message, /Unexpected server response: 400/);
  const text = await raw(pair.outboundPort, "GET /none HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 500);
  t.match(text, /^HTTP\/1\.1 426/, "an offer of h2c is not an upgrade");
});

t.test("strict: plaintext to the inbound port is cut off; permissive: served without an identity", async (t) => {
  const handler: Handler = (request, response) => response.end(`client ${request.headers["x-remora-client-id"] ?? "none"}`);
  const strict = await meshed(t, handler);
  t.equal(await raw(strict.inboundPort, "GET / HTTP/1.1\r\nHost: orders\r\n\r\n"), "");
  t.match(await strict.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="plaintext_refused"\} 1/);
  const permissive = await meshed(t, handler, { mode: "permissive" });
  const answer = await ask(permissive.inboundPort, { headers: { "x-remora-client-id": "spiffe://forged" } });
  t.equal(answer.body, "client none");
});

t.test("egress: deny refuses what is not in the mesh, allow passes it on, and the way back is never taken", async (t) => {
  const outside = await listen(
    t,
    createServer((request, response) => response.end(`outside ${request.headers.host}`)),
  );
  const open = await meshed(t, (_request, response) => response.end());
  t.match(await ask(open.outboundPort, { headers: { host: `127.0.0.1:${outside}` } }), {
    status: 200,
    body: `outside 127.0.0.1:${outside}`,
  });
  t.match(await ask(open.outboundPort, { headers: { host: `127.0.0.1:${open.outboundPort}` } }), {
    status: 508,
    headers: { "x-remora-reason": "loop_detected" },
  });
  const closed = await meshed(t, (_request, response) => response.end(), { egress: "deny" });
  t.match(await ask(closed.outboundPort, { headers: { host: `127.0.0.1:${outside}` } }), {
    status: 403,
    headers: { "x-remora-reason": "egress_refused" },
  });
});

t.test("CONNECT opens an opaque tunnel to a mesh service", async (t) => {
  const pair = await meshed(t, (_request, response) => response.end("through the tunnel"));
  const text = await raw(pair.outboundPort, "CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n", 300);
  t.match(text, /^HTTP\/1\.1 200/);
  const socket = connect(pair.outboundPort, "127.0.0.1");
  socket.write("CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n");
  await once(socket, "data");
  socket.write("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  let body = "";
  socket.on("data", (chunk) => {
    body += chunk;
  });
  await once(socket, "close");
  t.match(body, /through the tunnel/);
});

t.test("malformed requests are refused and the connection ends", async (t) => {
  const seen: string[] = [];
  const pair = await meshed(t, (request, response) => {
    seen.push(request.url ?? "");
    response.end("ok");
  });
  for (const [bytes, status] of [
    ["GET / HTTP/1.1\r\nHost: orders\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: orders\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400],
    ["GET / HTTP/1.1\r\nHost : orders\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\n\r\n", 400],
    ["GET / HTTP/1.1\r\nHost: orders\r\nX: a\u0000b\r\n\r\n", 400],
    [`GET / HTTP/1.1\r\nHost: orders\r\nX: ${"a".repeat(70_000)}\r\n\r\n`, 431],
  ] as const) {
    const text = await raw(pair.outboundPort, bytes);
    t.match(text, new RegExp(`^HTTP/1\\.1 ${status} `), JSON.stringify(bytes.slice(0, 60)));
  }
  t.same(seen, [], "the app saw none of them");
});

t.test("draining: the answer under way is whole and says that it is the last", async (t) => {
  const pair = await meshed(t, (_request, response) => setTimeout(() => response.end("slow"), 200));
  const pending = ask(pair.outboundPort, { headers: { connection: "keep-alive" } });
  await new Promise((resolve) => setTimeout(resolve, 80));
  pair.drain("outbound");
  t.match(await pending, { status: 200, body: "slow", headers: { connection: "close" } });
});
