// Smuggling between HTTP/1.1 clients and a port that speaks HTTP/2: what one protocol says in one field or frame never is two of the other.
import type { IncomingHttpHeaders } from "node:http2";
import { h2Frame, h2Head } from "../../support/http2-fixture.ts";
import { GET } from "../../support/http1-fixture.ts";
import { eventually } from "../../support/raw-peers.ts";
import { END_STREAM, FRAME, test } from "./translate-http1-to-http2.ts";

test("heads that two readers could understand differently are refused, by either sidecar, and reach no app", async (t, mesh) => {
  const seen: string[] = [];
  const pair = await mesh.inFrontOf(
    (stream, headers) => {
      seen.push(String(headers[":path"]));
      stream.respond({ ":status": 200 }, { endStream: true });
    },
    { mode: "permissive" },
  );
  for (const head of [
    "GET / HTTP/1.1\r\nHost: orders\r\nHost: other",
    "GET / HTTP/1.1\r\nHost: orders, other",
    "GET / HTTP/1.1\r\nHost: user@orders",
    "GET http://other/ HTTP/1.1\r\nHost: orders",
    "GET http://user@orders/ HTTP/1.1\r\nHost: orders",
    "GET / HTTP/1.1\r\nHost: orders\r\n:authority: other",
    "GET / HTTP/1.1\r\nHost: orders\r\n:path: /admin",
    "GET / HTTP/1.1\r\nHost: orders\r\nX: a\rInjected: b",
    "GET / HTTP/1.1\r\nHost: orders\r\nX: a\nInjected: b",
    "GET / HTTP/1.1\r\nHost: orders\r\nX: a\0b",
    "GET / HTTP/1.1\r\nHost: orders\r\nX : a",
    "GET / HTTP/1.1\r\nHost: orders\r\nX: a\r\n folded: b",
    "GET /\x7f HTTP/1.1\r\nHost: orders",
    "GET /a b HTTP/1.1\r\nHost: orders",
    "GET /a#b HTTP/1.1\r\nHost: orders",
    "GET admin HTTP/1.1\r\nHost: orders",
    "GET / HTTP/2.0\r\nHost: orders",
    "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nContent-Length: 6",
    "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5, 5",
    "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: +5",
    "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
    "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: gzip, chunked",
    "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: xchunked",
    "POST / HTTP/1.0\r\nHost: orders\r\nTransfer-Encoding: chunked",
  ]) {
    for (const port of [pair.outboundPort, pair.inboundPort]) {
      const client = mesh.connect(port);
      client.send(`${head}\r\n\r\n`);
      t.ok(await client.ended(), JSON.stringify(head));
      t.match(client.text(), /^HTTP\/1\.1 (400|431|501|505) /, JSON.stringify(head));
    }
  }
  t.same(seen, []);
});

test("what is a value stays one: colons, pseudo-looking text, obs-text, tabs; and no name can be of a pseudo-header field", async (t, mesh) => {
  let seen: IncomingHttpHeaders = {};
  const pair = await mesh.inFrontOf(
    (stream, headers) => {
      seen = headers;
      stream.respond({ ":status": 200, "content-length": 0 });
      stream.end();
    },
    { mode: "permissive" },
  );
  for (const port of [pair.outboundPort, pair.inboundPort]) {
    const client = mesh.connect(port);
    client.send(
      "GET /a:b HTTP/1.1\r\nHost: orders\r\nX-A: :path: /admin\r\nX-B: a\tb \xe9\r\nX-C: Transfer-Encoding: chunked\r\n" +
        "Transfer_Encoding: chunked\r\nContent_Length: 7\r\nX-Remora-Client-Id: forged\r\nX_Remora_Client_Id: forged\r\n\r\n",
    );
    t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 200 /);
    t.match(seen, {
      ":path": "/a:b",
      ":authority": "orders",
      "x-a": ":path: /admin",
      "x-b": "a\tb \xe9",
      "x-c": "Transfer-Encoding: chunked",
    });
    t.notMatch(Object.values(seen).join(), "forged");
    t.equal(seen["content-length"], undefined);
  }
});

