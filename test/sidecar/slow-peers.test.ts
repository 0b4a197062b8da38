// Peers that are slow on purpose or by accident, on the real ports of both hops: each kind of slowness ends by a time of its own, is counted as `timeout`,
// and holds up nobody else. The times are short ones of this test; the settings' defaults are in the README.
import { once } from "node:events";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import t from "tap";
import type { Metrics } from "../../core/metrics.ts";
import { sniFor } from "../../core/spiffe.ts";
import { type MeshPair, type MeshPairOptions, startMeshPair } from "../support/mesh-pair.ts";
import { connectMesh } from "../support/mesh-client.ts";
import { connectRaw, eventually, startRawApp } from "../support/raw-peers.ts";

type Tap = { teardown(run: () => unknown): void };

const TIMEOUTS = { headMs: 400, stallMs: 500, keepAliveMs: 400, discardMs: 300, lingerMs: 200 };
/** Between two dribbled bytes: far below every timeout, so that only a bound on the whole can end it. */
const DRIBBLE_MS = 20;
/** No timeout may come before, and none much later, than it is due. */
const LATE_MS = 2_500;

async function slowPair(t: Tap, appPort: number, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
  const pair = await startMeshPair({ appPort, protocol: "http1", timeouts: TIMEOUTS, ...options });
  t.teardown(() => pair.close());
  return pair;
}

/** Sends bytes one by one until the connection is gone. */
function dribble(t: Tap, socket: Socket, bytes: Iterable<number>): void {
  const iterator = bytes[Symbol.iterator]();
  const timer = setInterval(() => {
    const next = iterator.next();
    if (next.done === true || socket.destroyed) return clearInterval(timer);
    socket.write(Buffer.of(next.value));
  }, DRIBBLE_MS);
  t.teardown(() => clearInterval(timer));
}

function* endless(text: string, filler: string): Generator<number> {
  yield* Buffer.from(text, "latin1");
  while (true) yield* Buffer.from(filler, "latin1");
}

async function timeouts(metrics: Metrics, direction: "inbound" | "outbound"): Promise<number> {
  const text = await metrics.registry.metrics();
  return Number(new RegExp(`remora_refused_total\\{direction="${direction}",reason="timeout"\\} (\\d+)`).exec(text)?.[1] ?? 0);
}

/** How long until the connection is gone, ms; fails the test when it is not. */
async function lifeOf(socket: Socket): Promise<number> {
  const startedMonoMs = performance.now();
  socket.on("error", () => {});
  socket.resume();
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(reject, 8_000, new Error("still connected"));
    socket.once("close", () => {
      clearTimeout(timer);
      resolve();
    });
  });
  return performance.now() - startedMonoMs;
}

const okApp = (t: Tap) =>
  startRawApp(t, (socket) => {
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"));
    socket.on("end", () => socket.end());
  });

/** The first bytes of a real mesh handshake: its ClientHello. */
async function clientHello(pair: MeshPair, appPort: number): Promise<Buffer> {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const client = connectTls({
    host: "127.0.0.1",
    port: (listener.address() as AddressInfo).port,
    servername: sniFor(pair.callee.identity, appPort),
    ALPNProtocols: ["remora/h1"],
  });
  client.on("error", () => {});
  const [accepted] = (await once(listener, "connection")) as [Socket];
  const [hello] = (await once(accepted, "data")) as [Buffer];
  client.destroy();
  accepted.destroy();
  listener.close();
  return hello;
}

t.test("inbound: a ClientHello that is dribbled ends by the wait of the first look, however often a byte comes", async (t) => {
  const appPort = await okApp(t);
  const pair = await slowPair(t, appPort);
  const hello = await clientHello(pair, appPort);
  const { socket } = connectRaw(t, pair.inboundPort);
  dribble(t, socket, hello);
  const ms = await lifeOf(socket);
  t.ok(ms > 250 && ms < LATE_MS, `${ms.toFixed(0)} ms`);
  t.equal(await timeouts(pair.calleeMetrics, "inbound"), 1);
});

t.test("inbound: a handshake that is dribbled after its ClientHello ends by the handshake's time", async (t) => {
  const appPort = await okApp(t);
  const pair = await slowPair(t, appPort);
  const hello = await clientHello(pair, appPort);
  const { socket } = connectRaw(t, pair.inboundPort);
  socket.write(hello);
  await once(socket, "data");
  // A record that claims 16 KiB and never comes to its end.
  dribble(t, socket, endless("\x17\x03\x03\x40\x00", "x"));
  const ms = await lifeOf(socket);
  t.ok(ms > 800 && ms < LATE_MS, `${ms.toFixed(0)} ms`);
  t.equal(await timeouts(pair.calleeMetrics, "inbound"), 1);
});

