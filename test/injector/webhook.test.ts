// The webhook as an API server meets it: real TLS, real bytes, well and badly formed.
import { mkdtemp, rm } from "node:fs/promises";
import { request as httpsRequest } from "node:https";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TLSSocket, connect as tlsConnect } from "node:tls";
import jsonPatch from "fast-json-patch";
import t, { type Test } from "tap";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics, type Metrics } from "../../core/metrics.ts";
import { type Injector, startInjector } from "../../injector/injector.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";

interface Fixture {
  readonly injector: Injector;
  readonly metrics: Metrics;
}

async function start(t: Test): Promise<Fixture> {
  const folder = await mkdtemp(join(tmpdir(), "remora-injector-"));
  const metrics = createMetrics({ component: "test", version: "0", commit: "0" });
  const injector = await startInjector({
    host: "127.0.0.1",
    port: 0,
    settings: defaultInjectorSettings("0.1.0"),
    shared: { kind: "folder", path: folder },
    clients: null,
    instance: "test",
    random: Math.random,
    clock: systemClock,
    log: silentLogger(),
    metrics,
  });
  t.teardown(async () => {
    await injector.close();
    await rm(folder, { recursive: true });
  });
  return { injector, metrics };
}

interface Answer {
  readonly status: number;
  readonly body: string;
}

interface Ask {
  readonly path?: string;
  readonly method?: string;
  readonly type?: string | null;
  readonly chunked?: boolean;
}

function ask(
  { injector }: Fixture,
  body: string | Buffer,
  { path = "/inject", method = "POST", type = "application/json", chunked = false }: Ask = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = httpsRequest(
      {
        host: "127.0.0.1",
        port: injector.port,
        path,
        method,
        agent: false,
        servername: "remora-injector.remora-system.svc",
        ca: injector.caBundle(),
        headers: { ...(type === null ? {} : { "content-type": type }), ...(chunked ? {} : { "content-length": Buffer.byteLength(body) }) },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("end", () => resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString() }));
        response.on("error", reject);
      },
    );
    // An answer may come before all of a large body was taken; writing then fails, and only an absent answer is an error.
    let answered = false;
    request.on("response", () => {
      answered = true;
    });
    request.on("error", (error) => (answered ? undefined : reject(error)));
    request.end(body);
  });
}

const POD = { metadata: { generateName: "web-", labels: { app: "web" } }, spec: { containers: [{ name: "app", image: "app:1" }] } };

function review(object: unknown, overrides: Record<string, unknown> = {}): string {
  return JSON.stringify({
    apiVersion: "admission.k8s.io/v1",
    kind: "AdmissionReview",
    request: {
      uid: "705ab4f5-6393-11e8-b7cc-42010a800002",
      kind: { group: "", version: "v1", kind: "Pod" },
      resource: { group: "", version: "v1", resource: "pods" },
      operation: "CREATE",
      namespace: "shop",
      object,
      ...overrides,
    },
  });
}

interface ReviewAnswer {
  readonly uid: string;
  readonly allowed: boolean;
  readonly patch?: string;
  readonly patchType?: string;
  readonly status?: { readonly code: number; readonly message: string };
  readonly warnings?: readonly string[];
  readonly auditAnnotations: Record<string, string>;
}

function read(answer: Answer): ReviewAnswer {
  const parsed = JSON.parse(answer.body) as { readonly apiVersion: string; readonly kind: string; readonly response: ReviewAnswer };
  if (parsed.apiVersion !== "admission.k8s.io/v1" || parsed.kind !== "AdmissionReview")
    throw new Error(`not a review: ${answer.body.slice(0, 200)}`);
  return parsed.response;
}

t.test("a pod of an opted-in namespace comes back with a patch that adds the sidecar", async (t) => {
  const fixture = await start(t);
  const answer = await ask(fixture, review(POD));
  t.equal(answer.status, 200);
  const response = read(answer);
  t.match(response, { uid: "705ab4f5-6393-11e8-b7cc-42010a800002", allowed: true, patchType: "JSONPatch" });
  const patch = JSON.parse(Buffer.from(response.patch ?? "", "base64").toString()) as jsonPatch.Operation[];
  const patched = jsonPatch.applyPatch(structuredClone(POD), patch, true).newDocument as unknown as {
    spec: { initContainers: { name: string }[] };
  };
  t.strictSame(
    patched.spec.initContainers.map(({ name }) => name),
    ["remora-init", "remora-sidecar"],
  );

  const again = read(await ask(fixture, review(patched)));
  t.equal(again.allowed, true);
  t.notOk(again.auditAnnotations, "the audit says what was done the first time");
  t.notOk(again.patch, "the second call changes nothing");
  t.match(await fixture.metrics.registry.metrics(), /remora_injections_total\{result="injected",reason="namespace_enabled"\} 1/);
});

