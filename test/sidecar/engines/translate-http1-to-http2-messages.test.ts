// Messages of HTTP/1.1 clients to and from a port that speaks HTTP/2: what arrives of heads, content and trailers, and how a connection goes on.
import { writeFileSync } from "node:fs";
import { Agent, type IncomingMessage, request } from "node:http";
import type { IncomingHttpHeaders } from "node:http2";
import { freePort } from "../../support/free-port.ts";
import { ask, GET } from "../../support/http1-fixture.ts";
import { startProcess, waitForPort } from "../../support/processes.ts";
import { requires } from "../../support/requires.ts";
import { temporaryFolder } from "../../support/temporary-folder.ts";
import { bodyOf, test } from "./translate-http1-to-http2.ts";

const MEBIBYTE = 1024 * 1024;

test("a request becomes a stream: pseudo-header fields, lower-case names, nothing of the connection", async (t, mesh) => {
  let seen: IncomingHttpHeaders = {};
  let names: readonly string[] = [];
  const pair = await mesh.inFrontOf((stream, headers, flat) => {
    seen = headers;
    names = flat;
    stream.respond({ ":status": 200, "content-length": 2, "set-cookie": ["a=1", "b=2"], "x-app": "y" });
    stream.end("ok");
  });
  const client = mesh.connect(pair.outboundPort);
  client.send(
    "GET /a/./b?c=%41 HTTP/1.1\r\nHost: orders:80\r\nX-Mixed-Case: Kept As It Is\r\nCookie: a=1; b=2\r\nTE: trailers, deflate;q=0.5\r\nTE: trailers\r\n" +
      "Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive, x-nominated\r\nX-Nominated: gone\r\nX-Empty:\r\n\r\n",
  );
  t.match(await client.until(/ok$/), /^HTTP\/1\.1 200 OK\r\n/);
  t.match(seen, {
    ":method": "GET",
    ":scheme": "http",
    ":authority": "orders:80",
    ":path": "/a/b?c=%41",
    "x-mixed-case": "Kept As It Is",
    cookie: "a=1; b=2",
    te: "trailers",
    "x-empty": "",
    "x-remora-client-id": /^spiffe:/,
  });
  for (const name of ["host", "connection", "keep-alive", "proxy-connection", "x-nominated", "transfer-encoding", "upgrade"])
    t.notOk(names.includes(name), name);
  t.match(client.text(), /set-cookie: a=1\r\nset-cookie: b=2\r\n/);
  t.match(client.text(), /content-length: 2\r\n/);
  t.notMatch(client.text(), /transfer-encoding|connection:|:status/i);
  t.match(pair.calleeLedger.finished, [{ status: 200, grpcStatus: -1, refusal: null, protocol: "http1", path: "/a/b?c=%41" }]);
});

test("answers are framed as their client can read them", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream, headers) => {
    const isLong = headers[":path"] === "/length";
    const status = Number(/\d+$/.exec(headers[":path"] ?? "")?.[0] ?? 200);
    const isEmpty = headers[":path"] === "/empty" || headers[":method"] === "HEAD" || status === 204 || status === 304;
    stream.respond({ ":status": status, ...(isLong ? { "content-length": "5" } : {}) }, { endStream: isEmpty });
    if (!isEmpty) {
      stream.write("he");
      setTimeout(() => stream.end("llo"), 5);
    }
  });
  const client = mesh.connect(pair.outboundPort);
  let had = 0;
  const next = async (head: string, end: RegExp) => {
    client.send(`${head}\r\nHost: orders\r\n\r\n`);
    const text = (await client.until(new RegExp(`^[^]{${had}}${end.source}$`))).slice(had);
    had += text.length;
    return text;
  };
  t.match(await next("GET /length HTTP/1.1", /[^]*\r\n\r\nhello/), /content-length: 5/);
  t.match(await next("GET / HTTP/1.1", /[^]*\r\n0\r\n\r\n/), /transfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n$/);
  t.match(await next("GET /empty HTTP/1.1", /[^]*\r\n\r\n/), /content-length: 0\r\n/);
  t.match(await next("HEAD /length HTTP/1.1", /[^]*\r\n\r\n/), /content-length: 5\r\n/);
  t.notMatch(await next("HEAD / HTTP/1.1", /[^]*\r\n\r\n/), /content-length|transfer-encoding/);
  t.notMatch(await next("GET /204 HTTP/1.1", /[^]*\r\n\r\n/), /content-length|transfer-encoding/);
  t.notMatch(await next("GET /304 HTTP/1.1", /[^]*\r\n\r\n/), /content-length|transfer-encoding/);
  t.match(await next("GET /length HTTP/1.1", /[^]*\r\n\r\nhello/), /^HTTP\/1\.1 200 OK/, "the connection was used all along");
  t.equal(mesh.accepted, 1, "one connection to the app");
});

