// Connections of HTTP/1.1 that are streams of one connection between the sidecars: they share it, and nothing else.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import type { MeshPair } from "../../support/mesh-pair.ts";
import { openConnections } from "../../support/mesh-fixture.ts";
import { ask, GET, type Handler, http1Tests, onHeads } from "../../support/http1-fixture.ts";
import { CLIENT_PREFACE, data, type Field, headers, reset } from "../../support/http2-fuzz/frame-text.ts";
import { FramePeer } from "../../support/http2-fuzz/frame-peer.ts";
import { connectMesh } from "../../support/mesh-client.ts";
import { eventually } from "../../support/raw-peers.ts";

const POST = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\n\r\nhi";
const TUNNEL: readonly Field[] = [
  [":method", "CONNECT"],
  [":protocol", "http/1.1"],
  [":scheme", "http"],
  [":authority", "orders"],
  [":path", "/"],
];
const ENHANCE_YOUR_CALM = 0xb;
const PROTOCOL_ERROR = 1;

const test = http1Tests("splice");
const trunks = (pair: MeshPair) => openConnections(pair.calleeMetrics, "inbound");

test("many clients share one connection between the sidecars", async (t, mesh) => {
  const pair = await mesh.inFrontOf((request, response) => setTimeout(() => response.end(request.url), 20));
  const paths = Array.from({ length: 100 }, (_, index) => `/${index}`);
  for (const round of [1, 2]) {
    const answers = await Promise.all(paths.map((path) => ask(pair.outboundPort, { path })));
    t.same(
      answers.map(({ body }) => body),
      paths,
      `round ${round}: each has its own answer`,
    );
    t.equal(await trunks(pair), 1);
  }
});

/** An app that answers with the path, once `count` requests have come. */
function together(count: number): Handler {
  const held: (() => void)[] = [];
  return (request, response) => {
    held.push(() => response.end(request.url));
    if (held.length === count) for (const answer of held.splice(0)) answer();
  };
}

test("beyond 128 of them a second one is opened, and all are served", async (t, mesh) => {
  const pair = await mesh.inFrontOf(together(300));
  const paths = Array.from({ length: 300 }, (_, index) => `/${index}`);
  const answers = await Promise.all(paths.map((path) => ask(pair.outboundPort, { path, method: "POST", body: "x" })));
  t.same(
    answers.map(({ body }) => body),
    paths,
  );
  const open = await trunks(pair);
  t.ok(open > 1 && open <= 8, `${open} connections`);
});

test("a sidecar that knows no trunks is called as ever", async (t, mesh) => {
  const pair = await mesh.inFrontOf(together(20), { knowsTrunks: false });
  const paths = Array.from({ length: 20 }, (_, index) => `/${index}`);
  const answers = await Promise.all(paths.map((path) => ask(pair.outboundPort, { path })));
  t.same(
    answers.map(({ body }) => body),
    paths,
  );
  t.equal(await trunks(pair), 20);
});

/** Asks one request after the other; gives how many were answered. */
async function askOften(pair: MeshPair, count: number): Promise<number> {
  let answered = 0;
  for (let index = 0; index < count; index += 1) if ((await ask(pair.outboundPort)).body === "ok") answered += 1;
  return answered;
}

test("a reader that stalls holds up neither the others nor the heap", async (t, mesh) => {
  const piece = Buffer.alloc(64 * 1024, "x");
  let written = 0;
  const pair = await mesh.inFrontOf((request, response) => {
    if (request.url !== "/bulk") return void response.end("ok");
    const more = () => {
      while (written < 64 * 1024 * 1024 && !response.destroyed) {
        written += piece.length;
        if (!response.write(piece)) return void response.once("drain", more);
      }
      response.end();
    };
    more();
  });
  const stalled = request({ host: "127.0.0.1", port: pair.outboundPort, path: "/bulk", headers: { host: "orders" }, agent: false }).end();
  const [answer] = await once(stalled, "response");
  await eventually(() => written > 1024 * 1024);
  t.equal(await askOften(pair, 200), 200, "all others are answered");
  t.equal(await trunks(pair), 1);
  t.ok(written < 16 * 1024 * 1024, `${written} bytes were taken from the app while nobody read`);
  const hash = createHash("sha256");
  let read = 0;
  for await (const chunk of answer as AsyncIterable<Buffer>) {
    hash.update(chunk);
    read += chunk.length;
  }
  t.equal(read, 64 * 1024 * 1024, "all of it comes once it is read");
});

test("a body that stalls is not read on, and goes through once its app reads", async (t, mesh) => {
  let release = () => {};
  let got = 0;
  const pair = await mesh.inFrontOf((request, response) => {
    if (request.url !== "/slow") return void response.end("ok");
    release = () => {
      request.on("data", (chunk: Buffer) => {
        got += chunk.length;
      });
      request.on("end", () => response.end(`${got}`));
    };
  });
  const bytes = 24 * 1024 * 1024;
  const slow = ask(pair.outboundPort, { method: "PUT", path: "/slow", body: Buffer.alloc(bytes, "y") });
  t.equal(await askOften(pair, 100), 100, "all others are answered");
  release();
  t.equal((await slow).body, String(bytes));
});

