import { execFile } from "node:child_process";
import { once } from "node:events";
import {
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type Http2Server,
  type IncomingHttpHeaders,
  type ServerHttp2Stream,
} from "node:http2";
import { type AddressInfo, createServer as createTcpServer } from "node:net";
import { promisify } from "node:util";
import t from "tap";
import { type MeshPairOptions, startMeshPair } from "../../support/mesh-pair.ts";
import { requires } from "../../support/requires.ts";

type Tap = { teardown(run: () => unknown): void };
type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

async function meshed(t: Tap, handler: Handler, options: Partial<MeshPairOptions> = {}) {
  const app: Http2Server = createServer();
  const open = new Set<{ destroy(): void }>();
  app.on("session", (session) => {
    open.add(session);
    session.once("close", () => open.delete(session));
  });
  app.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    handler(stream as ServerHttp2Stream, headers);
  });
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
  const pair = await startMeshPair({ appPort: (app.address() as AddressInfo).port, protocol: "http2", ...options });
  const client = connect(`http://127.0.0.1:${pair.outboundPort}`, { settings: { enablePush: false } });
  client.on("error", () => {});
  t.teardown(async () => {
    client.destroy();
    for (const session of open) session.destroy();
    app.close();
    await pair.close();
  });
  return { pair, client };
}

interface Answer {
  readonly headers: IncomingHttpHeaders;
  readonly informational: IncomingHttpHeaders[];
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
  readonly code: number;
}

async function finish(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  let body = "";
  const informational: IncomingHttpHeaders[] = [];
  stream.on("error", () => {});
  stream.on("headers", (found) => informational.push(found));
  stream.on("response", (found) => {
    headers = found;
  });
  stream.on("trailers", (found) => {
    trailers = found;
  });
  stream.on("data", (chunk) => {
    body += chunk;
  });
  await new Promise((resolve) => stream.once("close", resolve));
  return { headers, informational, trailers, body, code: stream.rstCode ?? 0 };
}

t.test("requests and answers keep fields, repeated ones too, and trailers both ways", async (t) => {
  let seen: IncomingHttpHeaders = {};
  const { client } = await meshed(t, (stream, headers) => {
    seen = headers;
    stream.additionalHeaders({ ":status": 103, link: "</style.css>" });
    stream.respond({ ":status": 201, "set-cookie": ["a=1", "b=2"], "x-remora-reason": "forged" }, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "7" }));
    stream.end("done");
  });
  const answer = await finish(
    client.request({ ":path": "/a?b", ":authority": "orders", cookie: ["x=1", "y=2"], "x-remora-src": "forged" }),
  );
  t.match(answer, { body: "done", trailers: { "x-sum": "7" }, headers: { ":status": 201, "set-cookie": ["a=1", "b=2"] } });
  t.equal(answer.headers["x-remora-reason"], undefined);
  t.match(answer.informational, [{ ":status": 103, link: "</style.css>" }]);
  t.match(seen, {
    ":path": "/a?b",
    ":authority": "orders",
    cookie: "x=1; y=2",
    "x-remora-client-id": "spiffe://cluster.local/ns/demo/sa/web",
  });
  t.equal(seen["x-remora-src"], undefined);
});

t.test("bodies stream both ways under flow control; HEAD and empty answers end at once", async (t) => {
  const { client } = await meshed(t, (stream, headers) => {
    if (headers[":method"] === "HEAD") return stream.respond({ ":status": 200, "content-length": "5" }, { endStream: true });
    if (headers[":path"] === "/empty") return stream.respond({ ":status": 204 }, { endStream: true });
    stream.respond({ ":status": 200 });
    stream.pipe(stream);
  });
  t.match(await finish(client.request({ ":method": "HEAD", ":authority": "orders" })), {
    headers: { ":status": 200, "content-length": "5" },
    body: "",
  });
  t.match(await finish(client.request({ ":path": "/empty", ":authority": "orders" })), { headers: { ":status": 204 }, body: "" });
  const upload = client.request({ ":method": "POST", ":authority": "orders" });
  const chunk = Buffer.alloc(256 * 1024, "z");
  (async () => {
    for (let index = 0; index < 32; index++) if (!upload.write(chunk)) await once(upload, "drain");
    upload.end();
  })();
  t.equal((await finish(upload)).body.length, 8 * 1024 * 1024);
});

