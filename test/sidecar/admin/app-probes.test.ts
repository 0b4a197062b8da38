// Probes that the sidecar runs for the kubelet, against real servers, asked over the real admin port.
import { Server as GrpcServer, ServerCredentials } from "@grpc/grpc-js";
import { createServer, type RequestListener } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { type AddressInfo, createServer as createTcpServer, type Server } from "node:net";
import t, { type Test } from "tap";
import { startAdminServer } from "../../../core/admin-server.ts";
import { silentLogger } from "../../../core/log.ts";
import { createMetrics } from "../../../core/metrics.ts";
import { makeWebhookMaterial } from "../../../injector/webhook/webhook-certificate.ts";
import { injectPod } from "../../../injector/inject.ts";
import { defaultInjectorSettings } from "../../../injector/settings.ts";
import { noSurroundings } from "../../../injector/surroundings.ts";
import { createAppProbes } from "../../../sidecar/admin/app-probes.ts";

async function listen(t: Test, server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  t.teardown(() => new Promise<void>((resolve) => server.close(() => resolve())));
  return (server.address() as AddressInfo).port;
}

function app(t: Test, listener: RequestListener): Promise<number> {
  return listen(t, createServer(listener));
}

/** Starts an admin server with the probes, and asks one. */
async function sidecar(t: Test, probes: object): Promise<(name: string) => Promise<{ status: number; body: string }>> {
  const admin = await startAdminServer({
    host: "127.0.0.1",
    port: 0,
    log: silentLogger(),
    metrics: createMetrics({ component: "test", version: "0", commit: "0" }),
    metricsToken: null,
    info: () => ({}),
    health: () => ({ status: "ok", checks: {} }),
    ready: () => ({ ready: true, waitingFor: [] }),
    onExit: () => {},
    routes: createAppProbes(JSON.stringify(probes), { appHost: "127.0.0.1" }),
  });
  t.teardown(() => admin.close());
  return async (name) => {
    const answer = await fetch(`http://127.0.0.1:${admin.port}/app-health/${name}`);
    return { status: answer.status, body: await answer.text() };
  };
}

t.test("an http probe asks as the kubelet would and passes the verdict on", async (t) => {
  const seen: (string | undefined)[] = [];
  let status = 204;
  const port = await app(t, (request, response) => {
    seen.push(request.url, request.headers.host, request.headers["x-check"] as string, request.headers["user-agent"]);
    response.writeHead(status).end();
  });
  const httpHeaders = [
    { name: "X-Check", value: "1" },
    { name: "Host", value: "app.example" },
  ];
  const ask = await sidecar(t, {
    "web/liveness": { httpGet: { path: "/live?deep=1", port, scheme: "HTTP", httpHeaders }, timeoutSeconds: 1 },
  });
  t.equal((await ask("web/liveness")).status, 200);
  t.strictSame(seen, ["/live?deep=1", "app.example", "1", "kube-probe/remora"]);
  status = 503;
  t.match(await ask("web/liveness"), { status: 503, body: /GET \/live on port [0-9]+: 503/ });
  status = 404;
  t.equal((await ask("web/liveness")).status, 404);
  t.equal((await ask("web/readiness")).status, 404, "no such probe");
});

t.test("redirects are followed within the app and count as healthy beyond it", async (t) => {
  const targets: Record<string, string> = { "/a": "/b", "/b": "/broken", "/loop": "/loop", "/away": "http://example.invalid/" };
  const port = await app(t, (request, response) => {
    const target = targets[request.url ?? ""];
    if (target === undefined) response.writeHead(500).end();
    else response.writeHead(302, { location: target }).end();
  });
  const probe = (path: string) => ({ httpGet: { path, port, scheme: "HTTP" } });
  const ask = await sidecar(t, { "a/liveness": probe("/a"), "a/readiness": probe("/loop"), "a/startup": probe("/away") });
  t.equal((await ask("a/liveness")).status, 500);
  t.match(await ask("a/readiness"), { status: 502, body: /redirects 10 times and more/ });
  t.equal((await ask("a/startup")).status, 200);
});

t.test("an https probe takes any certificate, as the kubelet does", async (t) => {
  const random = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));
  const { privateKeyPem, certificatePem } = makeWebhookMaterial(
    { dnsNames: ["elsewhere.example"], addresses: [] },
    Date.now(),
    random,
    null,
  );
  const port = await listen(
    t,
    createTlsServer({ key: privateKeyPem, cert: certificatePem }, (_, response) => response.end("ok")),
  );
  const ask = await sidecar(t, {
    "a/liveness": { httpGet: { path: "/", port, scheme: "HTTPS" } },
    "a/readiness": { httpGet: { path: "/", port, scheme: "HTTP" } },
  });
  t.equal((await ask("a/liveness")).status, 200);
  t.equal((await ask("a/readiness")).status, 502, "plain HTTP to a TLS port is not healthy");
});