/** Posts on a connection of `agent`. Gives the status, or 0. */
async function post(agent: Agent, port: number): Promise<number> {
  const sent = request({ host: "127.0.0.1", port, method: "POST", headers: { host: "orders" }, agent });
  sent.end("hi");
  const status = await new Promise<number>((resolve) => {
    sent.once("response", (answer) => answer.resume().once("end", () => resolve(answer.statusCode ?? 0)));
    sent.once("error", () => resolve(0));
  });
  return status;
}

test("a drain meets no request: 40 clients that never pause, POST only, have no failure", async (t, mesh) => {
  const pair = await mesh.inFrontOf((request, response) => request.resume().on("end", () => response.end("ok")));
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  let isOver = false;
  const answers = new Map<number, number>();
  const answered = () => answers.get(200) ?? 0;
  const calling = Array.from({ length: 40 }, async () => {
    while (!isOver) {
      const status = await post(agent, pair.outboundPort);
      answers.set(status, (answers.get(status) ?? 0) + 1);
    }
  });
  await eventually(() => answered() > 100);
  for (let round = 0; round < 10; round += 1) {
    const before = answered();
    pair.drain("inbound");
    t.ok(await eventually(() => answered() > before + 100), `drained ${round + 1} times`);
  }
  isOver = true;
  await Promise.all(calling);
  agent.destroy();
  t.same([...answers.keys()], [200], `${answered()} answers`);
});

test("a trunk that breaks costs what was on it; what may be sent again is, and the next one is opened", async (t, mesh) => {
  let heads = 0;
  const appPort = await mesh.rawApp((socket) =>
    onHeads(socket, (head) => {
      heads += 1;
      if (!head.includes("/hang")) socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    }),
  );
  const pair = await mesh.pairFor(appPort);
  const warm = mesh.connect(pair.outboundPort);
  warm.send(GET);
  await warm.until(/ok$/);
  const hanging = mesh.connect(pair.outboundPort);
  hanging.send("POST /hang HTTP/1.1\r\nHost: orders\r\nContent-Length: 0\r\n\r\n");
  await eventually(() => heads === 2);
  pair.cut();
  t.match(await hanging.until(/502/), /upstream_reset/, "nobody knows whether it was done");
  warm.send(POST);
  t.match(await warm.until(/(ok[^]*){2}/), /(200 OK[^]*){2}/);
  t.equal(await trunks(pair), 1);
});

/** Opens a trunk by hand. */
async function trunkTo(t: Parameters<typeof connectMesh>[0], pair: MeshPair, appPort: number): Promise<FramePeer> {
  const peer = new FramePeer(await connectMesh(t, pair, appPort, "remora/h1-streams"));
  peer.send(CLIENT_PREFACE);
  return peer;
}

test("what comes on a trunk is judged as on a connection of its own", async (t, mesh) => {
  const appPort = await mesh.listen(createServer((_request, response) => response.end("ok")));
  const pair = await mesh.pairFor(appPort);
  const peer = await trunkTo(t, pair, appPort);
  peer.send(headers(1, TUNNEL, false), data(1, GET));
  t.ok(await peer.until(() => /200 OK[^]*ok$/.test(peer.on(1).body)), "a request is answered");
  t.same(peer.on(1).sections[0]?.slice(0, 2), [":status", "200"]);
  peer.send(
    headers(3, TUNNEL, false),
    data(3, "GET / HTTP/1.1\r\nHost: orders\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"),
  );
  t.ok(await peer.until(() => peer.on(3).isEnded), "what is refused is answered and ended");
  t.match(peer.on(3).body, /^HTTP\/1.1 400/);
  peer.send(data(1, GET));
  t.ok(await peer.until(() => (peer.on(1).body.match(/200 OK/g) ?? []).length === 2), "and the other stream goes on");
  peer.send(headers(5, TUNNEL, false), data(5, GET.slice(0, 10), true));
  t.ok(await peer.until(() => peer.on(5).isEnded || peer.on(5).resetCode !== -1), "one that ends in the middle of a head is over");
  const cases: readonly (readonly [number, readonly Field[], boolean])[] = [
    [7, [[":method", "GET"], ...TUNNEL.slice(2)], false],
    [9, TUNNEL.map(([name, value]) => [name, name === ":protocol" ? "websocket" : value]), false],
    [11, TUNNEL, true],
  ];
  for (const [id, head, isEnd] of cases) {
    peer.send(headers(id, head, isEnd));
    t.ok(await peer.until(() => peer.on(id).resetCode === PROTOCOL_ERROR), `stream ${id} asks for no connection of HTTP/1.1`);
  }
  t.equal(peer.failure, -1);
  peer.stream.destroy();
});

test("streams that are opened to be reset are a flood, and nobody else's trouble", async (t, mesh) => {
  const appPort = await mesh.listen(createServer((_request, response) => response.end("ok")));
  const pair = await mesh.pairFor(appPort);
  const peer = await trunkTo(t, pair, appPort);
  let id = 1;
  while (peer.failure === -1 && id < 20_000) {
    const frames: Buffer[] = [];
    for (let count = 0; count < 100; count += 1, id += 2) frames.push(headers(id, TUNNEL, false), data(id, GET), reset(id, 8));
    peer.send(...frames);
    await new Promise((resolve) => setImmediate(resolve));
    if (id % 1000 === 1) t.equal((await ask(pair.outboundPort)).body, "ok");
  }
  await peer.until(() => peer.failure !== -1);
  t.equal(peer.failure, ENHANCE_YOUR_CALM, `after ${id >> 1} streams`);
  t.equal((await ask(pair.outboundPort)).body, "ok");
  peer.stream.destroy();
});