test("HTTP/1.0 clients: without chunks, with and without keep-alive, with and without Host", async (t, mesh) => {
  const pair = await mesh.inFrontOf(
    (stream, headers) => {
      stream.respond({ ":status": 200, ...(headers[":path"] === "/length" ? { "content-length": "5" } : {}) });
      stream.write("he");
      stream.end(headers[":path"] === "/host" ? `${headers[":authority"]}` : "llo");
    },
    { mode: "permissive" },
  );
  const unframed = mesh.connect(pair.outboundPort);
  unframed.send("GET / HTTP/1.0\r\nHost: orders\r\nConnection: keep-alive\r\n\r\n");
  t.ok(await unframed.ended());
  t.match(unframed.text(), /^HTTP\/1\.1 200 OK\r\n[^]*\r\n\r\nhello$/);
  t.notMatch(unframed.text(), /chunked/);
  const alive = mesh.connect(pair.outboundPort);
  alive.send("GET /length HTTP/1.0\r\nHost: orders\r\nConnection: keep-alive\r\n\r\n");
  t.match(await alive.until(/hello$/), /connection: keep-alive/i);
  alive.send("GET /length HTTP/1.0\r\nHost: orders\r\n\r\n");
  t.ok(await alive.ended());
  const hostless = mesh.connect(pair.inboundPort);
  hostless.send("GET /host HTTP/1.0\r\n\r\n");
  t.ok(await hostless.ended());
  t.match(hostless.text(), /he127\.0\.0\.1:\d+$/);
});

test("content of any framing arrives whole, with its trailers; so does the answer's", async (t, mesh) => {
  const seen: Array<{ length: string | undefined; encoding: string | undefined; body: string; sum: unknown }> = [];
  const pair = await mesh.inFrontOf(async (stream, headers) => {
    let sum: unknown;
    stream.once("trailers", (trailers) => {
      sum = trailers["x-sum"];
    });
    const body = await bodyOf(stream);
    seen.push({ length: headers["content-length"], encoding: headers["transfer-encoding"], body, sum });
    stream.respond({ ":status": 200, trailer: "x-sum" }, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "7", "x-remora-reason": "forged" }));
    stream.end(body);
  });
  const client = mesh.connect(pair.outboundPort);
  for (const [index, bytes] of [
    "Content-Length: 5\r\n\r\nhello",
    "Content-Length: 005\r\n\r\nhello",
    "Content-Length: 0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nhel\r\n2\r\nlo\r\n0\r\nX-Sum: 5\r\nX-Remora-Reason: forged\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "Transfer-Encoding: chunked\r\n\r\n0\r\nX-Sum: 0\r\n\r\n",
  ].entries()) {
    client.send(`POST / HTTP/1.1\r\nHost: orders\r\n${bytes}`);
    t.match(await client.until(new RegExp(`(x-sum: 7\r\n\r\n[^]*){${index + 1}}$`)), /x-sum: 7\r\n\r\n$/);
  }
  t.notMatch(client.text(), /forged/);
  t.same(seen, [
    { length: "5", encoding: undefined, body: "hello", sum: undefined },
    { length: "5", encoding: undefined, body: "hello", sum: undefined },
    { length: "0", encoding: undefined, body: "", sum: undefined },
    { length: undefined, encoding: undefined, body: "hello", sum: "5" },
    { length: undefined, encoding: undefined, body: "", sum: undefined },
    { length: undefined, encoding: undefined, body: "", sum: "0" },
  ]);
});

