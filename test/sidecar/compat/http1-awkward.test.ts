// HTTP/1.1 as no well-behaved peer speaks it: clients that leave at the wrong moment, apps that answer nonsense, connections that end too early.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";
import t from "tap";
import { type MeshPair, type MeshPairOptions, startMeshPair } from "../../support/mesh-pair.ts";
import { connectRaw, eventually, startCannedApp, startRawApp } from "../../support/raw-peers.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

type Tap = { teardown(run: () => unknown): void };
type Handler = (request: IncomingMessage, response: ServerResponse) => void;

const GET = "GET / HTTP/1.1\r\nHost: orders\r\n\r\n";

async function pairFor(t: Tap, appPort: number, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
  const pair = await startMeshPair({ appPort, ...options });
  t.teardown(() => pair.close());
  return pair;
}

async function meshed(t: Tap, handler: Handler, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
  const app = createServer(handler).listen(0, "127.0.0.1");
  await once(app, "listening");
  t.teardown(() => {
    app.closeAllConnections();
    app.close();
  });
  return pairFor(t, (app.address() as AddressInfo).port, options);
}

/** Nothing is in flight any more, and each request was finished once. */
async function balances(pair: MeshPair): Promise<boolean> {
  const isQuiet = ({ callerShed, calleeShed, callerLedger, calleeLedger }: MeshPair) =>
    callerShed.inFlight === 0 &&
    calleeShed.inFlight === 0 &&
    callerLedger.begun === callerLedger.finished.length &&
    calleeLedger.begun === calleeLedger.finished.length;
  const quiet = await eventually(() => isQuiet(pair));
  return quiet && pair.callerLedger.finishedTwice === 0 && pair.calleeLedger.finishedTwice === 0;
}

t.test("a client that leaves while its destination is looked up is finished once and takes no place", async (t) => {
  const waiting: Array<() => void> = [];
  const pair = await meshed(t, (_request, response) => response.end("ok"), { lookup: (give) => waiting.push(give) });
  for (const head of [
    GET,
    "GET / HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "CONNECT orders:80 HTTP/1.1\r\nHost: orders:80\r\n\r\n",
  ]) {
    for (const leave of ["end", "resetAndDestroy"] as const) {
      const client = connectRaw(t, pair.outboundPort);
      client.send(head);
      await eventually(() => waiting.length === 1);
      client.socket[leave]();
      await new Promise((resolve) => setTimeout(resolve, 50));
      waiting.pop()?.();
    }
  }
  t.ok(await balances(pair), "in-flight counts are 0");
});

t.test("pipelined requests whose client leaves are all given up", async (t) => {
  const pair = await meshed(t, () => {});
  const client = connectRaw(t, pair.outboundPort);
  client.send(GET.repeat(20));
  await eventually(() => pair.calleeLedger.begun > 0);
  client.socket.resetAndDestroy();
  t.ok(await balances(pair));
});

t.test("1000 pipelined requests are answered in order", async (t) => {
  const pair = await meshed(t, (request, response) => response.end(`<${request.url}>`));
  const client = connectRaw(t, pair.outboundPort);
  for (let index = 0; index < 1000; index++) client.send(`GET /${index} HTTP/1.1\r\nHost: orders\r\n\r\n`);
  const text = await client.until(/<\/999>/, 10_000);
  t.same(
    text.match(/<\/\d+>/g),
    Array.from({ length: 1000 }, (_, index) => `</${index}>`),
  );
});

