import { once } from "node:events";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { networkInterfaces } from "node:os";
import t from "tap";
import { isLoopback } from "../../core/admin-routes.ts";
import { type AdminServerOptions, startAdminServer } from "../../core/admin-server.ts";
import { createLogger, silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { Secret } from "../../core/secret.ts";

interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
  readonly json: () => unknown;
}

interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | Buffer;
  readonly host?: string;
  readonly agent?: Agent;
}

function ask(port: number, path: string, { method = "GET", headers = {}, body, host = "127.0.0.1", agent }: Ask = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { port, host, path, method, headers, timeout: 5000, ...(agent === undefined ? { agent: false as const } : { agent }) };
    const call = request(options, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      resolve({ status: response.statusCode ?? 0, headers: response.headers, text, json: () => JSON.parse(text) as unknown });
    });
    call.once("error", reject);
    call.end(body);
  });
}

async function start(t: { teardown(run: () => unknown): void }, changes: Partial<AdminServerOptions> = {}) {
  const server = await startAdminServer({
    host: "127.0.0.1",
    port: 0,
    log: silentLogger(),
    metrics: createMetrics({ component: "x", version: "1", commit: "c" }),
    metricsToken: null,
    info: () => ({ component: "x" }),
    health: () => ({ status: "ok", checks: {} }),
    ready: () => ({ ready: true, waitingFor: [] }),
    onExit: () => undefined,
    ...changes,
  });
  t.teardown(() => server.close());
  return server;
}

t.test("live and info answer JSON that nobody caches", async (t) => {
  const { port } = await start(t);
  const live = await ask(port, "/live?x=1");
  t.equal(live.status, 200);
  t.match(live.headers, { "content-type": "application/json", "cache-control": "no-store" });
  t.same((await ask(port, "/api/v1/info")).json(), { component: "x" });
});

t.test("ready says what is awaited until it is", async (t) => {
  let waitingFor = ["certificate"];
  const { port } = await start(t, { ready: () => ({ ready: waitingFor.length === 0, waitingFor }) });
  const before = await ask(port, "/ready");
  t.equal(before.status, 503);
  t.same(before.json(), { ready: false, waitingFor: ["certificate"] });
  waitingFor = [];
  t.equal((await ask(port, "/ready")).status, 200);
});

t.test("health gives each check; down is 503, degraded is not", async (t) => {
  let status: "ok" | "degraded" | "down" = "degraded";
  const { port } = await start(t, { health: () => ({ status, checks: { redis: { status, since: 0, message: "away" } } }) });
  const degraded = await ask(port, "/api/v1/health");
  t.equal(degraded.status, 200);
  t.same(degraded.json(), {
    status: "degraded",
    checks: { redis: { status: "degraded", message: "away", since: "1970-01-01T00:00:00.000Z" } },
  });
  status = "down";
  t.equal((await ask(port, "/api/v1/health")).status, 503);
});

t.test("metrics are open without a token and need it with one", async (t) => {
  const open = await start(t);
  t.match((await ask(open.port, "/metrics")).text, /remora_build_info/);

  const { port } = await start(t, { metricsToken: new Secret("s3cret") });
  const tries: ReadonlyArray<readonly [Record<string, string>, number]> = [
    [{}, 401],
    [{ "x-metrics-token": "s3cre" }, 401],
    [{ "x-metrics-token": "s3crets" }, 401],
    [{ "x-metrics-token": "" }, 401],
    [{ authorization: "Bearer wrong" }, 401],
    [{ authorization: "Bearer" }, 401],
    [{ authorization: "Basic s3cret" }, 401],
    [{ authorization: "s3cret" }, 401],
    [{ "x-metrics-token": "s3cret" }, 200],
    [{ authorization: "Bearer s3cret" }, 200],
    [{ authorization: "bearer  s3cret" }, 200],
    [{ authorization: "Bearer wrong", "x-metrics-token": "s3cret" }, 200],
  ];
  for (const [headers, status] of tries) {
    const answer = await ask(port, "/metrics", { headers });
    t.equal(answer.status, status, JSON.stringify(headers));
    if (status === 401) t.match(answer.headers, { "www-authenticate": /^Bearer / });
  }
  t.equal((await ask(port, "/metrics?token=s3cret")).status, 401, "never in the query");
  t.match((await ask(port, "/metrics", { headers: { "x-metrics-token": "s3cret" } })).headers, {
    "content-type": /^text\/plain; version=0.0.4/,
  });
});

