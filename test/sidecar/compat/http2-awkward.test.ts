// HTTP/2 as no well-behaved peer speaks it: resets at every moment, apps that answer what may not be sent on, connections that go away.
import { once } from "node:events";
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  constants,
  createServer,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
  type Settings,
} from "node:http2";
import { type AddressInfo, connect as connectTcp, type Socket } from "node:net";
import t from "tap";
import { type MeshPair, type MeshPairOptions, startMeshPair } from "../../support/mesh-pair.ts";
import { eventually, startRawApp } from "../../support/raw-peers.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

type Tap = { teardown(run: () => unknown): void };
type Handler = (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) => void;

const { NGHTTP2_CANCEL, NGHTTP2_REFUSED_STREAM, NGHTTP2_NO_ERROR } = constants;

interface Fixture {
  readonly pair: MeshPair;
  readonly client: ClientHttp2Session;
  readonly appSessions: Set<ServerHttp2Session>;
}

async function meshed(t: Tap, handler: Handler, options: Partial<MeshPairOptions> = {}, settings: Settings = {}): Promise<Fixture> {
  const app = createServer({ settings });
  const appSessions = new Set<ServerHttp2Session>();
  app.on("session", (session) => {
    appSessions.add(session);
    session.on("error", () => {});
    session.once("close", () => appSessions.delete(session));
  });
  app.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    handler(stream as ServerHttp2Stream, headers);
  });
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
  const { pair, client } = await pairFor(t, (app.address() as AddressInfo).port, options);
  t.teardown(() => {
    for (const session of appSessions) session.destroy();
    app.close();
  });
  return { pair, client, appSessions };
}

async function pairFor(
  t: Tap,
  appPort: number,
  options: Partial<MeshPairOptions> = {},
): Promise<{ pair: MeshPair; client: ClientHttp2Session }> {
  const pair = await startMeshPair({ appPort, protocol: "http2", ...options });
  const client = connectClient(t, pair.outboundPort);
  t.teardown(() => pair.close());
  return { pair, client };
}

function connectClient(t: Tap, port: number): ClientHttp2Session {
  const client = connect(`http://127.0.0.1:${port}`, { settings: { enablePush: false } });
  client.on("error", () => {});
  t.teardown(() => client.destroy());
  return client;
}

/** Opens a stream; errors of it are swallowed. */
function ask(client: ClientHttp2Session, fields: Record<string, string | string[]> = {}, body?: string | Buffer | null): ClientHttp2Stream {
  const hasBody = body !== undefined;
  const stream = client.request(
    { ":authority": "orders", ":method": hasBody ? "POST" : "GET", ...fields },
    { endStream: !hasBody, waitForTrailers: hasBody },
  );
  stream.on("error", () => {});
  // With trailers to come, as node:http2 otherwise ends a stream in order before it resets it.
  stream.once("wantTrailers", () => stream.sendTrailers({}));
  if (hasBody && body !== null) stream.end(body);
  return stream;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly trailers: IncomingHttpHeaders;
  readonly body: string;
  readonly code: number;
}

async function finish(stream: ClientHttp2Stream): Promise<Answer> {
  let headers: IncomingHttpHeaders = {};
  let trailers: IncomingHttpHeaders = {};
  let body = "";
  stream.on("response", (found) => {
    headers = found;
  });
  stream.on("trailers", (found) => {
    trailers = found;
  });
  stream.on("data", (chunk) => {
    body += chunk;
  });
  if (!stream.closed || !stream.destroyed) await new Promise((resolve) => stream.once("close", resolve));
  return { status: Number(headers[":status"] ?? 0), headers, trailers, body, code: stream.rstCode ?? 0 };
}

async function balances({ callerShed, calleeShed, callerLedger, calleeLedger }: MeshPair): Promise<boolean> {
  const quiet = await eventually(
    () =>
      callerShed.inFlight === 0 &&
      calleeShed.inFlight === 0 &&
      callerLedger.begun === callerLedger.finished.length &&
      calleeLedger.begun === calleeLedger.finished.length,
  );
  return quiet && callerLedger.finishedTwice === 0 && calleeLedger.finishedTwice === 0;
}

const GRPC = { "content-type": "application/grpc", te: "trailers" };
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