t.test("an app that answers nonsense is a 502 and harms nobody", async (t) => {
  let answer = "";
  const pair = await pairFor(t, await startCannedApp(t, () => answer));
  for (const [bytes, status] of [
    ["", 502],
    ["\x00\x01\x02garbage\r\n\r\n", 502],
    ["SSH-2.0-OpenSSH_9\r\n", 502],
    ["HTTP/1.1 200 OK\r\nContent-Le", 502],
    ["HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", 502],
    ["HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n", 502],
    ["HTTP/1.1 000 Odd\r\nContent-Length: 0\r\n\r\n", 502],
    ["HTTP/1.1 999 Odd\r\nContent-Length: 0\r\n\r\n", 999],
    ["HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502],
    ["HTTP/1.1 200 a\x01b\r\nContent-Length: 0\r\n\r\n", 502],
    ["HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 0\r\n\r\n", 502],
    ["HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n", 502],
    [`HTTP/1.1 200 OK\r\nX: ${"a".repeat(100_000)}\r\nContent-Length: 0\r\n\r\n`, 502],
  ] as const) {
    answer = bytes;
    const client = connectRaw(t, pair.outboundPort);
    client.send(GET);
    t.match(await client.until(/\r\n\r\n/), new RegExp(`^HTTP/1\\.1 ${status} `), JSON.stringify(bytes.slice(0, 60)));
    client.socket.destroy();
  }
  t.ok(await balances(pair));
  t.match(await pair.calleeMetrics.registry.metrics(), /remora_refused_total\{direction="inbound",reason="upstream_reset"\} \d+/);
});

t.test("an app that mangles its answers in 200 ways never takes the sidecar with it", async (t) => {
  const { below } = createSeededRandom(11);
  const good = Buffer.from(
    "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nSet-Cookie: a=b\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
  );
  const mangled = () => {
    const bytes = Buffer.from(good);
    for (let count = 1 + below(4); count > 0; count--) bytes[below(bytes.length)] = below(256);
    return bytes.subarray(0, below(4) === 0 ? below(bytes.length) : bytes.length);
  };
  const pair = await pairFor(t, await startCannedApp(t, mangled));
  for (let round = 0; round < 10; round++) {
    const clients = Array.from({ length: 20 }, () => connectRaw(t, pair.outboundPort));
    for (const client of clients) client.send("GET / HTTP/1.1\r\nHost: orders\r\nConnection: close\r\n\r\n");
    await Promise.all(clients.map((client) => client.ended(1000)));
    for (const client of clients) client.socket.destroy();
  }
  t.ok(await balances(pair));
});

t.test("a POST on a connection that the app closes at that moment is sent once at most; a GET is tried again", async (t) => {
  let heads: string[] = [];
  // Each connection answers once and is reset when the next request comes.
  const appPort = await startRawApp(t, (socket) => {
    let answered = false;
    socket.on("data", (chunk) => {
      heads.push(chunk.toString("latin1").split(" ")[0] ?? "");
      if (answered) return void socket.resetAndDestroy();
      answered = true;
      socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    });
  });
  const pair = await pairFor(t, appPort);
  const client = connectRaw(t, pair.outboundPort);
  client.send(GET);
  await client.until(/ok$/);
  client.send(GET);
  t.match(await client.until(/ok[^]*\r\n\r\n/), /ok[^]*200 OK/, "the second is answered by a new connection");
  heads = [];
  client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\n\r\nhi");
  t.match(await client.until(/HTTP\/1\.1 502/), /HTTP\/1\.1 502/);
  t.same(heads, ["POST"]);
});

t.test("Expect: 100-continue: a refused request is not asked for its body; an accepted one is", async (t) => {
  const pair = await meshed(t, (request, response) => request.pipe(response), { rateLimit: "1/m" });
  const head = "POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
  const client = connectRaw(t, pair.outboundPort);
  client.send(head);
  t.match(await client.until(/100 Continue\r\n\r\n/), /^HTTP\/1\.1 100 Continue/);
  client.send("hello");
  t.match(await client.until(/hello/), /200 OK[^]*hello/);
  const refused = connectRaw(t, pair.outboundPort);
  refused.send(head.replace("orders", "bad host!"));
  t.match(await refused.until(/\r\n\r\n/), /^HTTP\/1\.1 400/);
  t.ok(await balances(pair));
});

t.test("Expect: 100-continue: a client that leaves takes its upstream request with it", async (t) => {
  let closed = 0;
  const pair = await meshed(t, (request) => {
    request.resume();
    request.socket.once("close", () => {
      closed += 1;
    });
  });
  const client = connectRaw(t, pair.outboundPort);
  client.send("POST / HTTP/1.1\r\nHost: orders\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\nhi");
  await eventually(() => pair.calleeLedger.begun === 1);
  await new Promise((resolve) => setTimeout(resolve, 100));
  client.socket.destroy();
  t.ok(await eventually(() => closed === 1));
  t.ok(await balances(pair));
});

for (const closes of [false, true]) {
  t.test(
    `an answer before the body has come, from an app that ${closes ? "closes" : "goes on"}: the client's connection does not hang`,
    async (t) => {
      const pair = await meshed(t, (request, response) => {
        if (request.url !== "/large") return void response.end("next");
        if (closes) response.setHeader("connection", "close");
        response.writeHead(413).end("too large");
      });
      const client = connectRaw(t, pair.outboundPort);
      const chunk = "x".repeat(65_536);
      client.send(`POST /large HTTP/1.1\r\nHost: orders\r\nContent-Length: ${chunk.length * 200}\r\n\r\n`);
      for (let index = 0; index < 200 && !client.socket.destroyed; index++) {
        client.send(chunk);
        if (index % 20 === 0) await new Promise((resolve) => setImmediate(resolve));
      }
      // An app that closes with the body unread resets: its answer may be lost on the way, then it is a 502.
      t.match(await client.until(/too large|closed the connection/), closes ? /^HTTP\/1\.1 (413|502) / : /^HTTP\/1\.1 413 [^]*too large/);
      if (!client.socket.destroyed) client.send("GET /next HTTP/1.1\r\nHost: orders\r\n\r\n");
      const text = await client.until(/next/, 3000);
      t.ok(text.includes("next") || client.socket.readableEnded || client.socket.destroyed, "the connection is used or ended");
      t.ok(await balances(pair));
    },
  );
}

t.test("HTTP/1.0 clients are answered, with and without keep-alive, and without Host where the destination is known", async (t) => {
  const pair = await meshed(
    t,
    (request, response) => {
      response.write(`host ${request.headers.host}`);
      response.end(";");
    },
    { mode: "permissive" },
  );
  const plain = connectRaw(t, pair.outboundPort);
  plain.send("GET / HTTP/1.0\r\nHost: orders\r\n\r\n");
  t.ok(await plain.ended());
  t.match(plain.text(), /^HTTP\/1\.1 200[^]*\r\n\r\nhost orders;$/, "no chunked framing");
  const alive = connectRaw(t, pair.outboundPort);
  alive.send("GET / HTTP/1.0\r\nHost: orders\r\nConnection: keep-alive\r\n\r\n");
  t.match(await alive.until(/;/), /\r\n\r\nhost orders;$/);
  const hostless = connectRaw(t, pair.inboundPort);
  hostless.send("GET / HTTP/1.0\r\n\r\n");
  t.match(await hostless.until(/;/), /\r\n\r\nhost 127\.0\.0\.1:\d+;$/);
  t.ok(await balances(pair));
});

t.test("ambiguous heads are refused", async (t) => {
  const seen: string[] = [];
  const pair = await meshed(
    t,
    (request, response) => {
      seen.push(request.url ?? "");
      response.end("ok");
    },
    { mode: "permissive" },
  );
  for (const head of [
    "GET / HTTP/1.1\r\nHost: orders\r\nHost: other\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: orders\r\nHost: orders\r\n\r\n",
    "GET http://user:hunter2@orders/ HTTP/1.1\r\nHost: orders\r\n\r\n",
    "GET / HTTP/1.1\r\nHost: user:hunter2@orders\r\n\r\n",
    "POST / HTTP/1.1\r\nHost: orders\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "GET / HTTP/1.1\r\nHost:\r\n\r\n",
  ]) {
    for (const port of [pair.outboundPort, pair.inboundPort]) {
      if (head.includes("Host:\r\n") && port === pair.inboundPort) continue;
      const client = connectRaw(t, port);
      client.send(head);
      t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 (400|501) /, JSON.stringify(head));
      client.socket.destroy();
    }
  }
  t.same(seen, []);
  for (const { authority, refusal } of [...pair.callerLedger.finished, ...pair.calleeLedger.finished]) {
    t.notMatch(`${authority} ${refusal?.detail}`, /hunter2/, "a password in an authority is not logged");
  }
});