test("trailers of a request that would be read as its head are refused", async (t, mesh) => {
  const trailers: IncomingHttpHeaders[] = [];
  const pair = await mesh.inFrontOf(
    (stream) => {
      stream.resume();
      stream.once("trailers", (found) => trailers.push(found));
      stream.once("end", () => {
        if (!stream.destroyed) stream.respond({ ":status": 200 }, { endStream: true });
      });
    },
    { mode: "permissive" },
  );
  for (const field of [
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "Host: other",
    "Authorization: Basic x",
    ":path: /admin",
    "X: a\rY: b",
  ]) {
    const client = mesh.connect(pair.inboundPort);
    client.send(`POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n${field}\r\n\r\n`);
    t.ok(await client.ended());
    t.match(client.text(), /^HTTP\/1\.1 400 /, field);
  }
  t.same(trailers, []);
});

/** Heads of answers that would be more than they seem in HTTP/1.1. */
const HEADS: Readonly<Record<string, readonly string[]>> = {
  "a line break in a value": [":status", "200", "x-a", "b\r\nInjected: c"],
  "an LF in a value": [":status", "200", "x-a", "b\nInjected: c"],
  "a CR in a value": [":status", "200", "x-a", "b\rInjected: c"],
  "a NUL in a value": [":status", "200", "x-a", "b\0c"],
  "a blank before a value": [":status", "200", "x-a", " b"],
  "a colon in a name": [":status", "200", "x-a: b\r\ny", "c"],
  "a colon alone in a name": [":status", "200", "x:a", "c"],
  "a blank in a name": [":status", "200", "x a", "c"],
  "an upper-case name": [":status", "200", "X-A", "c"],
  "an empty name": [":status", "200", "", "c"],
  "Transfer-Encoding": [":status", "200", "transfer-encoding", "chunked"],
  Connection: [":status", "200", "connection", "close"],
  Upgrade: [":status", "200", "upgrade", "websocket"],
  "Keep-Alive": [":status", "200", "keep-alive", "timeout=5"],
  "two lengths": [":status", "200", "content-length", "1", "content-length", "2"],
  "a list of lengths": [":status", "200", "content-length", "2, 2"],
  "a length with a sign": [":status", "200", "content-length", "+2"],
  "a status with text": [":status", "200 OK\r\nX: y"],
  "a status of two digits": [":status", "20"],
  "a status of 101": [":status", "101"],
  "no status": ["x-a", "b"],
  "a request's pseudo-header field": [":status", "200", ":path", "/"],
};

for (const [name, fields] of Object.entries(HEADS)) {
  test(`an answer with ${name} is a 502, and the client's connection goes on`, async (t, mesh) => {
    let calls = 0;
    const pair = await mesh.inFrontOfFrames(({ type, stream }, socket) => {
      if (type !== FRAME.headers) return;
      calls += 1;
      const head = calls === 1 ? fields : [":status", "200", "content-length", "2"];
      socket.write(Buffer.concat([h2Head(stream, head, false), h2Frame(FRAME.data, END_STREAM, stream, Buffer.from("ok"))]));
    });
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 502 /);
    client.send(GET);
    const text = await client.until(/ok$/);
    t.match(text, /200 OK\r\n[^]*\r\n\r\nok$/);
    t.notMatch(text, /injected/i);
  });
}

/** Content that is not what the head of its answer promised. */
const BODIES: Readonly<Record<string, { readonly fields: readonly string[]; readonly data: string }>> = {
  "longer than its length": { fields: ["content-length", "2"], data: "ok HTTP/1.1 200 OK" },
  "shorter than its length": { fields: ["content-length", "20"], data: "ok" },
};

