// How requests of HTTP/1.1 clients to a port that speaks HTTP/2 end when somebody leaves, refuses or breaks off: nothing that could be taken for whole, and
// nothing left behind.
import { constants, type ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { ask, GET } from "../../support/http1-fixture.ts";
import { h2Frame, h2Head } from "../../support/http2-fixture.ts";
import { eventually, type RawClient } from "../../support/raw-peers.ts";
import { bodyOf, END_STREAM, FRAME, goawayFrame, resetFrame, test } from "./translate-http1-to-http2.ts";

const { NGHTTP2_CANCEL, NGHTTP2_INTERNAL_ERROR, NGHTTP2_NO_ERROR, NGHTTP2_REFUSED_STREAM } = constants;
const CHUNKED = "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\na\r\n01234";
const LENGTH = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 10\r\n\r\n01234";
const OK_HEAD = (stream: number, isEnd: boolean) => h2Head(stream, [":status", "200"], isEnd);

/** Where an exchange stands when somebody breaks it off. */
const PHASES: ReadonlyArray<{
  readonly name: string;
  readonly sent: string;
  readonly answer: readonly string[] | null;
  readonly data?: string;
}> = [
  { name: "no answer yet", sent: GET, answer: null },
  { name: "half of a body with a length", sent: LENGTH, answer: null },
  { name: "half of a chunked body", sent: CHUNKED, answer: null },
  { name: "an answer's head", sent: GET, answer: [":status", "200"] },
  { name: "half of an answer", sent: GET, answer: [":status", "200"], data: "do" },
  { name: "half of an answer with a length", sent: GET, answer: [":status", "200", "content-length", "4"], data: "do" },
  { name: "an answer while the body comes", sent: CHUNKED, answer: [":status", "200"], data: "do" },
  { name: "pipelined requests", sent: GET + GET + GET, answer: [":status", "200"], data: "do" },
];

function answerSoFar(phase: (typeof PHASES)[number], stream: number): Buffer {
  const head = phase.answer === null ? Buffer.alloc(0) : h2Head(stream, phase.answer, false);
  return Buffer.concat([head, phase.data === undefined ? Buffer.alloc(0) : h2Frame(FRAME.data, 0, stream, Buffer.from(phase.data))]);
}

async function reach(phase: (typeof PHASES)[number], client: RawClient, hasCome: () => boolean): Promise<void> {
  client.send(phase.sent);
  await eventually(hasCome);
  if (phase.data !== undefined) await client.until(/do/);
  else if (phase.answer !== null) await client.until(/\r\n\r\n/);
  else await new Promise((resolve) => setTimeout(resolve, 20));
}

/** Ways in which an app ends a stream before it is whole. */
const BREAKS: Readonly<Record<string, (socket: Socket, stream: number) => void>> = {
  "resets the stream": (socket, stream) => void socket.write(resetFrame(stream, NGHTTP2_INTERNAL_ERROR)),
  "resets the stream without an error": (socket, stream) => void socket.write(resetFrame(stream, NGHTTP2_NO_ERROR)),
  "resets the connection": (socket) => void socket.resetAndDestroy(),
  "ends the connection": (socket) => void socket.end(),
  "sends a GOAWAY with an error, and ends": (socket, stream) => void socket.end(goawayFrame(stream, NGHTTP2_INTERNAL_ERROR)),
  "breaks a rule": (socket, stream) => void socket.write(h2Frame(FRAME.windowUpdate, 0, stream, Buffer.alloc(4))),
  "sends what is no trailer section": (socket, stream) => void socket.write(h2Head(stream, ["content-length", "4"], true)),
};

for (const phase of PHASES) {
  for (const [how, breakOff] of Object.entries(BREAKS)) {
    if (how === "sends what is no trailer section" && phase.answer === null) continue;
    test(`an app that ${how} after ${phase.name}`, async (t, mesh) => {
      const heads: Array<() => void> = [];
      let calls = 0;
      const pair = await mesh.inFrontOfFrames(({ type, stream }, socket) => {
        if (type !== FRAME.headers) return;
        calls += 1;
        if (calls > 1)
          return void socket.write(Buffer.concat([OK_HEAD(stream, false), h2Frame(FRAME.data, END_STREAM, stream, Buffer.from("next"))]));
        socket.write(answerSoFar(phase, stream));
        heads.push(() => breakOff(socket, stream));
      });
      const client = mesh.connect(pair.outboundPort);
      await reach(phase, client, () => heads.length > 0);
      heads[0]?.();
      if (phase.answer === null) t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 502 [^]*x-remora-reason: upstream_reset/);
      else {
        t.ok(await client.ended(), "cut off");
        t.notMatch(client.text(), /\r\n0\r\n\r\n|next/, "and not to be taken for whole");
      }
      t.match(await ask(pair.outboundPort), { body: "next" }, "the next request is answered");
      t.match(pair.calleeLedger.finished[0]?.refusal, { reason: "upstream_reset" });
    });
  }

  for (const leave of ["resetAndDestroy", "end"] as const) {
    test(`a client that leaves (${leave}) after ${phase.name}: the stream is cancelled, its connection stays`, async (t, mesh) => {
      const codes: number[] = [];
      let calls = 0;
      let accepted = 0;
      const pair = await mesh.inFrontOfFrames(({ type, stream, payload }, socket, index) => {
        accepted = index + 1;
        if (type === FRAME.reset) codes.push(payload.readUInt32BE());
        if (type !== FRAME.headers) return;
        calls += 1;
        socket.write(calls === 1 ? answerSoFar(phase, stream) : OK_HEAD(stream, true));
      });
      const client = mesh.connect(pair.outboundPort);
      await reach(phase, client, () => calls === 1);
      client.socket[leave]();
      t.ok(await eventually(() => codes.length === 1));
      t.same(codes, [NGHTTP2_CANCEL]);
      t.match(await ask(pair.outboundPort), { status: 200 });
      t.equal(accepted, 1);
    });
  }
}