t.test("a head that trickles in is given up after its time", async (t) => {
  const pair = await meshed(t, (_request, response) => response.end("ok"), { timeouts: { headMs: 300 } });
  const client = connectRaw(t, pair.outboundPort);
  client.send("GET / HTTP/1.1\r\nHost: orders\r\n");
  const timer = setInterval(() => client.send("X: y\r\n"), 50);
  t.teardown(() => clearInterval(timer));
  t.ok(await client.ended(3000));
  clearInterval(timer);
  t.match(client.text(), /^HTTP\/1\.1 408 /);
  t.match(await pair.callerMetrics.registry.metrics(), /remora_refused_total\{direction="outbound",reason="timeout"\} 1\n/);
});

t.test("a path of 60 KB passes, a longer one is refused", async (t) => {
  const pair = await meshed(t, (request, response) => response.end(`<${request.url?.length}>`));
  const client = connectRaw(t, pair.outboundPort);
  client.send(`GET /${"a".repeat(14_000)} HTTP/1.1\r\nHost: orders\r\n\r\n`);
  t.match(await client.until(/<\d+>/), /<14001>/);
  client.send(`GET /${"a".repeat(70_000)} HTTP/1.1\r\nHost: orders\r\n\r\n`);
  t.match(await client.until(/ 431 /), /HTTP\/1\.1 431 /);
  t.ok(await client.ended());
});