t.test("a stream that is reset while its destination is looked up is finished once and takes no place", async (t) => {
  const waiting: Array<() => void> = [];
  const { pair, client } = await meshed(t, (stream) => stream.respond({ ":status": 200 }, { endStream: true }), {
    lookup: (give) => waiting.push(give),
  });
  const stream = ask(client);
  await eventually(() => waiting.length === 1);
  stream.close(NGHTTP2_CANCEL);
  await pause(50);
  waiting.pop()?.();
  ask(client);
  await eventually(() => waiting.length === 1);
  client.destroy();
  await pause(50);
  waiting.pop()?.();
  t.ok(await balances(pair));
});

t.test("a body that is cut off while it is held reaches nobody", async (t) => {
  let seen = 0;
  const { pair, client } = await meshed(t, () => {
    seen += 1;
  });
  for (const delayMs of [0, 0, 0, 1, 1, 2]) {
    const stream = ask(client, GRPC, null);
    stream.write("half a message");
    await pause(delayMs);
    stream.close(NGHTTP2_CANCEL);
    await pause(20);
  }
  t.ok(await balances(pair));
  const whole = pair.calleeLedger.finished.filter(({ expectedDigest }) => expectedDigest !== null);
  t.same(whole, [], "nothing was digested and sent on as if it were whole");
  t.same(
    pair.calleeLedger.finished.filter(({ refusal }) => refusal?.reason.startsWith("signature")),
    [],
    "a client that leaves is not a bad signature",
  );
  t.ok(seen <= 6);
});

t.test("an app that answers what may not be sent on is a 502 or a reset, and harms nobody", async (t) => {
  const heads: Readonly<Record<string, readonly Buffer[]>> = {
    status: [h2Head(1, [":status", "999"], true)],
    "status 99": [h2Head(1, [":status", "099"], true)],
    switching: [h2Head(1, [":status", "101"], false), h2Head(1, [":status", "200"], true)],
    "early hint twice": [h2Head(1, [":status", "103", "etag", "1", "etag", "2"], false), h2Head(1, [":status", "200"], true)],
    double: [h2Head(1, [":status", "200", "etag", "1", "etag", "2"], true)],
    "double in trailers": [h2Head(1, [":status", "200"], false), h2Head(1, ["etag", "1", "etag", "2"], true)],
    "forged in trailers": [h2Head(1, [":status", "200"], false), h2Head(1, ["x-remora-reason", "forged", "x-sum", "1"], true)],
    "pseudo in trailers": [h2Head(1, [":status", "200"], false), h2Head(1, [":status", "200"], true)],
    connection: [h2Head(1, [":status", "200", "connection", "close"], true)],
    "no status": [h2Head(1, ["x-sum", "1"], true)],
    "upper case": [h2Head(1, [":status", "200", "X-Sum", "1"], true)],
    "wrong length": [h2Head(1, [":status", "200", "content-length", "5"], false), h2Frame(0, 1, 1, Buffer.from("way too long"))],
    "unknown stream": [h2Head(7, [":status", "200"], true)],
    goaway: [h2Frame(7, 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 0]))],
    "goaway with error": [h2Frame(7, 0, 0, Buffer.from([0, 0, 0, 0, 0, 0, 0, 2]))],
  };
  for (const [name, frames] of Object.entries(heads)) {
    const appPort = await startRawApp(t, (socket: Socket) => {
      let answered = false;
      socket.write(h2Frame(4, 0, 0, Buffer.alloc(0)));
      socket.on("data", (chunk: Buffer) => {
        // The first HEADERS frame of each connection is stream 1's.
        if (answered || !hasHeadersFrame(chunk)) return;
        answered = true;
        socket.write(Buffer.concat(frames));
        setTimeout(() => socket.end(), 100);
      });
    });
    const { pair, client } = await pairFor(t, appPort);
    const stream = ask(client);
    setTimeout(() => stream.destroy(), 3000).unref();
    const answer = await finish(stream);
    t.ok(answer.status > 0 || answer.code !== NGHTTP2_NO_ERROR, `${name}: ${answer.status} ${answer.code}`);
    t.equal(answer.trailers["x-remora-reason"], undefined);
    t.ok(await balances(pair), name);
  }
});

/** One frame (RFC 9113 section 4.1). */
function h2Frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, payload]);
}