test("a refused stream is opened again, while nothing of its body is gone; an app that refuses for ever is a 502", async (t, mesh) => {
  let calls = 0;
  let refuses = 1;
  const pair = await mesh.inFrontOf(async (stream) => {
    calls += 1;
    if (refuses > 0) {
      refuses -= 1;
      return stream.close(NGHTTP2_REFUSED_STREAM);
    }
    stream.respond({ ":status": 200 });
    stream.end(`<${await bodyOf(stream)}>`);
  });
  t.match(await ask(pair.outboundPort), { status: 200, body: "<>" });
  t.equal(calls, 2);
  refuses = 99;
  t.match(await ask(pair.outboundPort), { status: 502, headers: { "x-remora-reason": "connect_failed" } });
  t.ok(calls <= 11, `${calls} attempts, those of the caller's sidecar included`);
});

test("a body that waits for a 100 is still whole when its stream is refused; one that was sent is not", async (t, mesh) => {
  let calls = 0;
  const pair = await mesh.inFrontOfFrames(({ type, stream }, socket) => {
    if (type === FRAME.headers) {
      calls += 1;
      if (calls === 1) return void socket.write(resetFrame(stream, NGHTTP2_REFUSED_STREAM));
      socket.write(h2Head(stream, [":status", "100"], false));
    }
    if (type === FRAME.data) socket.write(calls === 2 ? OK_HEAD(stream, true) : resetFrame(stream, NGHTTP2_REFUSED_STREAM));
  });
  const client = mesh.connect(pair.outboundPort);
  client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
  t.match(await client.until(/100 Continue\r\n\r\n/), /^HTTP\/1\.1 100 /);
  client.send("hello");
  t.match(await client.until(/content-length: 0\r\n\r\n$/), /200 OK/);
  t.equal(calls, 2);
  client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\n\r\nhello");
  t.match(await client.until(/502 /), /HTTP\/1\.1 502 /);
  t.equal(calls, 3);
});