t.test("exit is for local processes, by POST, once per request and after the answer", async (t) => {
  let exits = 0;
  const { port } = await start(t, { host: "::", onExit: () => void exits++ });
  const wrong = await ask(port, "/exit");
  t.equal(wrong.status, 405);
  t.equal(wrong.headers["allow"], "POST");
  t.equal(exits, 0);

  t.equal((await ask(port, "/exit", { method: "POST" })).status, 202, "v4-mapped loopback");
  t.equal((await ask(port, "/exit", { method: "POST", host: "::1" })).status, 202);
  t.equal(exits, 2);

  t.equal(
    (await ask(port, "/exit", { method: "POST", headers: { origin: "https://evil.example" } })).status,
    403,
    "a web page is not local",
  );
  t.equal(exits, 2);

  const foreign = Object.values(networkInterfaces())
    .flatMap((list) => list ?? [])
    .find(({ internal, family }) => !internal && family === "IPv4");
  if (foreign !== undefined) {
    t.equal((await ask(port, "/exit", { method: "POST", host: foreign.address })).status, 403);
    t.equal(exits, 2);
  }
});

t.test("loopback is told from everything else", async (t) => {
  for (const address of ["127.0.0.1", "127.8.9.1", "::1", "::ffff:127.0.0.1", "::FFFF:127.0.0.1"]) t.ok(isLoopback(address), address);
  for (const address of ["", "10.0.0.1", "::", "0.0.0.0", "::ffff:10.0.0.1", "127.0.0.1.evil", "fe80::1", "::12", "1127.0.0.1"])
    t.notOk(isLoopback(address), address);
});

t.test("unknown paths and wrong methods are told", async (t) => {
  const { port } = await start(t);
  t.equal((await ask(port, "/nope")).status, 404);
  t.match((await ask(port, "/nope")).json(), { error: "not_found" });
  t.equal((await ask(port, "/live/")).status, 404);
  const wrong = await ask(port, "/live", { method: "DELETE" });
  t.equal(wrong.status, 405);
  t.equal(wrong.headers["allow"], "GET, HEAD");
  const head = await ask(port, "/live", { method: "HEAD" });
  t.equal(head.status, 200);
  t.equal(head.text, "");
});

t.test("own routes get path, query and body, exact or below a prefix", async (t) => {
  const { port } = await start(t, {
    routes: [
      {
        method: "POST",
        path: "/api/v1/heartbeat",
        handle: async (request) => ({ status: 201, body: { got: (await request.body(10)).toString(), q: request.query.get("q") } }),
      },
      {
        method: "GET",
        path: "/app-health/*",
        handle: (request) => ({ status: 200, headers: { "content-type": "text/html" }, body: request.path }),
      },
    ],
  });
  const posted = await ask(port, "/api/v1/heartbeat?q=a%20b", { method: "POST", body: "hello" });
  t.equal(posted.status, 201);
  t.same(posted.json(), { got: "hello", q: "a b" });
  const below = await ask(port, "/app-health/web/live");
  t.equal(below.text, "/app-health/web/live");
  t.equal(below.headers["content-type"], "text/html");
  t.equal((await ask(port, "/app-health")).status, 404);
});