t.test("a tcp probe needs an open port", async (t) => {
  const server = createTcpServer((socket) => socket.end());
  const port = await listen(t, server);
  const closed = createTcpServer();
  await new Promise<void>((resolve) => closed.listen(0, "127.0.0.1", resolve));
  const closedPort = (closed.address() as AddressInfo).port;
  await new Promise((resolve) => closed.close(resolve));
  const ask = await sidecar(t, { "a/liveness": { tcpSocket: { port } }, "a/readiness": { tcpSocket: { port: closedPort } } });
  t.equal((await ask("a/liveness")).status, 200);
  t.match(await ask("a/readiness"), { status: 502, body: /ECONNREFUSED/ });
});

t.test("a gRPC probe asks the health service", async (t) => {
  const server = new GrpcServer();
  const asked: string[] = [];
  const bytes = (value: Buffer) => value;
  server.addService(
    {
      check: {
        path: "/grpc.health.v1.Health/Check",
        requestStream: false,
        responseStream: false,
        requestSerialize: bytes,
        requestDeserialize: bytes,
        responseSerialize: bytes,
        responseDeserialize: bytes,
      },
    },
    {
      check(call: { request: Buffer }, answer: (error: object | null, value?: Buffer) => void) {
        const service = call.request.subarray(2).toString();
        asked.push(service);
        if (service === "unknown") answer({ code: 5, details: "unknown service" });
        else answer(null, Buffer.of(0x08, service === "sick" ? 2 : 1));
      },
    },
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, bound) =>
      error === null ? resolve(bound) : reject(error),
    );
  });
  t.teardown(() => server.forceShutdown());
  const probe = (service: string) => ({ grpc: { port, service } });
  const ask = await sidecar(t, {
    "a/liveness": probe(""),
    "a/readiness": probe("sick"),
    "a/startup": probe("unknown"),
    "b/liveness": probe("shop.v1.Orders"),
  });
  t.equal((await ask("a/liveness")).status, 200);
  t.match(await ask("a/readiness"), { status: 503, body: /not serving \(grpc-status 0\)/ });
  t.match(await ask("a/startup"), { status: 503, body: /grpc-status 5/ });
  t.equal((await ask("b/liveness")).status, 200);
  t.strictSame(asked, ["", "sick", "unknown", "shop.v1.Orders"]);
});

t.test("an app that does not answer in time is not healthy, over http, gRPC and TLS alike", async (t) => {
  const server = createTcpServer(() => {});
  const sockets: { destroy(): unknown }[] = [];
  server.on("connection", (socket) => sockets.push(socket.on("error", () => {})));
  const port = await listen(t, server);
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
  });
  const timeoutSeconds = 0.2;
  const ask = await sidecar(t, {
    "a/liveness": { httpGet: { path: "/", port, scheme: "HTTP" }, timeoutSeconds },
    "a/readiness": { grpc: { port, service: "" }, timeoutSeconds },
    "a/startup": { httpGet: { path: "/", port, scheme: "HTTPS" }, timeoutSeconds },
  });
  const answers = await Promise.all(["a/liveness", "a/readiness", "a/startup"].map(ask));
  for (const answer of answers) t.match(answer, { status: 504, body: /did not answer within 200 ms/ });
});

t.test("who asks while a probe runs shares its answer", async (t) => {
  let count = 0;
  const port = await app(t, (_, response) => {
    count += 1;
    setTimeout(() => response.end(), 1_000);
  });
  const ask = await sidecar(t, { "a/liveness": { httpGet: { path: "/", port, scheme: "HTTP" }, timeoutSeconds: 10 } });
  const answers = await Promise.all(Array.from({ length: 20 }, () => ask("a/liveness")));
  t.ok(answers.every(({ status }) => status === 200));
  t.equal(count, 1);
  await ask("a/liveness");
  t.equal(count, 2);
});