test("trailers without a place are left out: behind a length, and for HTTP/1.0", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream, headers) => {
    stream.respond({ ":status": 200, ...(headers[":path"] === "/length" ? { "content-length": "2" } : {}) }, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "x-sum": "7" }));
    stream.end("ok");
  });
  t.match(await ask(pair.outboundPort), { body: "ok", trailers: { "x-sum": "7" } });
  t.match(await ask(pair.outboundPort, { path: "/length" }), { body: "ok", trailers: {} });
  const old = mesh.connect(pair.outboundPort);
  old.send("GET / HTTP/1.0\r\nHost: orders\r\n\r\n");
  t.ok(await old.ended());
  t.match(old.text(), /\r\n\r\nok$/);
});

test("bodies of all sizes, and pieces of one byte, cross both ways", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream, headers) => {
    stream.respond({ ":status": 200, ...(headers["content-length"] === undefined ? {} : { "content-length": headers["content-length"] }) });
    stream.pipe(stream);
  });
  for (const size of [1, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, MEBIBYTE, 8 * MEBIBYTE]) {
    const body = Buffer.alloc(size, "0123456789");
    const [whole, chunked] = await Promise.all([
      ask(pair.outboundPort, { method: "POST", body, headers: { "content-length": String(size) } }),
      ask(pair.outboundPort, { method: "POST", body, headers: { "transfer-encoding": "chunked" } }),
    ]);
    t.equal(whole.headers["content-length"], String(size));
    t.equal(whole.body, body.toString());
    t.equal(chunked.headers["transfer-encoding"], "chunked");
    t.equal(chunked.body, body.toString());
  }
  const client = mesh.connect(pair.outboundPort);
  for (const character of "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\nX: y\r\n\r\n") {
    client.send(character);
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  const text = await client.until(/\r\n0\r\n\r\n$/);
  t.equal(text.slice(text.indexOf("\r\n\r\n") + 4).replace(/\r\n|[0-9]/g, ""), "hello");
});

test("pipelined requests are answered in order, on one connection to the app", async (t, mesh) => {
  const pair = await mesh.inFrontOf(async (stream, headers) => {
    const body = await bodyOf(stream);
    stream.respond({ ":status": 200 });
    setTimeout(() => stream.end(`<${headers[":path"]}${body}>`), Number(headers["x-wait"] ?? 0));
  });
  const client = mesh.connect(pair.outboundPort);
  let sent = "";
  for (let index = 0; index < 30; index += 1) {
    const body =
      index % 3 === 0
        ? `Content-Length: 3\r\n\r\nabc`
        : index % 3 === 1
          ? "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
          : "\r\n";
    sent += `POST /${index} HTTP/1.1\r\nHost: orders\r\nX-Wait: ${(index * 7) % 10}\r\n${body}`;
  }
  client.send(sent);
  const text = await client.until(/<\/29(abc)?>\r\n0\r\n\r\n$/, 5000);
  t.same(
    [...text.matchAll(/<\/(\d+)(?:abc)?>/g)].map(([, index]) => Number(index)),
    Array.from({ length: 30 }, (_, index) => index),
  );
  t.equal(mesh.accepted, 1);
});