test("a GOAWAY that leaves streams out: they go to a new connection; the others end where they are", async (t, mesh) => {
  const streams: Array<[number, number]> = [];
  const pair = await mesh.inFrontOfFrames(({ type, stream }, socket, index) => {
    if (type !== FRAME.headers) return;
    streams.push([index, stream]);
    if (index > 0)
      return void socket.write(Buffer.concat([OK_HEAD(stream, false), h2Frame(FRAME.data, END_STREAM, stream, Buffer.from("new"))]));
    if (streams.length < 3) return;
    socket.write(goawayFrame(1, NGHTTP2_NO_ERROR));
    setTimeout(() => socket.write(Buffer.concat([OK_HEAD(1, false), h2Frame(FRAME.data, END_STREAM, 1, Buffer.from("old"))])), 50);
  });
  const answers = await Promise.all([ask(pair.outboundPort), ask(pair.outboundPort), ask(pair.outboundPort)]);
  t.same(answers.map(({ body }) => body).sort(), ["new", "new", "old"]);
  t.match(await ask(pair.outboundPort), { body: "new" });
});

test("an early answer: the rest of the body is thrown away, and the connection used again or ended", async (t, mesh) => {
  const pair = await mesh.inFrontOf((stream, headers) => {
    stream.respond({ ":status": headers[":path"] === "/next" ? 200 : 413 });
    stream.end(headers[":path"] === "/next" ? "next" : "too large");
    if (headers[":path"] === "/stop") stream.once("finish", () => stream.close(NGHTTP2_NO_ERROR));
  });
  for (const path of ["/stop", "/go"]) {
    const client = mesh.connect(pair.outboundPort);
    const chunk = "x".repeat(65_536);
    client.send(`POST ${path} HTTP/1.1\r\nHost: orders\r\nContent-Length: ${chunk.length * 100}\r\n\r\n`);
    for (let index = 0; index < 100 && !client.socket.destroyed; index += 1) {
      client.send(chunk);
      if (index % 10 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
    t.match(await client.until(/too large/), /^HTTP\/1\.1 413 [^]*too large/);
    client.send("GET /next HTTP/1.1\r\nHost: orders\r\n\r\n");
    t.ok((await client.until(/next/)).includes("next") || client.socket.readableEnded || client.socket.destroyed);
  }
});

test("a body that turns out to be none: the stream is cancelled, nothing behind it is read", async (t, mesh) => {
  const ends: number[] = [];
  let calls = 0;
  const pair = await mesh.inFrontOf(
    (stream) => {
      calls += 1;
      stream.resume();
      stream.once("close", () => ends.push(stream.rstCode ?? -1));
    },
    { mode: "permissive" },
  );
  for (const rest of [
    "zz\r\n",
    "5\r\nhelloXX",
    "0\r\nContent-Length: 3\r\n\r\n",
    "0\r\nX: a\nb\r\n\r\n",
    "ffffffffffffffffff\r\n",
    "-1\r\n",
  ]) {
    const client = mesh.connect(pair.inboundPort);
    client.send(
      `POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n${rest}GET /smuggled HTTP/1.1\r\nHost: orders\r\n\r\n`,
    );
    t.ok(await client.ended());
    t.match(client.text(), /^HTTP\/1\.1 400 /, JSON.stringify(rest));
    t.notMatch(client.text(), /HTTP\/1\.1 [^]*HTTP\/1\.1/);
  }
  t.ok(await eventually(() => ends.length === 6));
  t.same(new Set(ends), new Set([NGHTTP2_CANCEL]));
  t.equal(calls, 6);
});

test("an app that is no HTTP/2 server, or says nothing", async (t, mesh) => {
  for (const greeting of ["SSH-2.0-x\r\n", "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "\x00\x00\x00\x04\x01", ""]) {
    const appPort = await mesh.rawApp((socket) => {
      socket.on("data", () => {});
      socket.on("end", () => socket.end());
      if (greeting !== "") socket.end(greeting);
    });
    const pair = await mesh.pairFor(appPort, { protocol: "http2" });
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    if (greeting === "") {
      await new Promise((resolve) => setTimeout(resolve, 100));
      client.socket.destroy();
    } else t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 502 /, JSON.stringify(greeting));
  }
});

test("an app that nobody listens for is a 502", async (t, mesh) => {
  const pair = await mesh.pairFor(1, { protocol: "http2" });
  t.match(await ask(pair.outboundPort), { status: 502, headers: { "x-remora-reason": "connect_failed" } });
});

test("a client that leaves while a connection is awaited takes no place", async (_t, mesh) => {
  let calls = 0;
  const pair = await mesh.inFrontOf((stream) => {
    calls += 1;
    stream.respond({ ":status": 200 }, { endStream: true });
  });
  for (let index = 0; index < 20; index += 1) {
    const client = mesh.connect(pair.outboundPort);
    client.send(GET);
    setTimeout(() => client.socket.resetAndDestroy(), index);
    await client.ended();
  }
  await eventually(() => calls > 0, 200);
});

test("a drain lets what is under way end whole", async (t, mesh) => {
  let held: ServerHttp2Stream | null = null;
  const pair = await mesh.inFrontOf((stream) => {
    stream.respond({ ":status": 200 });
    stream.write("do");
    held = stream;
  });
  const client = mesh.connect(pair.outboundPort);
  client.send(GET);
  await client.until(/do/);
  pair.drain("inbound");
  pair.drain("outbound");
  (held as ServerHttp2Stream | null)?.end("ne");
  t.match(await client.until(/\r\n0\r\n\r\n$/), /do\r\n2\r\nne\r\n0\r\n\r\n$/);
  t.ok(await client.ended());
});

test("50 clients of an app that takes one stream at a time", async (t, mesh) => {
  let open = 0;
  let most = 0;
  const pair = await mesh.inFrontOf(
    (stream) => {
      open += 1;
      most = Math.max(most, open);
      setTimeout(() => {
        open -= 1;
        stream.respond({ ":status": 200 }, { endStream: true });
      }, 2);
    },
    {},
    { maxConcurrentStreams: 1 },
  );
  const answers = await Promise.all(Array.from({ length: 50 }, () => ask(pair.outboundPort)));
  t.ok(answers.every(({ status }) => status === 200));
  t.ok(most <= 8, `${most} at once, one for each connection`);
});

test("who takes too long is given up: an app that reads nothing, a client that sends nothing", async (t, mesh) => {
  const timeouts = { stallMs: 300, discardMs: 100, lingerMs: 100 };
  const codes: number[] = [];
  const pair = await mesh.inFrontOf(
    (stream) => {
      stream.once("close", () => codes.push(stream.rstCode ?? -1));
    },
    { timeouts, mode: "permissive" },
  );
  const writer = mesh.connect(pair.inboundPort);
  writer.send(`POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 10000000\r\n\r\n${"x".repeat(1_000_000)}`);
  t.match(await writer.until(/\r\n\r\n/), /^HTTP\/1\.1 504 /);
  const silent = mesh.connect(pair.inboundPort);
  silent.send(LENGTH);
  t.match(await silent.until(/\r\n\r\n/), /^HTTP\/1\.1 408 /);
  t.ok(await eventually(() => codes.length === 2));
  t.same(codes, [NGHTTP2_CANCEL, NGHTTP2_CANCEL]);
  t.match(
    pair.calleeLedger.finished.map(({ refusal }) => refusal?.reason),
    ["timeout", "timeout"],
  );
});