/** A HEADERS frame with literal fields (RFC 7541 section 6.2.2). */
function h2Head(stream: number, fields: readonly string[], isEnd: boolean): Buffer {
  const parts: Buffer[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    parts.push(Buffer.from([0]));
    for (const text of [fields[index] as string, fields[index + 1] as string]) parts.push(Buffer.from([text.length]), Buffer.from(text));
  }
  return h2Frame(1, isEnd ? 5 : 4, stream, Buffer.concat(parts));
}

function hasHeadersFrame(chunk: Buffer): boolean {
  const preface = chunk.indexOf("SM\r\n\r\n");
  for (let offset = preface === -1 ? 0 : preface + 6; offset + 9 <= chunk.length; offset += 9 + chunk.readUIntBE(offset, 3)) {
    if (chunk[offset + 3] === 1) return true;
  }
  return false;
}

t.test("a client that sends what may not be sent on is refused, and harms nobody", async (t) => {
  const { pair, client } = await meshed(t, (stream) => {
    stream.resume();
    stream.respond({ ":status": 200 }, { endStream: true });
  });
  const raw = client as unknown as { request(fields: string[], options: object): ClientHttp2Stream };
  const head = [":method", "POST", ":scheme", "http", ":authority", "orders", ":path", "/"];
  for (const extra of [
    ["cookie", "a=b", "cookie", "c=d"],
    ["x-remora-client-id", "forged"],
    ["host", "other"],
    ["x-odd", ""],
  ]) {
    const stream = raw.request([...head, ...extra], { endStream: true });
    stream.on("error", () => {});
    const answer = await finish(stream);
    t.ok(answer.status > 0 || answer.code !== 0, `${extra}: ${answer.status} ${answer.code}`);
  }
  const trailing = client.request({ ":authority": "orders", ":method": "POST" }, { waitForTrailers: true, endStream: false });
  trailing.on("error", () => {});
  trailing.once("wantTrailers", () => trailing.sendTrailers({ "x-remora-client-id": "forged", "content-length": "3" }));
  trailing.end("body");
  await finish(trailing);
  t.not(
    (await finish(ask(client, { ":authority": "user:hunter2@orders" }))).status,
    200,
    "userinfo in an authority (RFC 9113 section 8.3.1)",
  );
  t.notMatch(JSON.stringify(pair.callerLedger.finished.map(({ authority, refusal }) => [authority, refusal])), /hunter2/);
  t.equal((await finish(ask(client))).status, 200);
  t.ok(await balances(pair));
});

t.test("an app that refuses a stream before it looked at it is asked again, with a fresh signature", async (t) => {
  let calls = 0;
  const { pair, client } = await meshed(t, (stream) => {
    calls += 1;
    stream.respond({ ":status": 200, "content-type": "application/grpc", "grpc-status": "0" }, { endStream: true });
  });
  t.equal((await finish(ask(client, GRPC, "one"))).headers["grpc-status"], "0");
  pair.drain("inbound"); // the callee's sidecar sends GOAWAY; what crosses it is refused
  const answers = await Promise.all(Array.from({ length: 20 }, () => finish(ask(client, GRPC, "two"))));
  t.same(
    answers.map(({ headers }) => headers["grpc-status"]),
    Array.from({ length: 20 }, () => "0"),
  );
  t.equal(calls, 21);
  t.ok(await balances(pair));
});

t.test("an app that refuses every stream is a 502 in the end", async (t) => {
  let calls = 0;
  const { pair, client } = await meshed(t, (stream) => {
    calls += 1;
    stream.close(NGHTTP2_REFUSED_STREAM);
  });
  t.equal((await finish(ask(client))).status, 502);
  t.ok(calls >= 1 && calls <= 9, `${calls} attempts`);
  t.ok(await balances(pair));
});

t.test("50 calls pass through an app that takes one at a time", async (t) => {
  let open = 0;
  let most = 0;
  const { pair, client } = await meshed(
    t,
    (stream) => {
      open += 1;
      most = Math.max(most, open);
      setTimeout(() => {
        open -= 1;
        stream.respond({ ":status": 200 }, { endStream: true });
      }, 5);
    },
    {},
    { maxConcurrentStreams: 1 },
  );
  const answers = await Promise.all(Array.from({ length: 50 }, () => finish(ask(client))));
  t.ok(
    answers.every(({ status }) => status === 200),
    JSON.stringify(answers.filter(({ status }) => status !== 200).slice(0, 2)),
  );
  t.ok(most <= 100);
  t.ok(await balances(pair));
});

