// Lifecycle hooks that the sidecar runs for the kubelet: real apps, asked over the real admin port by a client that judges as the kubelet does.
import { createServer, request, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import t, { type Test } from "tap";
import { startAdminServer } from "../../../core/admin-server.ts";
import { silentLogger } from "../../../core/log.ts";
import { createMetrics } from "../../../core/metrics.ts";
import { injectPod } from "../../../injector/inject.ts";
import { allContainers, type Pod } from "../../../injector/pod/pod.ts";
import { defaultInjectorSettings } from "../../../injector/settings.ts";
import { noSurroundings } from "../../../injector/surroundings.ts";
import { makeWebhookMaterial } from "../../../injector/webhook/webhook-certificate.ts";
import { createAppHooks } from "../../../sidecar/admin/app-hooks.ts";
import { leaveRoute } from "../../../sidecar/admin/leave.ts";

const TOKEN = "0123456789abcdef";

async function listen(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return (server.address() as AddressInfo).port;
}

function app(t: Test, listener: RequestListener): Promise<number> {
  return listen(t, createServer(listener));
}

/** Calls as a kubelet calls a hook: an answer of any status is success, and only a connection without one is failure. */
function call(port: number, path: string): Promise<number | "failed"> {
  return new Promise((resolve) => {
    const asked = request({ host: "127.0.0.1", port, path, agent: false }, (answer) => {
      answer.resume();
      answer.on("end", () => resolve(answer.statusCode ?? 0));
    });
    asked.on("error", () => resolve("failed"));
    asked.end();
  });
}

async function sidecar(t: Test, json: string, onLeave = () => {}): Promise<number> {
  const log = silentLogger();
  const admin = await startAdminServer({
    host: "127.0.0.1",
    port: 0,
    log,
    metrics: createMetrics({ component: "test", version: "0", commit: "0" }),
    metricsToken: null,
    info: () => ({}),
    health: () => ({ status: "ok", checks: {} }),
    ready: () => ({ ready: true, waitingFor: [] }),
    onExit: () => {},
    routes: [...createAppHooks(json, { appHost: "127.0.0.1", log }), leaveRoute(log, onLeave)],
  });
  t.teardown(() => admin.close());
  return admin.port;
}

function hook(port: number, fields: object = {}): object {
  return { httpGet: { path: "/", port, scheme: "HTTP", ...fields }, token: TOKEN };
}

t.test("a hook asks the app as the kubelet would, once, and any answer is success", async (t) => {
  const seen: unknown[] = [];
  let status = 200;
  const port = await app(t, (incoming, response) => {
    seen.push([incoming.method, incoming.url, incoming.headers["x-key"], incoming.headers.host]);
    response.writeHead(status).end();
  });
  const httpHeaders = [
    { name: "X-Key", value: "a" },
    { name: "X-Key", value: "b" },
    { name: "Host", value: "app.example" },
  ];
  const admin = await sidecar(t, JSON.stringify({ "web/preStop": hook(port, { path: "/stop?now=1", httpHeaders }) }));
  t.equal(await call(admin, `/app-hook/web/preStop/${TOKEN}`), 200);
  t.strictSame(seen, [["GET", "/stop?now=1", "a, b", "app.example"]]);
  status = 500;
  t.equal(await call(admin, `/app-hook/web/preStop/${TOKEN}`), 200, "the kubelet does not look at the status either");
});

t.test("nobody runs a hook without its token", async (t) => {
  let runs = 0;
  const port = await app(t, (_, response) => {
    runs += 1;
    response.end();
  });
  const admin = await sidecar(t, JSON.stringify({ "web/preStop": hook(port) }));
  for (const path of [
    "/app-hook/web/preStop",
    "/app-hook/web/preStop/",
    `/app-hook/web/preStop/${"0".repeat(16)}`,
    `/app-hook/web/postStart/${TOKEN}`,
  ]) {
    t.equal(await call(admin, path), 404, path);
  }
  t.equal(runs, 0);
});

t.test("a hook that cannot be asked fails as the kubelet understands it", async (t) => {
  const closed = createTcpServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const closedPort = (closed.address() as AddressInfo).port;
  await new Promise((resolve) => closed.close(resolve));
  const cutting = await listen(
    t,
    createTcpServer((socket) => socket.destroy()),
  );
  const admin = await sidecar(t, JSON.stringify({ "a/postStart": hook(closedPort), "b/postStart": hook(cutting) }));
  t.equal(await call(admin, `/app-hook/a/postStart/${TOKEN}`), "failed");
  t.equal(await call(admin, `/app-hook/b/postStart/${TOKEN}`), "failed");
});

t.test("an https hook takes any certificate, and falls back to http as the kubelet does", async (t) => {
  const random = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));
  const { privateKeyPem, certificatePem } = makeWebhookMaterial(
    { dnsNames: ["elsewhere.example"], addresses: [] },
    Date.now(),
    random,
    null,
  );
  const seen: string[] = [];
  const secure = await listen(
    t,
    createTlsServer({ key: privateKeyPem, cert: certificatePem }, (_, response) => {
      seen.push("tls");
      response.end();
    }),
  );
  const plain = await app(t, (_, response) => {
    seen.push("plain");
    response.end();
  });
  const admin = await sidecar(
    t,
    JSON.stringify({ "a/postStart": hook(secure, { scheme: "HTTPS" }), "b/postStart": hook(plain, { scheme: "HTTPS" }) }),
  );
  t.equal(await call(admin, `/app-hook/a/postStart/${TOKEN}`), 200);
  t.equal(await call(admin, `/app-hook/b/postStart/${TOKEN}`), 200);
  t.strictSame(seen, ["tls", "plain"]);
});

