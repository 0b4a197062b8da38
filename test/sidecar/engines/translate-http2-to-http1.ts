// HTTP/2 clients in front of an app whose port is declared to speak HTTP/1.1: the callee's sidecar translates, and nothing that one side reads otherwise than
// the other gets through.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { constants } from "node:http2";
import type { Socket } from "node:net";
import type { EngineName } from "../../../sidecar/engine.ts";
import { ask, finish, h2Frame, h2Head, http2Tests, pause, type Http2Mesh } from "../../support/http2-fixture.ts";
import { balances } from "../../support/mesh-fixture.ts";

const MEBIBYTE = 1024 * 1024;

/** Registers the tests for one engine. */
export function translateHttp2ToHttp1(engine: EngineName): void {
  const test = http2Tests(engine);

  /** A pair in front of an HTTP/1.1 app, and a client that speaks HTTP/2. */
  async function inFrontOf(mesh: Http2Mesh, handler: (request: IncomingMessage, response: ServerResponse) => void) {
    const app = createServer(handler);
    app.keepAliveTimeout = 60_000;
    return mesh.withClient(await mesh.listen(app), { protocol: "http1" });
  }

  /** An app that keeps what it reads and answers each request with `answer`. */
  async function rawApp(mesh: Http2Mesh, answer: string, seen: { text: string }) {
    const port = await mesh.rawApp((socket: Socket) => {
      socket.on("data", (chunk: Buffer) => {
        seen.text += chunk.toString("latin1");
        if (/\r\n\r\n$/.test(seen.text)) socket.write(answer, "latin1");
      });
    });
    return mesh.withClient(port, { protocol: "http1" });
  }

  test("fields, content and trailers cross both ways", async (t, mesh) => {
    let seen: { url?: string | undefined; fields: IncomingMessage["headers"]; body: string; trailers: NodeJS.Dict<string> } | null = null;
    const { client } = await inFrontOf(mesh, async (request, response) => {
      let body = "";
      for await (const chunk of request) body += chunk;
      seen = { url: request.url, fields: request.headers, body, trailers: request.trailers };
      response.writeEarlyHints({ link: "</style.css>" });
      response.writeHead(201, { "Set-Cookie": ["a=1", "b=2"], "X-Mixed-Case": "kept", trailer: "x-sum" });
      response.write("do");
      response.addTrailers({ "x-sum": "7" });
      response.end("ne");
    });
    const stream = client.request(
      { ":method": "POST", ":path": "/a?b", ":authority": "orders", cookie: ["x=1", "y=2"], te: "trailers", "x-one": "1" },
      { waitForTrailers: true },
    );
    stream.once("wantTrailers", () => stream.sendTrailers({ "x-request-sum": "9" }));
    stream.end("content");
    t.match(await finish(stream), {
      status: 201,
      body: "done",
      headers: { "set-cookie": ["a=1", "b=2"], "x-mixed-case": "kept" },
      trailers: { "x-sum": "7" },
      informational: [{ ":status": 103, link: "</style.css>" }],
    });
    t.match(seen, {
      url: "/a?b",
      body: "content",
      trailers: { "x-request-sum": "9" },
      fields: { host: "orders", cookie: "x=1; y=2", "transfer-encoding": "chunked", "x-one": "1" },
    });
    t.match((seen as unknown as { fields: object }).fields, { "x-remora-client-id": "spiffe://cluster.local/ns/demo/sa/web" });
  });

  test("lengths are kept; HEAD, 204 and 304 have no content; connections are used again", async (t, mesh) => {
    const sockets = new Set<Socket>();
    const { client } = await inFrontOf(mesh, (request, response) => {
      sockets.add(request.socket);
      if (request.url === "/204") return response.writeHead(204).end();
      if (request.url === "/304") return response.writeHead(304, { etag: '"1"' }).end();
      response.setHeader("content-length", "5");
      response.setHeader("x-length", request.headers["content-length"] ?? "none");
      request.resume().on("end", () => response.end("12345"));
    });
    t.match(await finish(client.request({ ":authority": "orders" })), {
      body: "12345",
      headers: { "content-length": "5", "x-length": "none" },
    });
    t.match(await finish(client.request({ ":method": "HEAD", ":authority": "orders" })), { body: "", headers: { "content-length": "5" } });
    t.match(await finish(client.request({ ":path": "/204", ":authority": "orders" })), { status: 204, body: "" });
    t.match(await finish(client.request({ ":path": "/304", ":authority": "orders" })), { status: 304, body: "" });
    const sized = client.request({ ":method": "PUT", ":authority": "orders", "content-length": "3" });
    sized.end("abc");
    t.match(await finish(sized), { headers: { "x-length": "3" } });
    const empty = client.request({ ":method": "POST", ":authority": "orders" }, { endStream: true });
    t.match(await finish(empty), { headers: { "x-length": "0" } });
    t.equal(sockets.size, 1);
  });

  test("bodies of 8 MiB pass both ways, also to a client that reads late", async (t, mesh) => {
    const { client } = await inFrontOf(mesh, (request, response) => void request.pipe(response));
    const upload = client.request({ ":method": "POST", ":authority": "orders" });
    const chunk = Buffer.alloc(256 * 1024, "z");
    (async () => {
      for (let index = 0; index < 32; index += 1) if (!upload.write(chunk)) await once(upload, "drain");
      upload.end();
    })();
    upload.pause();
    await pause(300);
    const read = finish(upload);
    upload.resume();
    t.equal((await read).body.length, 8 * MEBIBYTE);
  });

  test("requests at once have a connection each, and all are answered", async (t, mesh) => {
    const { client, pair } = await inFrontOf(mesh, (request, response) => void setTimeout(() => response.end(request.url), 20));
    const answers = await Promise.all(
      Array.from({ length: 200 }, (_, index) => finish(client.request({ ":path": `/${index}`, ":authority": "orders" }))),
    );
    t.same(
      answers.map(({ body }) => body),
      Array.from({ length: 200 }, (_, index) => `/${index}`),
    );
    t.ok(await balances(pair));
  });

  test("an answer that breaks off, or is none, is a 502 or a reset", async (t, mesh) => {
    const answers: Readonly<Record<string, [string, number]>> = {
      "no answer": ["", 502],
      "no HTTP": ["what?\r\n\r\n", 502],
      "two lengths": ["HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab", 502],
      "length and chunks": ["HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 502],
      "switching unasked": ["HTTP/1.1 101 Switching\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", 502],
      "cut off": ["HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", 200],
      "cut off in a chunk": ["HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nabc", 200],
    };
    for (const [name, [answer, status]] of Object.entries(answers)) {
      const port = await mesh.rawApp((socket) => void socket.once("data", () => socket.end(answer, "latin1")));
      const { client } = await mesh.withClient(port, { protocol: "http1" });
      const got = await finish(ask(client));
      t.equal(got.status, status, name);
      if (status === 200) t.not(got.code, constants.NGHTTP2_NO_ERROR, `${name}: must not look whole`);
    }
  });

  test("a body until the connection ends is whole with its end", async (t, mesh) => {
    const port = await mesh.rawApp((socket) => void socket.once("data", () => socket.end("HTTP/1.1 200 OK\r\n\r\nuntil the end")));
    const { client } = await mesh.withClient(port, { protocol: "http1" });
    t.match(await finish(ask(client)), { status: 200, body: "until the end", code: 0 });
  });

  test("a client that leaves ends its request at the app", async (t, mesh) => {
    let closed = 0;
    const { client } = await inFrontOf(mesh, (request, response) => {
      request.on("error", () => {});
      response.on("close", () => (closed += 1));
      response.writeHead(200);
      response.write("begin");
    });
    const stream = client.request({ ":authority": "orders" });
    stream.on("error", () => {});
    await once(stream, "data");
    stream.close(constants.NGHTTP2_CANCEL);
    for (let waits = 0; closed === 0 && waits < 100; waits += 1) await pause(20);
    t.equal(closed, 1);
  });

  test("what would be read otherwise as HTTP/1.1 never reaches the app", async (t, mesh) => {
    const seen = { text: "" };
    const { pair } = await rawApp(mesh, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", seen);
    const base = [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "/"];
    const heads: Readonly<Record<string, readonly string[]>> = {
      "CRLF in a value": [...base, "x-a", "1\r\nx-smuggled: 1"],
      "LF in a value": [...base, "x-a", "1\nx-smuggled: 1"],
      "NUL in a value": [...base, "x-a", "1\0"],
      "colon in a name": [...base, "x-smuggled: 1\r\nx", "1"],
      "colon alone": [...base, "x:smuggled", "1"],
      "space in a name": [...base, "x smuggled", "1"],
      "upper case": [...base, "X-Smuggled", "1"],
      "transfer-encoding": [...base, "transfer-encoding", "chunked"],
      connection: [...base, "connection", "x-smuggled"],
      "two lengths": [...base, "content-length", "1", "content-length", "2"],
      "a signed length": [...base, "content-length", "+1"],
      "a list as length": [...base, "content-length", "1, 1"],
      "host disagrees": [...base, "host", "smuggled"],
      "two hosts": [...base, "host", "orders", "host", "smuggled"],
      userinfo: [":method", "POST", ":scheme", "http", ":authority", "smuggled@orders", ":path", "/"],
      "CRLF in the authority": [":method", "POST", ":scheme", "http", ":authority", "orders\r\nx-smuggled: 1", ":path", "/"],
      "space in the path": [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "/ HTTP/1.1\r\nx-smuggled: 1"],
      "no slash": [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "smuggled"],
      fragment: [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "/#smuggled"],
      "space in the method": [":method", "GET /smuggled HTTP/1.1\r\n", ":scheme", "http", ":authority", "orders", ":path", "/"],
      "two paths": [...base, ":path", "/smuggled"],
    };
    for (const [name, fields] of Object.entries(heads)) {
      const socket = mesh.connectMute(pair.outboundPort);
      socket.resume();
      socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      socket.write(Buffer.concat([h2Frame(4, 0, 0, Buffer.alloc(0)), h2Head(1, fields, true)]));
      await pause(30);
      socket.destroy();
      t.equal(seen.text, "", name);
    }
  });

  test("content of another length than was said is a reset, and the app never takes it for whole", async (t, mesh) => {
    let whole = 0;
    const { pair } = await inFrontOf(mesh, (request, response) => {
      request.on("error", () => {});
      request.resume().on("end", () => {
        whole += 1;
        response.end();
      });
    });
    for (const [said, sent] of [
      ["5", "abc"],
      ["3", "abcde"],
      ["0", "a"],
    ] as const) {
      const socket = mesh.connectMute(pair.outboundPort);
      socket.resume();
      socket.write("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
      const head = [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "/", "content-length", said];
      socket.write(Buffer.concat([h2Frame(4, 0, 0, Buffer.alloc(0)), h2Head(1, head, false), h2Frame(0, 1, 1, Buffer.from(sent))]));
      await pause(50);
      socket.destroy();
    }
    t.equal(whole, 0);
  });

  test("no tunnel leads through HTTP/1.1", async (t, mesh) => {
    const { client } = await inFrontOf(mesh, (_request, response) => void response.end());
    const stream = client.request({ ":method": "CONNECT", ":authority": "orders" });
    t.equal((await finish(stream)).status, 400);
  });
}
