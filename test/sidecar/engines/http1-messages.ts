// HTTP/1.1 as well-behaved peers speak it, through both hops.
import { once } from "node:events";
import { createServer, request } from "node:http";
import { connect } from "node:net";
import { WebSocket, WebSocketServer } from "ws";

import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, http1Tests, raw } from "../../support/http1-fixture.ts";

/** Registers the tests for one engine. */
export function http1Messages(engine: EngineName): void {
  const test = http1Tests(engine);

  test("bodies of all framings arrive whole in both directions", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => {
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

  test("response trailers, HEAD, 204 and 304 keep their meaning", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => {
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

  test("absolute-form names the destination", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => response.end(`${request.headers.host} ${request.url}`));
    const text = await raw(pair.outboundPort, "GET http://orders/x?y HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
    t.match(text, /^HTTP\/1\.1 200[^]*orders \/x\?y/);
    const other = await raw(pair.outboundPort, "GET http://orders/x?y HTTP/1.1\r\nHost: other\r\nConnection: close\r\n\r\n");
    // By intent (row `host_disagrees`): compat lets the target win (RFC 9112 section 3.2.2).
    t.match(other, engine === "splice" ? /^HTTP\/1\.1 400 / : /^HTTP\/1\.1 200[^]*orders \/x\?y/);
  });

  test("keep-alive: several requests use one connection, pipelined ones are answered in order", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) =>
      setTimeout(() => response.end(`<${request.url}>`), request.url === "/1" ? 50 : 0),
    );
    const text = await raw(
      pair.outboundPort,
      "GET /1 HTTP/1.1\r\nHost: orders\r\n\r\nGET /2 HTTP/1.1\r\nHost: orders\r\n\r\nGET /3 HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n",
    );
    t.same(text.match(/<\/.>/g), ["</1>", "</2>", "</3>"]);
  });

  test("an answer that breaks off is never taken for a whole one", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => {
      if (request.url === "/length") response.writeHead(200, { "content-length": "100" });
      response.write("half");
      setTimeout(() => response.destroy(), 50);
    });
    await t.rejects(ask(pair.outboundPort, { path: "/length" }));
    await t.rejects(ask(pair.outboundPort, { path: "/chunked" }));
  });

  test("a client that leaves takes its upstream request with it", async (t, mesh) => {
    let gone: (() => void) | null = null;
    const left = new Promise<void>((resolve) => {
      gone = resolve;
    });
    const pair = await mesh.inFrontOf((request, response) => {
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

  test("WebSocket: echo through both hops, close codes kept; a refused upgrade is an ordinary answer", async (t, mesh) => {
    const server = createServer((_request, response) => response.writeHead(426, { "x-why": "plain" }).end("upgrade required"));
    const sockets = new WebSocketServer({ server, path: "/chat" });
    sockets.on("connection", (socket) => socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary })));
    const appPort = await mesh.listen(server);
    const pair = await mesh.pairFor(appPort);
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

  test("CONNECT opens an opaque tunnel to a mesh service", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => response.end("through the tunnel"));
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

  test("malformed requests are refused and the connection ends", async (t, mesh) => {
    const seen: string[] = [];
    const pair = await mesh.inFrontOf((request, response) => {
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

  test("draining: the answer under way is whole and says that it is the last", async (t, mesh) => {
    const pair = await mesh.inFrontOf((_request, response) => setTimeout(() => response.end("slow"), 200));
    const pending = ask(pair.outboundPort, { headers: { connection: "keep-alive" } });
    await new Promise((resolve) => setTimeout(resolve, 80));
    pair.drain("outbound");
    t.match(await pending, { status: 200, body: "slow", headers: { connection: "close" } });
  });

  test("1000 pipelined requests are answered in order", async (t, mesh) => {
    const pair = await mesh.inFrontOf((request, response) => response.end(`<${request.url}>`));
    const client = mesh.connect(pair.outboundPort);
    for (let index = 0; index < 1000; index++) client.send(`GET /${index} HTTP/1.1\r\nHost: orders\r\n\r\n`);
    const text = await client.until(/<\/999>/);
    t.same(
      text.match(/<\/\d+>/g),
      Array.from({ length: 1000 }, (_, index) => `</${index}>`),
    );
  });
}