t.test("a body above the bound is 413, announced or not, and the connection ends", async (t) => {
  const { port } = await start(t, {
    routes: [{ method: "POST", path: "/eat", handle: async (r) => ({ status: 200, body: await r.body(100) }) }],
  });
  const announced = await ask(port, "/eat", { method: "POST", body: Buffer.alloc(101) });
  t.equal(announced.status, 413);
  t.match(announced.json(), { error: "too_large" });

  const socket = connect(port, "127.0.0.1");
  t.teardown(() => socket.destroy());
  socket.write(`POST /eat HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n65\r\n${"x".repeat(0x65)}\r\n`);
  const [first] = (await once(socket, "data")) as [Buffer];
  t.match(first.toString(), /^HTTP\/1.1 413 /);
  await once(socket, "close");
  t.equal((await ask(port, "/eat", { method: "POST", body: Buffer.alloc(100) })).status, 200, "others are served");
});

t.test("an error in a route is 500 without details, and logged once", async (t) => {
  const lines: string[] = [];
  const circular: Record<string, unknown> = {};
  circular["self"] = circular;
  const log = createLogger({ component: "x", level: "warn", stdout: { write: (line: string) => void lines.push(line) } });
  const { port } = await start(t, {
    log,
    routes: [
      {
        method: "GET",
        path: "/throws",
        handle: () => {
          throw new Error("database password is x");
        },
      },
      { method: "GET", path: "/forges", handle: () => ({ status: 200, headers: { "x-a": "b\r\nx-c: d" }, body: "" }) },
      { method: "GET", path: "/circular", handle: () => ({ status: 200, body: circular }) },
      { method: "GET", path: "/rejects", handle: () => Promise.reject(new Error("inner")) },
    ],
  });
  const answer = await ask(port, "/throws");
  t.equal(answer.status, 500);
  t.notMatch(answer.text, /password/);
  t.equal((await ask(port, "/rejects")).status, 500);
  t.equal((await ask(port, "/forges")).status, 500);
  t.equal((await ask(port, "/circular")).status, 500);
  t.equal(lines.length, 4);
  t.match(lines[0], /database password is x/);
});

t.test("garbage, an oversized head and half a request disturb nobody", async (t) => {
  const { port } = await start(t);
  for (const bytes of ["\u0016\u0003\u0001\u0002\u0000garbage\r\n\r\n", `GET / HTTP/1.1\r\nx: ${"y".repeat(20_000)}\r\n\r\n`]) {
    const socket = connect(port, "127.0.0.1");
    socket.on("error", () => undefined);
    socket.end(bytes);
    let text = "";
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    await once(socket, "close");
    t.match(text, /^HTTP\/1.1 4\d\d /);
  }
  const half = connect(port, "127.0.0.1");
  half.on("error", () => undefined);
  half.write("GET /live HT");
  await once(half, "connect");
  t.equal((await ask(port, "/live")).status, 200);
  half.destroy();
});

t.test("close does not wait for kept-alive connections, nor long for slow requests", async (t) => {
  const server = await start(t, { routes: [{ method: "GET", path: "/slow", handle: () => new Promise(() => undefined) }] });
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  await ask(server.port, "/live", { agent });
  const silent = connect(server.port, "127.0.0.1");
  silent.on("error", () => undefined);
  await once(silent, "connect");
  const beforeMs = performance.now();
  await server.close();
  t.ok(performance.now() - beforeMs < 900, "idle connections are ended at once, also those that never asked");

  const other = await start(t, { routes: [{ method: "GET", path: "/slow", handle: () => new Promise(() => undefined) }] });
  const slow = ask(other.port, "/slow").then(
    () => "answered",
    () => "cut",
  );
  await new Promise((resolve) => setTimeout(resolve, 50));
  await other.close();
  t.equal(await slow, "cut");
  t.ok(performance.now() - beforeMs < 4000);
});

t.test("a port in use is told with its address", async (t) => {
  const { port } = await start(t);
  await t.rejects(start(t, { port }), { code: "EADDRINUSE", message: new RegExp(`127.0.0.1:${port}`) });
});