t.test("a pod that asks for itself is served on the path of its own webhook", async (t) => {
  const fixture = await start(t);
  const labelled = { ...POD, metadata: { labels: { "remora.io/inject": "enabled" } } };
  t.match(read(await ask(fixture, review(labelled), { path: "/inject/labelled" })), { allowed: true, patchType: "JSONPatch" });
  const response = read(await ask(fixture, review(POD), { path: "/inject/labelled" }));
  t.match(response, { allowed: true, auditAnnotations: { reason: "namespace_not_enabled" } });
});

t.test("a bad annotation refuses the pod and says which, what it holds and what it may hold", async (t) => {
  const fixture = await start(t);
  const bad = { ...POD, metadata: { annotations: { "remora.io/mode": "lenient", "remora.io/rate-limit": "10 per second" } } };
  const response = read(await ask(fixture, review(bad)));
  t.equal(response.allowed, false);
  t.match(
    response.status?.message,
    /invalid_annotation.*remora\.io\/mode: "lenient" is not allowed; allowed: strict, permissive; .*remora\.io\/rate-limit: "10 per second"/,
  );
  t.notOk(response.patch);
});

t.test("an unknown annotation warns with the nearest name", async (t) => {
  const fixture = await start(t);
  const response = read(await ask(fixture, review({ ...POD, metadata: { annotations: { "remora.io/rate-limits": "10/s" } } })));
  t.equal(response.allowed, true);
  t.match(response.warnings?.[0], /remora\.io\/rate-limits.*did you mean remora\.io\/rate-limit\?/);
});

t.test("other kinds, operations and subresources pass untouched", async (t) => {
  const fixture = await start(t);
  const reasonOf = async (overrides: Record<string, unknown>) => {
    const response = read(await ask(fixture, review(POD, overrides)));
    t.notOk(response.patch);
    t.ok(response.allowed);
    return response.auditAnnotations["reason"];
  };
  t.equal(await reasonOf({ resource: { group: "apps", version: "v1", resource: "deployments" } }), "not_a_pod");
  t.equal(await reasonOf({ subResource: "ephemeralcontainers" }), "subresource");
  t.equal(await reasonOf({ operation: "UPDATE" }), "not_created");
});

t.test("a dry run gets the same answer", async (t) => {
  const fixture = await start(t);
  t.equal(read(await ask(fixture, review(POD, { dryRun: true }))).patch, read(await ask(fixture, review(POD))).patch);
});