for (const [name, { fields, data }] of Object.entries(BODIES)) {
  test(`content ${name}: cut off, and nothing of it becomes another answer`, async (t, mesh) => {
    const pair = await mesh.inFrontOfFrames(({ type, stream }, socket) => {
      if (type !== FRAME.headers) return;
      socket.write(h2Head(stream, [":status", "200", ...fields], false));
      setTimeout(() => socket.write(h2Frame(FRAME.data, END_STREAM, stream, Buffer.from(data))), 20);
    });
    const client = mesh.connect(pair.outboundPort);
    client.send(GET + GET);
    t.ok(await client.ended());
    t.equal(client.text().split("HTTP/1.1 200").length, 2, "one answer at most");
    t.notMatch(client.text(), /ok HTTP/);
  });
}

for (const [method, status] of [
  ["HEAD", "200"],
  ["GET", "204"],
  ["GET", "304"],
] as const) {
  test(`content of a ${status} to a ${method}, which has none, goes nowhere`, async (t, mesh) => {
    let calls = 0;
    const pair = await mesh.inFrontOfFrames(({ type, stream }, socket) => {
      if (type !== FRAME.headers) return;
      calls += 1;
      if (calls > 1) return void socket.write(h2Head(stream, [":status", "200", "content-length", "0", "x-next", "y"], true));
      socket.write(h2Head(stream, [":status", status, "content-length", "0"], false));
      setTimeout(() => socket.write(h2Frame(FRAME.data, END_STREAM, stream, Buffer.from("HTTP/1.1 299 Smuggled\r\n\r\n"))), 20);
    });
    const client = mesh.connect(pair.outboundPort);
    client.send(`${method} / HTTP/1.1\r\nHost: orders\r\n\r\n${GET}`);
    t.match(
      await client.until(/x-next: y\r\n[^]*\r\n\r\n$/),
      new RegExp(`^HTTP/1\\.1 ${status} [^]*\\r\\n\\r\\nHTTP/1\\.1 200 [^]*x-next: y`),
    );
    t.notMatch(client.text(), /299/);
    if (status === "204") t.match(client.text(), /^((?!content-length)[^])*HTTP\/1\.1 200/, "nor a length");
  });
}

test("an answer that has said that nothing follows is complete, though its stream never ends", async (t, mesh) => {
  const codes: number[] = [];
  const pair = await mesh.inFrontOfFrames(
    ({ type, stream, payload }, socket) => {
      if (type === FRAME.reset) codes.push(payload.readUInt32BE());
      if (type === FRAME.headers) socket.write(h2Head(stream, [":status", "200", "content-length", "0", "x-id", String(stream)], false));
    },
    { timeouts: { discardMs: 100 } },
  );
  const client = mesh.connect(pair.outboundPort);
  client.send(GET + GET + GET);
  t.match(await client.until(/x-id: 5\r\n/), /x-id: 1\r\n[^]*x-id: 3\r\n[^]*x-id: 5\r\n/);
  t.ok(await eventually(() => codes.length === 3));
});

test("trailers of an answer that would be read as its head cut it off; line breaks in them reset the stream", async (t, mesh) => {
  let fields: readonly string[] = [];
  let waitMs = 0;
  const pair = await mesh.inFrontOfFrames(({ type, stream }, socket) => {
    if (type !== FRAME.headers) return;
    socket.write(Buffer.concat([h2Head(stream, [":status", "200"], false), h2Frame(FRAME.data, 0, stream, Buffer.from("ok"))]));
    setTimeout(() => socket.write(h2Head(stream, fields, true)), waitMs);
  });
  for (waitMs of [0, 30]) {
    for (fields of [
      ["content-length", "2"],
      ["transfer-encoding", "chunked"],
      ["set-cookie", "a=b"],
      ["x-a", "b\r\n\r\nHTTP/1.1 200 OK"],
      [":status", "200"],
    ]) {
      const client = mesh.connect(pair.outboundPort);
      client.send(GET);
      const text = await client.until(/502 /, 300);
      t.ok(text.includes("502 ") || client.socket.destroyed || client.socket.readableEnded, fields.join());
      t.notMatch(text, /\r\n0\r\n|[^]HTTP\/1\.1 200/, fields.join());
      client.socket.destroy();
    }
  }
});
