// Who calls the webhook and how: HTTP/2 as well as HTTP/1.1, with a certificate where one is asked for, many at once, and while it is being stopped.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect as connectHttp2, type ClientHttp2Session } from "node:http2";
import { Agent, request as httpsRequest } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as tlsConnect, type TLSSocket } from "node:tls";
import t, { type Test } from "tap";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics, type Metrics } from "../../core/metrics.ts";
import { createBodyBudget } from "../../injector/webhook/body-budget.ts";
import { type ClientsSettings, followWebhookClients } from "../../injector/webhook/client-certificate.ts";
import { parseReview } from "../../injector/webhook/envelope.ts";
import { type Injector, startInjector } from "../../injector/injector.ts";
import { connectInjectorKubernetes } from "../../injector/cluster/kubernetes.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { type KubeApi, startKubeApi } from "../support/kube-api.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

const NAME = "remora-injector.remora-system.svc";
const POD = { metadata: { generateName: "web-" }, spec: { containers: [{ name: "app", image: "app:1" }] } };

interface Fixture {
  readonly injector: Injector;
  readonly metrics: Metrics;
}

async function folder(t: Test): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "remora-webhook-"));
  t.teardown(() => rm(path, { recursive: true, force: true }));
  return path;
}

async function start(t: Test, clients: ClientsSettings | null = null): Promise<Fixture> {
  const metrics = createMetrics({ component: "test", version: "0", commit: "0" });
  const injector = await startInjector({
    host: "127.0.0.1",
    port: 0,
    settings: defaultInjectorSettings("0.1.0"),
    shared: { kind: "folder", path: await folder(t) },
    clients,
    instance: "test",
    random: Math.random,
    clock: systemClock,
    log: silentLogger(),
    metrics,
  });
  t.teardown(() => injector.close());
  return { injector, metrics };
}

function review(object: unknown, overrides: Record<string, unknown> = {}): string {
  const resource = { group: "", version: "v1", resource: "pods" };
  const kind = { group: "", version: "v1", kind: "Pod" };
  const request = { uid: "u-1", kind, resource, operation: "CREATE", namespace: "shop", object, ...overrides };
  return JSON.stringify({ apiVersion: "admission.k8s.io/v1", kind: "AdmissionReview", request });
}

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly isLast: boolean;
}

interface Tls {
  readonly key?: string;
  readonly cert?: string;
  readonly agent?: Agent;
}

function post({ injector }: Fixture, path: string, body: string | Buffer, tls: Tls = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const asked = httpsRequest(
      { host: "127.0.0.1", port: injector.port, path, method: "POST", servername: NAME, ca: injector.caBundle(), headers, ...tls },
      (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on("end", () =>
          resolve({ status: response.statusCode ?? 0, body: text, isLast: response.headers.connection === "close" }),
        );
        response.on("error", reject);
      },
    );
    asked.on("error", reject);
    asked.end(body);
  });
}

function openHttp2(t: Test, { injector }: Fixture): ClientHttp2Session {
  const session = connectHttp2(`https://127.0.0.1:${injector.port}`, { ca: injector.caBundle(), servername: NAME });
  session.on("error", () => {});
  t.teardown(() => session.destroy());
  return session;
}

function postHttp2(session: ClientHttp2Session, body: string, headers: Record<string, string> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const stream = session.request({ ":method": "POST", ":path": "/inject", "content-type": "application/json", ...headers });
    let status = 0;
    let text = "";
    stream.on("response", (fields) => {
      status = Number(fields[":status"]);
    });
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString();
    });
    stream.on("end", () => resolve({ status, body: text, isLast: false }));
    stream.on("error", reject);
    stream.end(body);
  });
}

interface Response {
  readonly uid: string;
  readonly allowed: boolean;
  readonly patch?: string;
  readonly warnings?: readonly string[];
  readonly status?: { readonly message: string };
  readonly auditAnnotations?: Readonly<Record<string, string>>;
}

function read({ body }: Answer): Response {
  return (JSON.parse(body) as { readonly response: Response }).response;
}