t.test("a client that half-closes before its answer counts as gone, as with nginx and Envoy: nothing is left behind", async (t) => {
  const pair = await meshed(t, (_request, response) => setTimeout(() => response.end("late"), 100));
  const client = connectRaw(t, pair.outboundPort, { allowHalfOpen: true });
  client.send(GET);
  client.socket.end();
  t.ok(await client.ended());
  t.ok(await balances(pair));
});

t.test("upgrades: bytes sent along pass; each abrupt end reaches the other side; a refused one does not hang", async (t) => {
  const received: Socket[] = [];
  const appPort = await startRawApp(t, (socket) => {
    received.push(socket);
    socket.once("data", (head) => {
      if (String(head).includes("/no")) return void socket.write("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno");
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n>");
      socket.on("data", (chunk) => socket.write(chunk));
      const early = String(head).split("\r\n\r\n")[1] ?? "";
      if (early !== "") socket.write(early);
    });
  });
  const pair = await pairFor(t, appPort);
  const upgrade = (path: string) => `GET ${path} HTTP/1.1\r\nHost: orders\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n`;
  const early = connectRaw(t, pair.outboundPort);
  early.send(`${upgrade("/")}early`);
  t.match(await early.until(/early/), /^HTTP\/1\.1 101 [^]*\r\n\r\n>early/);
  const appSide = received.at(-1) as Socket;
  const gone = new Promise((resolve) => appSide.once("close", resolve));
  early.socket.resetAndDestroy();
  await gone;
  t.pass("the app hears of a client that broke off");

  const other = connectRaw(t, pair.outboundPort);
  other.send(upgrade("/"));
  await other.until(/>/);
  received.at(-1)?.resetAndDestroy();
  t.ok(await other.ended(), "the client hears of an app that broke off");

  const refused = connectRaw(t, pair.outboundPort, { allowHalfOpen: true });
  refused.send(upgrade("/no"));
  t.match(await refused.until(/no$/), /^HTTP\/1\.1 403/);
  const failed = connectRaw(t, pair.outboundPort, { allowHalfOpen: true });
  failed.send("GET / HTTP/1.1\r\nHost: bad host!\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  t.match(await failed.until(/\r\n\r\n/), /^HTTP\/1\.1 400/);
  t.ok(await balances(pair), "though these clients keep their side open");
});

t.test("a refused CONNECT ends, though the client keeps its side open", async (t) => {
  const pair = await meshed(t, (_request, response) => response.end("ok"));
  const client = connectRaw(t, pair.outboundPort, { allowHalfOpen: true });
  client.send("CONNECT orders HTTP/1.1\r\nHost: orders\r\n\r\n");
  t.match(await client.until(/\r\n\r\n/), /^HTTP\/1\.1 400/);
  const open = async () => /remora_connections\{direction="outbound"\} (\d+)/.exec(await pair.callerMetrics.registry.metrics())?.[1];
  let left = await open();
  for (let waits = 0; left !== "0" && waits < 40; waits++) {
    await new Promise((resolve) => setTimeout(resolve, 50));
    left = await open();
  }
  t.equal(left, "0");
});

t.test("a peer outside of the mesh is not told the reason of a refusal", async (t) => {
  const pair = await meshed(t, (_request, response) => response.setHeader("x-remora-reason", "forged").end("ok"), {
    mode: "permissive",
    rateLimit: "1/m",
  });
  const client = connectRaw(t, pair.inboundPort);
  client.send(GET);
  t.notMatch(await client.until(/ok$/), /x-remora-/i);
  client.send(GET);
  t.match(await client.until(/ 429 [^]*\r\n\r\n/), / 429 /);
  t.notMatch(client.text(), /x-remora-/i);
});