t.test("a reset of either side reaches the other with its code", async (t) => {
  let appCode: Promise<number> | null = null;
  const { client } = await meshed(t, (stream, headers) => {
    if (headers[":path"] === "/reset") {
      // With `waitForTrailers`, as node:http2 otherwise ends the stream in order before it resets it.
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.write("begin");
      setTimeout(() => stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM), 50);
    } else {
      appCode = new Promise((resolve) => stream.once("close", () => resolve(stream.rstCode ?? -1)));
      stream.respond({ ":status": 200 });
      stream.write("begin");
    }
  });
  t.equal((await finish(client.request({ ":path": "/reset", ":authority": "orders" }))).code, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  const left = client.request({ ":path": "/left", ":authority": "orders" });
  left.on("error", () => {});
  await once(left, "data");
  left.close(constants.NGHTTP2_CANCEL);
  t.equal(await appCode, constants.NGHTTP2_CANCEL);
});

t.test("refusals are plain answers for plain HTTP/2", async (t) => {
  const { client } = await meshed(t, (stream) => stream.respond({ ":status": 200 }, { endStream: true }), { rateLimit: "1/m" });
  t.match(await finish(client.request({ ":authority": "orders" })), { headers: { ":status": 200 } });
  t.match(await finish(client.request({ ":authority": "orders" })), {
    headers: { ":status": 429, "x-remora-reason": "rate_limited" },
    body: "rate limit exceeded\n",
  });
  t.match(await finish(client.request({ ":authority": "orders:99999" })), { headers: { ":status": 400 } });
});

/** A frame of RFC 9113 section 4.1. */
function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

t.test("an answer that node:http2 reads but will not send is a 502, not the end of the sidecar", async (t) => {
  const text = (value: string) => Buffer.concat([Buffer.from([value.length]), Buffer.from(value)]);
  // :status 200 (indexed), then content-type twice (literal without indexing, name 31 of the static table).
  const twice = Buffer.concat([Buffer.from([0x88, 0x0f, 0x10]), text("text/plain"), Buffer.from([0x0f, 0x10]), text("text/html")]);
  const app = createTcpServer((socket) => {
    socket.on("error", () => {});
    socket.write(frame(4, 0, 0, Buffer.alloc(0)));
    let read = Buffer.alloc(0);
    socket.on("data", (chunk: Buffer) => {
      read = Buffer.concat([read, chunk]);
      for (let at = 24; at + 9 <= read.length; at += 9 + read.readUIntBE(at, 3)) {
        if (read[at + 3] === 1) socket.write(frame(1, 5, read.readUInt32BE(at + 5), twice));
      }
    });
  }).listen(0, "127.0.0.1");
  await once(app, "listening");
  const pair = await startMeshPair({ appPort: (app.address() as AddressInfo).port, protocol: "http2" });
  const client = connect(`http://127.0.0.1:${pair.outboundPort}`);
  client.on("error", () => {});
  t.teardown(async () => {
    client.destroy();
    await pair.close();
    app.close();
  });
  const answer = await finish(client.request({ ":authority": "orders" }));
  t.match(answer, { headers: { ":status": 502, "x-remora-reason": "upstream_reset" } });
});

t.test("nghttp, another implementation, gets the same answer", { skip: requires("nghttp") }, async (t) => {
  const { pair } = await meshed(t, (stream) => {
    stream.respond({ ":status": 200 });
    stream.end("for nghttp");
  });
  const { stdout } = await promisify(execFile)(
    "nghttp",
    ["-H", ":authority: orders", "-m", "20", `http://127.0.0.1:${pair.outboundPort}/`],
    { timeout: 10_000 },
  );
  t.equal(stdout, "for nghttp".repeat(20));
});