t.test("HTTP/2: many reviews at once on one connection, each with its own answer, large ones among them", async (t) => {
  const fixture = await start(t);
  const session = openHttp2(t, fixture);
  const large = { ...POD, spec: { containers: [{ name: "app", args: ["x".repeat(1024 * 1024)] }] } };
  const answers = await Promise.all(
    Array.from({ length: 150 }, (_, index) => postHttp2(session, review(index % 30 === 0 ? large : POD, { uid: `u-${index}` }))),
  );
  t.strictSame([...new Set(answers.map(({ status }) => status))], [200]);
  t.strictSame(
    answers.map((answer) => read(answer).uid),
    Array.from({ length: 150 }, (_, index) => `u-${index}`),
  );
  t.equal((await postHttp2(session, "{")).status, 400);
  t.equal((await postHttp2(session, review(POD), { "content-type": "text/plain" })).status, 415);
  t.equal((await postHttp2(session, review(POD), { "content-encoding": "gzip" })).status, 415);
  t.equal((await postHttp2(session, "x".repeat(4 * 1024 * 1024))).status, 413);
  t.equal((await postHttp2(session, review(POD))).status, 200, "a bad request does not end the connection of the others");
});

t.test("HTTP/2: a stream that is reset in the middle of its body leaves nothing behind", async (t) => {
  const fixture = await start(t);
  const session = openHttp2(t, fixture);
  for (let index = 0; index < 20; index += 1) {
    const stream = session.request({ ":method": "POST", ":path": "/inject", "content-type": "application/json" });
    stream.on("error", () => {});
    stream.write("{");
    await new Promise((resolve) => setTimeout(resolve, 2));
    stream.close(8); // CANCEL
  }
  // Each took 3 MB of the budget for bodies of unknown length, which holds 16 of them.
  t.equal((await postHttp2(session, review(POD))).status, 200);
});

t.test("200 connections at once are all answered", async (t) => {
  const fixture = await start(t);
  const agent = new Agent({ keepAlive: true, maxSockets: 200 });
  t.teardown(() => agent.destroy());
  const answers = await Promise.all(Array.from({ length: 400 }, () => post(fixture, "/inject", review(POD), { agent })));
  t.strictSame([...new Set(answers.map(({ status }) => status))], [200]);
});

t.test("where callers have to prove themselves, only those of the right root and name are served", async (t) => {
  const roots = createThrowawayCa({ trustDomain: "cluster.local" });
  const others = createThrowawayCa({ trustDomain: "cluster.local" });
  const leafOf = (ca: typeof roots, commonName: string) => {
    const { keyPem, certPem } = ca.leaf("kube-system/api", { commonName, dnsNames: [`${commonName}.example`] });
    return { key: keyPem, cert: certPem };
  };
  const file = join(await folder(t), "clients.pem");
  await writeFile(file, roots.rootPem);
  const fixture = await start(t, { file, names: ["kube-apiserver", "apiserver.example"] });
  const ask = (tls: Tls) => post(fixture, "/inject", review(POD), { ...tls, agent: new Agent() });
  t.equal((await ask(leafOf(roots, "kube-apiserver"))).status, 200, "by common name");
  t.equal((await ask(leafOf(roots, "apiserver"))).status, 200, "by DNS name");
  await t.rejects(ask({}), /certificate required|ECONNRESET|socket hang up|EPROTO|EPIPE/i, "no certificate");
  await t.rejects(ask(leafOf(others, "kube-apiserver")), /alert|ECONNRESET|socket hang up|EPIPE/i, "another root");
  await t.rejects(ask(leafOf(roots, "kubelet")), /ECONNRESET|socket hang up|EPIPE/i, "another name");
  t.match(await fixture.metrics.registry.metrics(), /remora_webhook_clients_refused_total [3-9]/);
});