t.test("a slow hook is waited for, and runs once for who asks twice", async (t) => {
  let runs = 0;
  const port = await app(t, (_, response) => {
    runs += 1;
    setTimeout(() => response.end(), 300);
  });
  const admin = await sidecar(t, JSON.stringify({ "a/preStop": hook(port) }));
  const path = `/app-hook/a/preStop/${TOKEN}`;
  t.strictSame(await Promise.all([call(admin, path), call(admin, path)]), [200, 200]);
  t.equal(runs, 1);
});

t.test("a list that is wrong keeps the sidecar from starting, and says which entry", async (t) => {
  const options = { appHost: "127.0.0.1", log: silentLogger() };
  const cases: readonly [string, RegExp][] = [
    ["[", /REMORA_HOOKS is not JSON/],
    ["[]", /REMORA_HOOKS must be an object/],
    ['{"a/liveness":{}}', /"a\/liveness": the name must be CONTAINER\/postStart or CONTAINER\/preStop/],
    ['{"a/preStop":{"tcpSocket":{"port":1}}}', /httpGet is expected/],
    ['{"a/preStop":{"httpGet":{"port":1}}}', /token must be/],
    ['{"a/preStop":{"httpGet":{"port":1},"token":"../../../../../../x"}}', /token must be/],
    [`{"a/preStop":{"httpGet":{"port":0},"token":"${TOKEN}"}}`, /port must be a number/],
  ];
  for (const [json, message] of cases) t.throws(() => createAppHooks(json, options), { message }, json);
});

t.test("what the injector writes is what the kubelet and the sidecar read", async (t) => {
  let runs = 0;
  const port = await app(t, (incoming, response) => {
    if (incoming.url === "/bye") runs += 1;
    response.end();
  });
  const container = {
    name: "web",
    ports: [{ name: "main", containerPort: port }],
    lifecycle: { preStop: { httpGet: { path: "/bye", port: "main" } } },
  };
  const { pod } = injectPod(
    { spec: { containers: [container] } },
    noSurroundings("shop"),
    { kind: "command" },
    defaultInjectorSettings("0"),
  );
  const side = allContainers(pod as Pod).find(({ name }) => name === "remora-sidecar");
  const env = ((side?.["env"] ?? []) as { name: string; value: string }[]).find(({ name }) => name === "REMORA_HOOKS");
  const admin = await sidecar(t, env?.value ?? "");
  const redirected = pod?.spec.containers[0]?.lifecycle?.preStop?.httpGet;
  t.match(redirected, { port: 15020, scheme: "HTTP", path: /^\/app-hook\/web\/preStop\/[0-9a-f]{32}$/ });
  t.equal(await call(admin, redirected?.path ?? ""), 200);
  t.equal(runs, 1);
});

t.test("programs of the pod may tell that it ends, nobody else", async (t) => {
  let left = 0;
  const admin = await sidecar(t, "{}", () => {
    left += 1;
  });
  const post = async (headers: Record<string, string> = {}) =>
    (await fetch(`http://127.0.0.1:${admin}/leave`, { method: "POST", headers })).status;
  t.equal(await post(), 202);
  t.equal(left, 1);
  t.equal(await post({ origin: "http://evil.example" }), 403, "a web page");
  t.equal((await fetch(`http://127.0.0.1:${admin}/leave`)).status, 405);
  const route = leaveRoute(silentLogger(), () => {
    left += 1;
  });
  const other = {
    method: "POST",
    path: "/leave",
    query: new URLSearchParams(),
    headers: {},
    remoteAddress: "10.0.0.7",
    localAddress: "",
    body: async () => Buffer.alloc(0),
  };
  t.match(await route.handle(other), { status: 403 }, "another pod");
  t.equal(left, 1);
});