t.test("what the injector writes is what the sidecar reads", async (t) => {
  const container = {
    name: "app",
    ports: [{ name: "http", containerPort: 8080 }],
    livenessProbe: { httpGet: { port: "http", path: "/live" } },
    readinessProbe: { tcpSocket: { port: 8080 }, timeoutSeconds: 2 },
    startupProbe: { grpc: { port: 9090 } },
  };
  const { pod } = injectPod(
    { spec: { containers: [container] } },
    noSurroundings("shop"),
    { kind: "command" },
    defaultInjectorSettings("0"),
  );
  const env = (pod?.spec.initContainers?.[1]?.["env"] ?? []) as { name: string; value: string }[];
  const probes = env.find(({ name }) => name === "REMORA_PROBES")?.value ?? "";
  const paths = createAppProbes(probes, { appHost: "127.0.0.1" }).map(({ path }) => path);
  const rewritten = pod?.spec.containers[0];
  t.strictSame(
    paths.sort(),
    [rewritten?.livenessProbe, rewritten?.readinessProbe, rewritten?.startupProbe].map((probe) => probe?.httpGet?.path).sort(),
  );
});

t.test("probes that make no sense are refused with the entry that is wrong", async (t) => {
  const bad: [string, RegExp][] = [
    ["{", /not JSON/],
    ["[]", /must be an object/],
    ['{"web":{}}', /"web": the name must be/],
    ['{"web/other":{}}', /the name must be/],
    ['{"../x/liveness":{}}', /the name must be/],
    ['{"web/liveness":7}', /an object is expected/],
    ['{"web/liveness":{}}', /one of httpGet, tcpSocket and grpc/],
    ['{"web/liveness":{"tcpSocket":{"port":"http"}}}', /port must be a number/],
    ['{"web/liveness":{"tcpSocket":{"port":70000}}}', /port must be a number/],
    ['{"web/liveness":{"tcpSocket":{"port":1},"timeoutSeconds":0}}', /timeoutSeconds must be/],
    ['{"web/liveness":{"httpGet":{"port":1,"httpHeaders":[{"name":1}]}}}', /a header needs name and value/],
  ];
  for (const [json, message] of bad) t.throws(() => createAppProbes(json, { appHost: "::1" }), { code: "invalid_value", message }, json);
});

t.test("an answer that breaks off, or whose body never comes, is not healthy", async (t) => {
  const port = await app(t, (request, response) => {
    response.writeHead(200, { "content-length": "1000" });
    if (request.url === "/cut") response.write("half", () => response.destroy());
    else response.write("half");
  });
  const probe = (path: string) => ({ httpGet: { path, port, scheme: "HTTP" }, timeoutSeconds: 0.5 });
  const ask = await sidecar(t, { "a/liveness": probe("/cut"), "a/readiness": probe("/stall") });
  t.equal((await ask("a/liveness")).status, 502);
  t.match(await ask("a/readiness"), { status: 504, body: /did not answer within 500 ms/ });
});

t.test("a long answer is read as far as the kubelet would", async (t) => {
  const port = await app(t, (_, response) => {
    const endless = () => {
      while (response.write(Buffer.alloc(16 * 1024)));
      response.once("drain", endless);
    };
    endless();
  });
  const ask = await sidecar(t, { "a/liveness": { httpGet: { path: "/", port, scheme: "HTTP" }, timeoutSeconds: 5 } });
  t.equal((await ask("a/liveness")).status, 200);
});

t.test("paths and headers arrive as they were written", async (t) => {
  const seen: unknown[] = [];
  const port = await app(t, (request, response) => {
    const word = request.headers["x-word"];
    const text = typeof word === "string" ? Buffer.from(word, "latin1").toString("utf8") : undefined;
    seen.push([request.url, request.headers.accept, request.headers["user-agent"], request.headers["x-two"], text]);
    response.end();
  });
  const httpHeaders = [
    { name: "Accept", value: "" },
    { name: "User-Agent", value: "mine" },
    { name: "X-Two", value: "1" },
    { name: "x-two", value: "2" },
    { name: "X-Word", value: "größe 大" },
  ];
  const ask = await sidecar(t, {
    "a/liveness": { httpGet: { path: "/a/../b?c=%20d#e", port, scheme: "HTTP", httpHeaders } },
    "a/readiness": { httpGet: { path: "/with space", port, scheme: "HTTP" } },
  });
  t.equal((await ask("a/liveness")).status, 200);
  t.equal((await ask("a/readiness")).status, 200);
  t.strictSame(seen, [
    ["/a/../b?c=%20d", undefined, "mine", "1, 2", "größe 大"],
    ["/with%20space", "*/*", "kube-probe/remora", undefined, undefined],
  ]);
});