t.test("inbound: a peer that connects and says nothing is let go", async (t) => {
  const pair = await slowPair(t, await okApp(t));
  const ms = await lifeOf(connectRaw(t, pair.inboundPort).socket);
  t.ok(ms > 250 && ms < LATE_MS, `${ms.toFixed(0)} ms`);
});

t.test("a head that is dribbled is answered 408 on both hops, and counted", async (t) => {
  const appPort = await okApp(t);
  const pair = await slowPair(t, appPort);
  const mesh = await connectMesh(t, pair, appPort);
  const local = connectRaw(t, pair.outboundPort);
  // The first look wants a request line; from there on it is dribbled.
  local.send("GET / HTTP/1.1\r\n");
  let answer = "";
  mesh.on("data", (chunk: Buffer) => {
    answer += chunk.toString("latin1");
  });
  dribble(t, mesh, endless("GET / HTTP/1.1\r\nHost: orders\r\nX: ", "x"));
  dribble(t, local.socket, endless("Host: orders\r\nX: ", "x"));
  const [meshMs, localMs] = await Promise.all([lifeOf(mesh), lifeOf(local.socket)]);
  t.match(answer, /^HTTP\/1\.1 408 /);
  t.match(local.text(), /^HTTP\/1\.1 408 /);
  t.ok(meshMs > 300 && meshMs < LATE_MS, `${meshMs.toFixed(0)} ms`);
  t.ok(localMs > 300 && localMs < LATE_MS, `${localMs.toFixed(0)} ms`);
  t.equal(await timeouts(pair.calleeMetrics, "inbound"), 1);
  t.equal(await timeouts(pair.callerMetrics, "outbound"), 1);
});

t.test("a body that stops after the answer is out is not waited for", async (t) => {
  const appPort = await okApp(t);
  const pair = await slowPair(t, appPort);
  const mesh = await connectMesh(t, pair, appPort);
  mesh.write("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 1000\r\n\r\n");
  const ms = await lifeOf(mesh);
  t.ok(ms < LATE_MS, `${ms.toFixed(0)} ms`);
  t.ok(await eventually(() => pair.calleeShed.inFlight === 0));
});

t.test("a body that stops while the app waits for it is answered 408", async (t) => {
  const silent = await startRawApp(t, (socket) => socket.resume());
  const pair = await slowPair(t, silent);
  const mesh = await connectMesh(t, pair, silent);
  const local = connectRaw(t, pair.outboundPort);
  let answer = "";
  mesh.on("data", (chunk: Buffer) => {
    answer += chunk.toString("latin1");
  });
  mesh.write("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 1000\r\n\r\nhalf");
  local.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 1000\r\n\r\nhalf");
  await Promise.all([lifeOf(mesh), lifeOf(local.socket)]);
  t.match(answer, /^HTTP\/1\.1 408 /);
  t.match(local.text(), /^HTTP\/1\.1 408 /);
  // Of the request over two hops, either may be the first to lose its patience, or both.
  const counted = (await timeouts(pair.calleeMetrics, "inbound")) + (await timeouts(pair.callerMetrics, "outbound"));
  t.ok(counted >= 2, `${counted} timeouts counted`);
  t.ok(await eventually(() => pair.calleeShed.inFlight === 0 && pair.callerShed.inFlight === 0));
});

t.test("a reader that takes nothing of its answer is cut off, and counted", async (t) => {
  const chunk = Buffer.alloc(256 * 1024);
  const flooding = await startRawApp(t, (socket) => {
    socket.once("data", () => {
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
      const more = () => {
        while (!socket.destroyed && socket.write(chunk));
      };
      socket.on("drain", more);
      more();
    });
  });
  const pair = await slowPair(t, flooding);
  const client = connectRaw(t, pair.outboundPort);
  client.send("GET / HTTP/1.1\r\nHost: orders\r\n\r\n");
  await once(client.socket, "data");
  client.socket.pause();
  t.ok(await eventually(() => pair.callerShed.inFlight === 0 && pair.calleeShed.inFlight === 0), "both hops have let go");
  const counted = (await timeouts(pair.callerMetrics, "outbound")) + (await timeouts(pair.calleeMetrics, "inbound"));
  t.ok(counted >= 1, `${counted} timeouts counted`);
});

t.test("while one peer is slow in every way, others are served", async (t) => {
  const appPort = await okApp(t);
  const pair = await slowPair(t, appPort);
  const slow = connectRaw(t, pair.inboundPort);
  dribble(t, slow.socket, endless("\x16\x03\x01\x02\x00", "x"));
  const client = connectRaw(t, pair.outboundPort);
  client.send("GET / HTTP/1.1\r\nHost: orders\r\n\r\n");
  t.match(await client.until(/ok$/), /^HTTP\/1\.1 200 OK/);
});