test("100-continue: the app's 100 comes through, then the body goes; other interim answers come too", async (t, mesh) => {
  const pair = await mesh.inFrontOf(async (stream, headers) => {
    stream.additionalHeaders({ ":status": 103, link: "</a.css>; rel=preload", "x-remora-reason": "forged" });
    if (headers.expect === "100-continue") stream.additionalHeaders({ ":status": 100 });
    stream.end(`<${await bodyOf(stream)}>`);
  });
  const client = mesh.connect(pair.outboundPort);
  client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  t.match(
    await client.until(/100 Continue\r\n\r\n$/),
    /^HTTP\/1\.1 103 Early Hints\r\nlink: <\/a\.css>; rel=preload\r\n\r\nHTTP\/1\.1 100 Continue\r\n\r\n$/,
  );
  client.send("hello");
  t.match(await client.until(/<hello>\r\n0\r\n\r\n$/), /HTTP\/1\.1 200 OK/);
  const old = mesh.connect(pair.outboundPort);
  old.send("GET / HTTP/1.0\r\nHost: orders\r\n\r\n");
  t.ok(await old.ended());
  t.match(old.text(), /^HTTP\/1\.1 200 OK[^]*<>$/, "HTTP/1.0 knows no interim answers");
});

test("100-continue: an app that answers without the body is heard, and the connection ends", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream) => {
    stream.respond({ ":status": 417, "content-length": 2 });
    stream.end("no");
  });
  const client = mesh.connect(pair.outboundPort);
  client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n");
  t.match(await client.until(/no$/), /^HTTP\/1\.1 417 [^]*connection: close[^]*no$/i);
  client.send("GET /smuggled HTTP/1.1\r\nHost: orders\r\n\r\n");
  t.ok(await client.ended());
  t.equal(pair.calleeLedger.finished.length, 1);
});

test("an offer to upgrade is ignored; a CONNECT is not implemented", async (t, mesh) => {
  const names: string[] = [];
  const pair = await mesh.inFrontOf(
    (stream, _headers, flat) => {
      names.push(...flat);
      stream.respond({ ":status": 200, "content-length": 2 });
      stream.end("ok");
    },
    { mode: "permissive" },
  );
  const client = mesh.connect(pair.outboundPort);
  for (const protocol of ["websocket", "h2c"]) {
    client.send(
      `GET / HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: ${protocol}\r\nHTTP2-Settings: AAMAAABk\r\n\r\n`,
    );
    t.match(await client.until(protocol === "h2c" ? /ok[^]*ok$/ : /ok$/), /^HTTP\/1\.1 200 OK/);
  }
  t.notOk(names.includes("upgrade") || names.includes("http2-settings") || names.includes("connection"));
  const tunnel = mesh.connect(pair.inboundPort);
  tunnel.send("CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n");
  t.ok(await tunnel.ended());
  t.match(tunnel.text(), /^HTTP\/1\.1 501 [^]*connection: close/i);
  t.equal(pair.calleeLedger.finished.length, 3);
});

test("OPTIONS *, and targets in absolute form", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream, headers) => {
    stream.respond({ ":status": 200 });
    stream.end(`<${headers[":authority"]} ${headers[":path"]}>`);
  });
  for (const [line, seen] of [
    ["OPTIONS * HTTP/1.1\r\nHost: orders", "<orders *>"],
    ["GET http://orders/x?y HTTP/1.1\r\nHost: orders", "<orders /x?y>"],
    ["GET http://orders?y HTTP/1.1\r\nHost: orders", "<orders /?y>"],
  ]) {
    const client = mesh.connect(pair.outboundPort);
    client.send(`${line}\r\n\r\n`);
    t.match(await client.until(/>/), seen);
  }
});