t.test("an app that breaks its connections off under load: every call ends", async (t) => {
  const { pair, client, appSessions } = await meshed(t, (stream) => {
    setTimeout(() => {
      if (!stream.destroyed) stream.respond({ ":status": 200 }, { endStream: true });
    }, 3);
  });
  const answers: Array<Promise<Answer>> = [];
  for (let round = 0; round < 20; round++) {
    for (let index = 0; index < 10; index++) answers.push(finish(ask(client)));
    await pause(5);
    for (const session of appSessions) session.destroy();
  }
  const ended = await Promise.all(answers);
  t.equal(ended.length, 200);
  t.ok(ended.every(({ status }) => status === 200 || status === 502));
  t.equal((await finish(ask(client))).status, 200);
  t.ok(await balances(pair));
});

t.test("an early answer: the rest of the body neither blocks the stream nor keeps its place", async (t) => {
  const { pair, client } = await meshed(t, (stream, headers) => {
    stream.respond({ ":status": 413 });
    stream.end("too large");
    if (headers[":path"] === "/stop") stream.once("finish", () => stream.close(NGHTTP2_NO_ERROR));
  });
  for (const path of ["/stop", "/go"]) {
    const stream = ask(client, { ":path": path }, null);
    const answered = finish(stream);
    for (let index = 0; index < 64 && !stream.destroyed; index++) stream.write(Buffer.alloc(65_536));
    stream.end();
    const answer = await Promise.race([answered, pause(4000)]);
    t.match(answer, { status: 413 }, path);
  }
  t.ok(await balances(pair));
});

t.test("bodies of exactly 64 KiB and one byte more, at once and late, pass signed", async (t) => {
  const { pair, client } = await meshed(t, (stream) => {
    let bytes = 0;
    stream.on("data", (chunk) => {
      bytes += chunk.length;
    });
    stream.once("end", () => stream.respond({ ":status": 200, "grpc-status": "0", "x-bytes": String(bytes) }, { endStream: true }));
  });
  for (const size of [0, 1, 65_535, 65_536, 65_537, 200_000]) {
    t.match((await finish(ask(client, GRPC, Buffer.alloc(size)))).headers, { "grpc-status": "0", "x-bytes": String(size) }, `${size}`);
    const late = ask(client, GRPC, null);
    await pause(20);
    late.write(Buffer.alloc(Math.floor(size / 2)));
    await pause(10);
    late.end(Buffer.alloc(Math.ceil(size / 2)));
    t.match((await finish(late)).headers, { "grpc-status": "0", "x-bytes": String(size) }, `${size}, late`);
  }
  t.ok(await balances(pair));
});

t.test("a first call that is turned away leaves no connection on which later calls fail", async (t) => {
  const { pair, client } = await meshed(
    t,
    (stream, headers) => {
      if (headers[":path"] === "/wait") return;
      stream.respond({ ":status": 200, "grpc-status": "0" }, { endStream: true });
    },
    { maxInFlight: 1, rateLimit: "1/h path=/limited" },
  );
  t.equal((await finish(ask(client, { ":path": "/limited" }))).status, 200, "uses up the limit, unsigned");
  t.equal(
    (await finish(ask(client, { ...GRPC, ":path": "/limited" }, "one"))).headers["grpc-status"],
    "8",
    "the first signed call is limited",
  );
  t.equal((await finish(ask(client, GRPC, "two"))).headers["grpc-status"], "0", "the next is verified all the same");
  t.ok(await balances(pair));
});

t.test("header lists too large for a hop are refused; the connection goes on", async (t) => {
  const { pair, client } = await meshed(t, (stream) => stream.respond({ ":status": 200 }, { endStream: true }));
  for (const bytes of [30_000, 60_000, 63_500, 64_500, 65_300, 70_000]) {
    const values = Object.fromEntries(
      Array.from({ length: Math.ceil(bytes / 10_000) }, (_, index) => [`x-${index}`, "v".repeat(Math.min(10_000, bytes - index * 10_000))]),
    );
    const answer = await finish(ask(client.destroyed ? connectClient(t, pair.outboundPort) : client, values));
    t.ok(answer.status > 0 || answer.code !== 0, `${bytes}: ${answer.status} ${answer.code}`);
  }
  t.equal((await finish(ask(connectClient(t, pair.outboundPort)))).status, 200);
  t.ok(await balances(pair));
});