t.test("the roots of callers are read again when the file changes; one that breaks leaves those that hold", async (t) => {
  const [first, second] = [createThrowawayCa({ trustDomain: "a" }), createThrowawayCa({ trustDomain: "b" })];
  const file = join(await folder(t), "clients.pem");
  await t.rejects(
    followWebhookClients({ file, names: [] }, { clock: createFakeClock(), log: silentLogger() }),
    /REMORA_WEBHOOK_CLIENT_CA: .*ENOENT/,
  );
  await writeFile(file, "nothing");
  await t.rejects(followWebhookClients({ file, names: [] }, { clock: createFakeClock(), log: silentLogger() }), /cannot be used/);
  await writeFile(file, first.rootPem);
  const clock = createFakeClock();
  const clients = await followWebhookClients({ file, names: [] }, { clock, log: silentLogger() });
  t.teardown(() => clients.close());
  const seen: string[] = [];
  clients.onChange(({ rootsPem }) => seen.push(rootsPem));
  await writeFile(file, second.rootPem);
  const until = async (holds: () => boolean) => {
    for (let turn = 0; turn < 200 && !holds(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  };
  clock.advance(30_000);
  await until(() => seen.length === 1);
  t.strictSame(seen, [second.rootPem]);
  await rm(file);
  clock.advance(30_000);
  await until(() => clients.trouble() !== null);
  t.match(clients.trouble(), /ENOENT/);
  t.equal(clients.current()?.rootsPem, second.rootPem);
});

t.test("hostile JSON is refused before anybody walks it", async (t) => {
  const fixture = await start(t);
  const statusOf = async (body: string | Buffer) => (await post(fixture, "/inject", body)).status;
  const deep = (levels: number) => review(JSON.parse(`${'{"a":'.repeat(levels)}1${"}".repeat(levels)}`));
  t.equal(await statusOf(deep(50)), 200);
  t.equal(await statusOf(deep(100)), 400);
  t.equal(await statusOf(`${"[".repeat(1_000_000)}`), 400, "a million levels");
  t.equal(await statusOf(review(POD).replace('"web-"', '"[[{{\\"[{"')), 200, "brackets in a text are text");
  t.equal(await statusOf(Buffer.concat([Buffer.from(review(POD).slice(0, -1)), Buffer.from([0x20, 0xc3, 0x28, 0x7d])])), 400, "no UTF-8");
  t.equal(await statusOf(review(POD).replace('"app:1"', '"\\ud800"')), 200, "half a surrogate is a text");
  t.equal(await statusOf(review(POD).replace('"image":"app:1"', '"image":"app:1","weight":1e400')), 200, "a number beyond all numbers");
  t.equal(await statusOf(review(POD).replace('"uid":"u-1"', '"uid":"u-0","uid":"u-1"')), 200);
  t.throws(() => parseReview(Buffer.from(`{"a":"${"\\".repeat(9)}`)), /not JSON/);
  for (let index = 0; index < 2000; index += 1) {
    const body = Buffer.from(review(POD));
    body[Math.floor(Math.random() * body.length)] = Math.floor(Math.random() * 256);
    try {
      parseReview(body);
    } catch (error) {
      if ((error as { readonly code?: unknown }).code !== "malformed_review") throw error;
    }
  }
});

t.test("a dry run is counted apart", async (t) => {
  const fixture = await start(t);
  t.ok(read(await post(fixture, "/inject", review(POD, { dryRun: true }))).patch);
  const text = await fixture.metrics.registry.metrics();
  t.match(text, /remora_injection_dry_runs_total\{result="injected",reason="namespace_enabled"\} 1/);
  t.notMatch(text, /remora_injections_total\{result="injected"/);
});

t.test("labels that are neither word are told, and the pod is left alone", async (t) => {
  const fixture = await start(t);
  const odd = { ...POD, metadata: { labels: { "remora.io/inject": "Enabled" } } };
  const ofPod = read(await post(fixture, "/inject/unclear-pod", review(odd)));
  t.match(ofPod, { allowed: true, auditAnnotations: { reason: "pod_label_unknown" }, warnings: [/neither enabled nor disabled/] });
  t.notOk(ofPod.patch);
  const ofNamespace = read(await post(fixture, "/inject/unclear-namespace", review(POD)));
  t.match(ofNamespace, {
    allowed: true,
    auditAnnotations: { reason: "namespace_label_unknown" },
    warnings: [/neither enabled nor disabled/],
  });
  t.notOk(ofNamespace.patch);
});

t.test("a bad annotation is refused on the path for validation", async (t) => {
  const fixture = await start(t);
  const template = {
    metadata: { annotations: { "remora.io/mode": "lenient" }, labels: { "remora.io/inject": "enabled" } },
    spec: POD.spec,
  };
  const deployment = { kind: "Deployment", apiVersion: "apps/v1", metadata: { name: "web" }, spec: { template } };
  const of = {
    kind: { group: "apps", version: "v1", kind: "Deployment" },
    resource: { group: "apps", version: "v1", resource: "deployments" },
  };
  const response = read(await post(fixture, "/validate", review(deployment, of)));
  t.equal(response.allowed, false);
  t.match(response.status?.message, /invalid_annotation.*remora\.io\/mode/);
  t.match(await fixture.metrics.registry.metrics(), /remora_validations_total\{result="refused",reason="invalid_annotation"\} 1/);
});

t.test("bodies together have a bound, and who waits goes in turn", async (t) => {
  const budget = createBodyBudget(10);
  t.equal(budget.take(6), null);
  const order: string[] = [];
  const large = budget.take(100)?.then(() => order.push("large"));
  const small = budget.take(1)?.then(() => order.push("small"));
  t.ok(large && small, "the small one does not overtake");
  budget.giveBack(6);
  await large;
  t.strictSame(order, ["large"], "more than all there is counts as all there is");
  budget.giveBack(100);
  await small;
  t.strictSame(order, ["large", "small"]);
  budget.giveBack(1);
  t.equal(budget.taken, 0);
});

interface InCluster extends Fixture {
  readonly kube: KubeApi;
}

async function startInCluster(t: Test, fill: (kube: KubeApi) => void = () => {}): Promise<InCluster> {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  kube.put("mutatingwebhookconfigurations", { metadata: { name: "remora-injector" }, webhooks: [] });
  kube.put("configmaps", { metadata: { name: "remora-trust", namespace: "remora-system" }, data: { pin: `sha256:${"a".repeat(64)}` } });
  kube.put("namespaces", { metadata: { name: "shop", annotations: { "remora.io/mode": "permissive" } } });
  fill(kube);
  const metrics = createMetrics({ component: "test", version: "0", commit: "0" });
  const places = { namespace: "remora-system", webhook: "remora-injector", service: "remora-injector" };
  const clock = createFakeClock(Date.now());
  const injector = await startInjector({
    host: "127.0.0.1",
    port: 0,
    settings: defaultInjectorSettings("0.1.0"),
    shared: { kind: "kubernetes", api: await connectInjectorKubernetes(places, { kubeconfig: kube.kubeconfig() }) },
    clients: null,
    instance: "test",
    random: () => 0,
    clock,
    log: silentLogger(),
    metrics,
  });
  t.teardown(async () => {
    const closing = injector.close();
    await clock.advanceAsync(10_000, 1_000);
    await closing;
  });
  return { kube, injector, metrics };
}

function modeIn(response: Response): string | undefined {
  const patch = Buffer.from(response.patch ?? "", "base64").toString();
  return /"REMORA_MODE","value":"(\w+)"/.exec(patch)?.[1];
}

t.test("in a cluster a pod is judged by its namespace, also by one that was made a moment ago", async (t) => {
  const fixture = await startInCluster(t);
  await fixture.injector.view?.synced;
  t.equal(modeIn(read(await post(fixture, "/inject", review(POD)))), "permissive");
  fixture.kube.failNext(500, 1000, ({ resource, verb }) => resource === "namespaces" && verb !== "get");
  fixture.kube.dropWatches({ forget: true });
  fixture.kube.put("namespaces", { metadata: { name: "fresh", annotations: { "remora.io/mode": "permissive" } } });
  t.equal(modeIn(read(await post(fixture, "/inject", review(POD, { namespace: "fresh" })))), "permissive");
  fixture.kube.failNext(500, 1, ({ resource, verb }) => resource === "namespaces" && verb === "get");
  const unknown = read(await post(fixture, "/inject", review(POD, { namespace: "unreadable" })));
  t.match(unknown, { allowed: false, auditAnnotations: { reason: "not_ready" } });
  t.match(unknown.status?.message, /cannot inject yet \(not_ready\): cannot read namespace unreadable/);
});

t.test("while the platform cannot be understood, pods wait, those that get no sidecar pass, and the ConfigMap can be mended", async (t) => {
  const broken = { metadata: { name: "remora-platform", namespace: "remora-system" }, data: { "platform.yaml": "enforced: [" } };
  const fixture = await startInCluster(t, (kube) => void kube.put("configmaps", broken));
  await fixture.injector.view?.synced;
  t.match(fixture.injector.health(), { status: "down", message: /remora-platform cannot be understood/ });
  t.match(read(await post(fixture, "/inject", review(POD))), { allowed: false, auditAnnotations: { reason: "not_ready" } });
  const odd = { ...POD, metadata: { labels: { "remora.io/inject": "yes" } } };
  t.match(read(await post(fixture, "/inject/unclear-pod", review(odd))), { allowed: true });
  const deployments = { resource: { group: "apps", version: "v1", resource: "deployments" } };
  t.equal((await post(fixture, "/validate", review({}, deployments))).status, 503, "left to the failurePolicy, which is Ignore");
  const configMaps = {
    resource: { group: "", version: "v1", resource: "configmaps" },
    namespace: "remora-system",
    name: "remora-platform",
  };
  const mended = { ...broken, data: { "platform.yaml": "" } };
  t.match(read(await post(fixture, "/validate", review(mended, configMaps))), { allowed: true });
});

t.test("Events are written after the answer, and none for a dry run", async (t) => {
  const fixture = await startInCluster(t);
  await fixture.injector.view?.synced;
  const named = { ...POD, metadata: { name: "lone" } };
  await post(fixture, "/inject", review(named, { dryRun: true, name: "lone" }));
  await new Promise((resolve) => setTimeout(resolve, 100));
  const events = () => fixture.kube.requests.filter(({ resource }) => resource === "events");
  t.equal(events().length, 0);
  await post(fixture, "/inject", review(named, { name: "lone" }));
  for (let turn = 0; turn < 200 && events().length === 0; turn += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  t.match(events(), [{ verb: "create", namespace: "shop", group: "events.k8s.io" }]);
});

t.test("a replica that is being stopped goes on answering, each answer the last of its connection, until it closes", async (t) => {
  const { injector, kube } = await startInCluster(t);
  const fixture = { injector, metrics: createMetrics({ component: "x", version: "0", commit: "0" }) };
  await injector.view?.synced;
  const agent = new Agent({ keepAlive: true });
  t.teardown(() => agent.destroy());
  t.equal((await post(fixture, "/inject", review(POD), { agent })).isLast, false);
  const session = openHttp2(t, fixture);
  t.equal((await postHttp2(session, review(POD))).status, 200);
  const goaway = new Promise((resolve) => session.on("goaway", resolve));
  const closing = injector.close();
  await goaway;
  t.pass("HTTP/2 is told by GOAWAY");
  const last = await post(fixture, "/inject", review(POD), { agent });
  t.match(last, { status: 200, isLast: true });
  t.match(await post(fixture, "/inject", review(POD)), { status: 200, isLast: true }, "new connections are served until then");
  t.ok(kube);
  void closing;
});

t.test("a caller that never finishes its handshake or its head is cut off, and others are served meanwhile", async (t) => {
  const fixture = await start(t);
  const idle = await new Promise<TLSSocket>((resolve, reject) => {
    const socket = tlsConnect({ host: "127.0.0.1", port: fixture.injector.port, ca: fixture.injector.caBundle(), servername: NAME }, () =>
      resolve(socket),
    );
    socket.on("error", reject);
  });
  idle.on("error", () => {});
  idle.write("POST /inject HTTP/1.1\r\nhost: x\r\n");
  t.equal((await post(fixture, "/inject", review(POD))).status, 200);
  idle.destroy();
});