test("node:http with keep-alive, many at once: connections to the app are shared", async (t, mesh) => {
  const pair = await mesh.inFrontOf(async (stream) => {
    stream.respond({ ":status": 200 });
    stream.end(await bodyOf(stream));
  });
  const agent = new Agent({ keepAlive: true, maxSockets: 20 });
  t.teardown(() => agent.destroy());
  const one = (body: string) =>
    new Promise<string>((resolve, reject) => {
      const sent = request({ host: "127.0.0.1", port: pair.outboundPort, method: "POST", agent, headers: { host: "orders" } });
      sent.once("error", reject).once("response", async (answer: IncomingMessage) => {
        let text = "";
        for await (const chunk of answer) text += chunk;
        resolve(text);
      });
      sent.end(body);
    });
  const bodies = Array.from({ length: 400 }, (_, index) => `body ${index} ${"x".repeat(index * 37)}`);
  t.same(await Promise.all(bodies.map(one)), bodies);
  agent.destroy();
  t.ok(mesh.accepted <= 2, `${mesh.accepted} connections`);
});

test("a path of 8 KiB and a head of 60 KB arrive whole", async (t, mesh) => {
  const pair = await mesh.inFrontOf(
    (stream, headers) => {
      stream.respond({ ":status": 200, "x-long": "z".repeat(30_000) });
      stream.end(`<${headers[":path"]?.length} ${String(headers["x-long"]).length}>`);
    },
    {},
    { maxHeaderListSize: 128 * 1024 },
  );
  const client = mesh.connect(pair.outboundPort);
  client.send(`GET /${"p".repeat(8000)} HTTP/1.1\r\nHost: orders\r\nX-Long: ${"y".repeat(50_000)}\r\n\r\n`);
  t.match(await client.until(/>/), /x-long: z{30000}\r\n[^]*<8001 50000>/);
});

test(
  "curl in front of nghttpd: files, HEAD, uploads",
  async (t, mesh) => {
    const folder = temporaryFolder(t);
    writeFileSync(`${folder}/small`, "small");
    writeFileSync(`${folder}/large`, Buffer.alloc(3 * MEBIBYTE, "0123456789"));
    const appPort = await freePort();
    startProcess(t, "nghttpd", { args: ["--no-tls", "--address=127.0.0.1", `--htdocs=${folder}`, String(appPort)] });
    await waitForPort(appPort);
    const pair = await mesh.pairFor(appPort, { protocol: "http2" });
    const curl = async (...args: string[]) => {
      const run = startProcess(t, "curl", { args: ["--silent", "--show-error", "--http1.1", "-H", "Host: orders", ...args] });
      t.equal(await run.exit(), 0, args.join(" "));
      return run.lines.join("\n");
    };
    const base = `http://127.0.0.1:${pair.outboundPort}`;
    t.match(await curl("-i", `${base}/small`, `${base}/small`), /200 OK[^]*small[^]*200 OK[^]*small$/);
    t.match(await curl("-I", `${base}/large`), /HTTP\/1\.1 200 OK[^]*content-length: 3145728/i);
    t.match(await curl("-o", "/dev/null", "-w", "%{http_code} %{size_download}", `${base}/large`), "200 3145728");
    t.match(await curl("-o", "/dev/null", "-w", "%{http_code}", "-T", `${folder}/large`, `${base}/small`), /^\d{3}$/);
    t.match(
      await curl(
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        `@${folder}/large`,
        `${base}/small`,
      ),
      /^200$/,
    );
    t.match(await curl("-i", "-0", `${base}/small`), /200 OK[^]*small$/);
  },
  { skip: requires("curl", "nghttpd") },
);

test("a refused request reaches no app; the next on its connection does", async (t, mesh) => {
  let calls = 0;
  const pair = await mesh.inFrontOf(
    (stream) => {
      calls += 1;
      stream.respond({ ":status": 200, "content-length": 2 });
      stream.end("ok");
    },
    { rateLimit: "1/m path=/limited" },
  );
  const client = mesh.connect(pair.outboundPort);
  client.send("GET /limited HTTP/1.1\r\nHost: orders\r\n\r\nGET /limited HTTP/1.1\r\nHost: orders\r\n\r\n");
  client.send(GET);
  const text = await client.until(/200 OK[^]*429 [^]*200 OK[^]*ok$/);
  t.match(text, /200 OK[^]*429 [^]*200 OK[^]*ok$/);
  t.equal(calls, 2);
});