t.test("what is not a review gets a status that says so", async (t) => {
  const fixture = await start(t);
  const statusOf = async (body: string | Buffer, how: Ask = {}) => (await ask(fixture, body, how)).status;
  t.equal(await statusOf(""), 400, "empty");
  t.equal(await statusOf("{"), 400, "half of JSON");
  t.equal(await statusOf("null"), 400);
  t.equal(await statusOf("[]"), 400);
  t.equal(await statusOf("{}"), 400, "no kind");
  t.equal(await statusOf(Buffer.from([0xff, 0xfe, 0x00, 0x80])), 400, "no text");
  t.equal(await statusOf(review(POD).replace("admission.k8s.io/v1", "admission.k8s.io/v1beta1")), 400, "an old version");
  t.equal(await statusOf(review(POD).replace('"AdmissionReview"', '"Pod"')), 400, "another kind");
  t.equal(await statusOf(JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview" })), 400, "no request");
  t.equal(await statusOf(review(POD, { uid: "" })), 400, "no uid");
  t.equal(await statusOf(review(POD, { uid: 7 })), 400, "a number as uid");
  t.equal(await statusOf(review(POD), { type: "text/plain" }), 415);
  t.equal(await statusOf(review(POD), { type: null }), 415);
  t.equal(await statusOf(review(POD), { type: "application/json; charset=utf-8" }), 200);
  t.equal(await statusOf(review(POD), { path: "/other" }), 404);
  t.equal(await statusOf("", { method: "GET" }), 405);
});

t.test("an object that is no pod is refused with the place that is wrong", async (t) => {
  const fixture = await start(t);
  const objects: [unknown, RegExp][] = [
    [null, /the pod must be an object/],
    [undefined, /the pod must be an object/],
    ["pod", /the pod must be an object/],
    [{}, /spec must be an object/],
    [{ spec: {} }, /spec\.containers must be a list/],
    [{ spec: { containers: [] } }, /at least one container/],
    [{ spec: { containers: [{}] } }, /spec\.containers\[0\]\.name/],
    [{ spec: { containers: [{ name: "a", ports: [{ containerPort: "http" }] }] } }, /containerPort must be a number/],
    [{ spec: { containers: [{ name: "a", livenessProbe: { httpGet: {} } }] } }, /livenessProbe\.httpGet\.port/],
    [{ metadata: { annotations: { a: 1 } }, spec: { containers: [{ name: "a" }] } }, /metadata\.annotations\["a"\]/],
    [{ metadata: [], spec: { containers: [{ name: "a" }] } }, /metadata must be an object/],
  ];
  for (const [object, message] of objects) {
    const response = read(await ask(fixture, review(object)));
    t.equal(response.allowed, false, JSON.stringify(object));
    t.match(response.status?.message, message);
  }
});

t.test("keys that JavaScript treats specially are only keys", async (t) => {
  const fixture = await start(t);
  const hostile = review(POD)
    .replace('"app":"web"', '"__proto__":"x","constructor":"y","app":"web"')
    .replace('"spec":{', '"__proto__":{"polluted":true},"spec":{"__proto__":{"hostNetwork":true},');
  const response = read(await ask(fixture, hostile));
  t.match(response, { allowed: true, patchType: "JSONPatch" });
  t.notOk(("polluted" in {}) as boolean);
});

t.test("a review of 10 MB is refused without being read to its end, and the next is served", async (t) => {
  const fixture = await start(t);
  const large = review({ ...POD, metadata: { annotations: { blob: "x".repeat(10 * 1024 * 1024) } } });
  t.equal((await ask(fixture, large)).status, 413, "by its declared length");
  t.equal((await ask(fixture, large, { chunked: true })).status, 413, "by its bytes");
  t.equal((await ask(fixture, review(POD))).status, 200);
});

t.test("plaintext, old TLS and half-sent requests do no harm", async (t) => {
  const fixture = await start(t);
  const { port } = fixture.injector;
  const reply = await new Promise<string>((resolve) => {
    let text = "";
    const socket = connect(port, "127.0.0.1", () => socket.end("POST /inject HTTP/1.1\r\nhost: x\r\n\r\n"));
    socket.on("data", (chunk) => {
      text += chunk.toString("latin1");
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
  t.notMatch(reply, /200/);
  const oldTls = new Promise<void>((resolve, reject) => {
    const socket = tlsConnect({ port, host: "127.0.0.1", maxVersion: "TLSv1.2", rejectUnauthorized: false }, () => resolve());
    socket.on("error", reject);
  });
  await t.rejects(oldTls, /alert|version|ECONNRESET/i);
  const half = tlsConnect({ port, host: "127.0.0.1", ca: fixture.injector.caBundle(), servername: "localhost" }, () => {
    half.write("POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{");
    half.destroySoon();
  });
  half.on("error", () => {});
  await new Promise((resolve) => half.on("close", resolve));
  t.equal((await ask(fixture, review(POD))).status, 200);
});

t.test("closing answers what is being asked, refuses what comes later, and does not wait for idle connections", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-injector-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const injector = await startInjector({
    host: "127.0.0.1",
    port: 0,
    settings: defaultInjectorSettings("0.1.0"),
    shared: { kind: "folder", path: folder },
    clients: null,
    instance: "test",
    random: Math.random,
    clock: systemClock,
    log: silentLogger(),
    metrics: createMetrics({ component: "test", version: "0", commit: "0" }),
  });
  const open = () =>
    new Promise<TLSSocket>((resolve, reject) => {
      const socket = tlsConnect({ port: injector.port, host: "127.0.0.1", ca: injector.caBundle(), servername: "localhost" }, () =>
        resolve(socket),
      );
      socket.on("error", reject);
    });
  const [idle, busy] = await Promise.all([open(), open()]);
  const body = review(POD);
  busy.write(`POST /inject HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n`);
  await new Promise((resolve) => setTimeout(resolve, 50));
  let text = "";
  busy.on("data", (chunk: Buffer) => {
    text += chunk.toString();
  });
  const startedMs = performance.now();
  const closed = injector.close();
  await new Promise((resolve) => setTimeout(resolve, 50));
  busy.write(body);
  await Promise.all([closed, new Promise((resolve) => busy.on("close", resolve))]);
  t.match(text, /^HTTP\/1\.1 200 OK[\s\S]*connection: close/i);
  t.match(text, /"allowed":true/);
  t.ok(performance.now() - startedMs < 3000, "nothing had to be cut");
  await t.rejects(open(), { code: "ECONNREFUSED" });
  idle.destroy();
});

t.test("a taken port is an error that names it", async (t) => {
  const fixture = await start(t);
  const folder = await mkdtemp(join(tmpdir(), "remora-injector-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const second = startInjector({
    host: "127.0.0.1",
    port: fixture.injector.port,
    settings: defaultInjectorSettings("0.1.0"),
    shared: { kind: "folder", path: folder },
    clients: null,
    instance: "test",
    random: Math.random,
    clock: systemClock,
    log: silentLogger(),
    metrics: createMetrics({ component: "test", version: "0", commit: "0" }),
  });
  await t.rejects(second, { code: "EADDRINUSE", message: new RegExp(String(fixture.injector.port)) });
});