t.test("an app that is no HTTP/2 server, or says nothing, does not hold on to what its client gave up", async (t) => {
  for (const greeting of ["SSH-2.0-x\r\n", "HTTP/1.1 400 Bad Request\r\n\r\n", "\x00\x00\x00\x04\x01", ""]) {
    const appPort = await startRawApp(t, (socket) => {
      socket.on("data", () => {});
      if (greeting !== "") socket.end(greeting);
    });
    const { pair, client } = await pairFor(t, appPort);
    const stream = ask(client);
    const ended = finish(stream);
    if (greeting === "") {
      await pause(100);
      stream.close(NGHTTP2_CANCEL);
    }
    const answer = await ended;
    if (greeting !== "") t.equal(answer.status, 502, JSON.stringify(greeting));
    t.ok(await balances(pair));
  }
});

t.test("2000 mixed requests given up at every moment leave nothing behind", async (t) => {
  const { below } = createSeededRandom(5);
  const { pair, client } = await meshed(t, (stream, headers) => {
    const path = headers[":path"];
    if (path === "/never") return void stream.resume();
    if (path === "/reset") return stream.close(NGHTTP2_CANCEL);
    stream.respond({ ":status": 200, "content-type": "application/grpc" }, { waitForTrailers: true });
    stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    if (path === "/echo") stream.pipe(stream);
    else stream.end("x".repeat(below(100_000)));
  });
  const clients = [client, connectClient(t, pair.outboundPort)];
  const paths = ["/never", "/reset", "/echo", "/body"];
  const started: Array<Promise<unknown>> = [];
  for (let index = 0; index < 2000; index++) {
    const session = clients[below(clients.length)] as ClientHttp2Session;
    if (session.destroyed || (index > 0 && index % 500 === 0)) {
      session.destroy();
      clients[clients.indexOf(session)] = connectClient(t, pair.outboundPort);
      continue;
    }
    const fields = below(2) === 0 ? GRPC : {};
    const stream = ask(
      session,
      { ...fields, ":path": paths[below(4)] as string },
      below(3) === 0 ? undefined : below(2) === 0 ? null : "x".repeat(below(80_000)),
    );
    stream.resume();
    started.push(new Promise((resolve) => stream.once("close", resolve)));
    const wait = below(4);
    if (wait === 0) stream.close(NGHTTP2_CANCEL);
    else setTimeout(() => stream.close(NGHTTP2_CANCEL), below(40));
    if (index % 20 === 0) await pause(4);
  }
  await Promise.all(started);
  t.ok(
    await balances(pair),
    `${pair.callerShed.inFlight} ${pair.calleeShed.inFlight} ${pair.callerLedger.begun - pair.callerLedger.finished.length} ${pair.callerLedger.finishedTwice}`,
  );
  for (const session of clients) session.destroy();
  await pause(100);
  t.match(await pair.callerMetrics.registry.metrics(), /remora_connections\{direction="outbound"\} 0\n/);
  const last = await finish(ask(connectClient(t, pair.outboundPort), GRPC, "still here"));
  t.equal(last.status, 200, "and it goes on serving");
});

t.test("floods of PING, SETTINGS and half-open heads end their own connection", async (t) => {
  const { pair, client } = await meshed(t, (stream) => stream.respond({ ":status": 200 }, { endStream: true }));
  const preface = Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "latin1");
  const frames = {
    ping: Buffer.concat([Buffer.from([0, 0, 8, 6, 0, 0, 0, 0, 0]), Buffer.alloc(8)]),
    settings: Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]),
    continuation: Buffer.from([0, 0, 1, 9, 0, 0, 0, 0, 1, 0x88]),
  };
  for (const [name, frame] of Object.entries(frames)) {
    const socket = connectTcp(pair.outboundPort, "127.0.0.1");
    socket.on("error", () => {});
    socket.write(preface);
    for (let round = 0; round < 20 && !socket.destroyed; round++) {
      socket.write(Buffer.concat(Array.from({ length: 1000 }, () => frame)));
      await pause(1);
    }
    socket.destroy();
    t.equal((await finish(ask(client))).status, 200, `after ${name}`);
  }
  t.ok(await balances(pair));
});
