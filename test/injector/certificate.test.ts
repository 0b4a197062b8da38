// The webhook's certificate over its life, with replicas that share it through an API server, on a clock that the test owns.
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import t, { type Test } from "tap";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { type CertificateKeeper, CHECK_PERIOD_MS, SETTLE_MS, startCertificateKeeper } from "../../injector/webhook/certificate-keeper.ts";
import { createFileStore } from "../../injector/webhook/certificate-store.ts";
import { type Injector, startInjector } from "../../injector/injector.ts";
import { connectInjectorKubernetes, type InjectorKubernetes } from "../../injector/cluster/kubernetes.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import {
  isUsable,
  makeWebhookMaterial,
  renewAtMs,
  serviceNames,
  WEBHOOK_CERTIFICATE_LIFE_MS,
} from "../../injector/webhook/webhook-certificate.ts";
import { createFakeClock, type FakeClock } from "../support/fake-clock.ts";
import { type KubeApi, startKubeApi } from "../support/kube-api.ts";
import { requires } from "../support/requires.ts";

const NAMESPACE = "remora-system";
const WEBHOOK = "remora-injector";
const NAMES = serviceNames(WEBHOOK, NAMESPACE);
const random = (bytes: number) => Buffer.from(crypto.getRandomValues(new Uint8Array(bytes)));

interface Cluster {
  readonly kube: KubeApi;
  readonly clock: FakeClock;
  connect(): Promise<InjectorKubernetes>;
  /** PEM that the API server believes, of each webhook. */
  bundles(): readonly string[];
}

async function startCluster(t: Test, startMs = Date.now()): Promise<Cluster> {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  const webhook = (service: string) => ({
    name: `${service}.example`,
    clientConfig: { service: { name: service, namespace: NAMESPACE, path: "/inject" } },
  });
  kube.put("mutatingwebhookconfigurations", {
    metadata: { name: WEBHOOK },
    webhooks: [webhook(WEBHOOK), webhook("somebody-else"), webhook(WEBHOOK)],
  });
  return {
    kube,
    clock: createFakeClock(startMs),
    connect: () =>
      connectInjectorKubernetes({ namespace: NAMESPACE, webhook: WEBHOOK, service: WEBHOOK }, { kubeconfig: kube.kubeconfig() }),
    bundles: () => {
      const webhooks = kube.get("mutatingwebhookconfigurations", null, WEBHOOK)?.["webhooks"] as { clientConfig: { caBundle?: string } }[];
      return webhooks.map(({ clientConfig }) => Buffer.from(clientConfig.caBundle ?? "", "base64").toString());
    },
  };
}

async function startKeeper(t: Test, { clock, connect }: Cluster, changes: string[] = []): Promise<CertificateKeeper> {
  const api = await connect();
  const onChange = ({ certificatePem }: { certificatePem: string }) => void changes.push(certificatePem);
  const keeper = await startCertificateKeeper({
    store: api.certificates,
    publish: (pem) => api.publishBundle(pem),
    names: NAMES,
    clock,
    log: silentLogger(),
    onChange,
  });
  t.teardown(() => keeper.close());
  return keeper;
}

/** Lets real I/O finish while the fake clock stands; asks up to 20 s. */
async function eventually(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 4000 && !holds(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 5));
}

/** Waits until no request has come for a moment, so that every running check has ended. */
async function quiet(kube: KubeApi): Promise<void> {
  for (let seen = -1; seen !== kube.requests.length; ) {
    seen = kube.requests.length;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
}

t.test("openssl believes what was made, for the name of the Service", { skip: requires("openssl") }, async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-cert-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const first = makeWebhookMaterial(NAMES, Date.now(), random, null);
  const second = makeWebhookMaterial(NAMES, Date.now(), random, first);
  await writeFile(join(folder, "ca.pem"), second.caBundlePem);
  for (const [name, { certificatePem }] of Object.entries({ first, second })) {
    await writeFile(join(folder, `${name}.pem`), certificatePem);
    const args = [
      "verify",
      "-x509_strict",
      "-purpose",
      "sslserver",
      "-verify_hostname",
      `${WEBHOOK}.${NAMESPACE}.svc`,
      "-CAfile",
      "ca.pem",
      `${name}.pem`,
    ];
    t.match(execFileSync("openssl", args, { cwd: folder, encoding: "utf8" }), /: OK/, `${name} chains to the bundle of the second`);
  }
});

t.test("a third generation no longer carries the first CA", async (t) => {
  const first = makeWebhookMaterial(NAMES, Date.now(), random, null);
  const second = makeWebhookMaterial(NAMES, Date.now(), random, first);
  const third = makeWebhookMaterial(NAMES, Date.now(), random, second);
  const count = (pem: string) => pem.split("BEGIN CERTIFICATE").length - 1;
  t.strictSame(
    [first, second, third].map(({ caBundlePem }) => count(caBundlePem)),
    [1, 2, 2],
  );
  t.notOk(third.caBundlePem.includes(first.caBundlePem));
  t.ok(third.caBundlePem.includes(second.caBundlePem.slice(0, second.caBundlePem.indexOf("-----END"))));
});

t.test("material that is not whole, not ours or out of time is not used", async (t) => {
  const nowMs = Date.now();
  const good = makeWebhookMaterial(NAMES, nowMs, random, null);
  const other = makeWebhookMaterial(NAMES, nowMs, random, null);
  t.ok(isUsable(good, NAMES, nowMs));
  t.notOk(isUsable({ ...good, privateKeyPem: other.privateKeyPem }, NAMES, nowMs), "another's key");
  t.notOk(isUsable({ ...good, caBundlePem: other.caBundlePem }, NAMES, nowMs), "another's CA");
  t.notOk(isUsable({ ...good, certificatePem: "garbage" }, NAMES, nowMs));
  t.notOk(isUsable({ certificatePem: "", privateKeyPem: "", caBundlePem: "" }, NAMES, nowMs));
  t.notOk(isUsable(good, serviceNames("other", NAMESPACE), nowMs), "another Service");
  t.notOk(isUsable(good, NAMES, nowMs + WEBHOOK_CERTIFICATE_LIFE_MS + 1000), "expired");
  t.notOk(isUsable(good, NAMES, nowMs - 3_600_000), "not yet valid");
});

t.test("replicas that start together agree on one certificate, and the API server believes it", async (t) => {
  const cluster = await startCluster(t);
  const keepers = await Promise.all([startKeeper(t, cluster), startKeeper(t, cluster), startKeeper(t, cluster)]);
  t.equal(new Set(keepers.map((keeper) => keeper.current().certificatePem)).size, 1);
  const bundle = keepers[0]?.current().caBundlePem;
  t.strictSame(cluster.bundles(), [bundle, "", bundle], "webhooks that call another Service are left alone");
});

t.test("at two thirds of its life the certificate is renewed; the bundle is there before the leaf is served", async (t) => {
  const cluster = await startCluster(t);
  const changes: [string[], string[]] = [[], []];
  const keepers = [await startKeeper(t, cluster, changes[0]), await startKeeper(t, cluster, changes[1])] as const;
  const old = keepers[0].current();

  cluster.clock.advance(renewAtMs(old) - cluster.clock.nowMs() - 2 * CHECK_PERIOD_MS);
  await quiet(cluster.kube);
  t.equal(keepers[0].current().certificatePem, old.certificatePem, "not before");

  cluster.clock.advance(3 * CHECK_PERIOD_MS);
  await quiet(cluster.kube);
  t.not(cluster.bundles()[0], old.caBundlePem, "the API server believes more");
  t.ok(cluster.bundles()[0]?.includes(old.caBundlePem), "and still what is served");
  t.equal(keepers[0].current().certificatePem, old.certificatePem, "the old leaf is served until the API servers had time to hear of it");
  t.strictSame(changes, [[], []]);

  cluster.clock.advance(SETTLE_MS);
  t.equal(changes[0].length, 1);
  t.strictSame(changes[0], changes[1], "both replicas serve the same new leaf");
  t.not(keepers[0].current().certificatePem, old.certificatePem);
  t.ok(isUsable(keepers[0].current(), NAMES, cluster.clock.nowMs()));
});

t.test("a replica that starts when renewal is due serves what is believed already, and renews with the usual pause", async (t) => {
  const cluster = await startCluster(t);
  const first = await startKeeper(t, cluster);
  const old = first.current();
  await first.close();
  cluster.clock.advance(renewAtMs(old) - cluster.clock.nowMs() + 1000);
  const second = await startKeeper(t, cluster);
  t.equal(second.current().certificatePem, old.certificatePem);
  cluster.clock.advance(CHECK_PERIOD_MS);
  await quiet(cluster.kube);
  t.ok(cluster.bundles()[0] !== old.caBundlePem && cluster.bundles()[0]?.includes(old.caBundlePem));
  t.equal(second.current().certificatePem, old.certificatePem);
  cluster.clock.advance(SETTLE_MS);
  t.not(second.current().certificatePem, old.certificatePem);
});

t.test("a bundle that someone overwrote and a Secret that someone broke are repaired", async (t) => {
  const cluster = await startCluster(t);
  const keeper = await startKeeper(t, cluster);
  const good = cluster.bundles()[0];
  const configuration = cluster.kube.get("mutatingwebhookconfigurations", null, WEBHOOK) as {
    webhooks: { clientConfig: { caBundle: string } }[];
  } & Parameters<KubeApi["put"]>[1];
  for (const webhook of configuration.webhooks) webhook.clientConfig.caBundle = "";
  cluster.kube.put("mutatingwebhookconfigurations", configuration);
  cluster.clock.advance(CHECK_PERIOD_MS);
  await eventually(() => cluster.bundles()[0] === good);
  t.equal(cluster.bundles()[0], good);

  cluster.kube.put("secrets", { metadata: { name: "remora-injector-tls", namespace: NAMESPACE }, data: { "tls.crt": "bm9uc2Vuc2U=" } });
  cluster.clock.advance(CHECK_PERIOD_MS);
  await eventually(() => cluster.bundles()[0] !== good);
  await eventually(() => cluster.clock.armed >= 2);
  cluster.clock.advance(SETTLE_MS);
  t.ok(isUsable(keeper.current(), NAMES, cluster.clock.nowMs()));
  t.equal(cluster.bundles()[0], keeper.current().caBundlePem);
});

t.test("an API server that fails for a while is said and survived", async (t) => {
  const cluster = await startCluster(t);
  const keeper = await startKeeper(t, cluster);
  const served = keeper.current().certificatePem;
  cluster.kube.failNext(500, 100);
  cluster.clock.advance(CHECK_PERIOD_MS);
  await eventually(() => keeper.trouble() !== null);
  t.match(keeper.trouble(), /cannot read Secret remora-system\/remora-injector-tls: the API server answers 500/);
  t.equal(keeper.current().certificatePem, served);
});

t.test("without the right to read its Secret the injector does not start, and says which", async (t) => {
  const cluster = await startCluster(t);
  cluster.kube.failNext(403, 1, ({ resource }) => resource === "secrets");
  await t.rejects(startKeeper(t, cluster), /cannot read Secret remora-system\/remora-injector-tls: the API server answers 403/);
});

t.test("a folder keeps the certificate between restarts, for its owner only", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-cert-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const start = () => {
    const store = createFileStore(join(folder, "state"));
    return startCertificateKeeper({
      store,
      publish: async () => {},
      names: NAMES,
      clock: createFakeClock(Date.now()),
      log: silentLogger(),
      onChange: () => {},
    });
  };
  const [first, second] = await Promise.all([start(), start()]);
  t.equal(first.current().certificatePem, second.current().certificatePem, "two that start together agree");
  const [file = "", ...others] = await readdir(join(folder, "state"));
  t.strictSame(others, [], "nothing else is left");
  t.equal((await stat(join(folder, "state", file))).mode & 0o777, 0o600);
  await writeFile(join(folder, "state", file), "{");
  const third = await start();
  t.not(third.current().certificatePem, first.current().certificatePem, "a broken file is replaced");
  for (const keeper of [first, second, third]) await keeper.close();
});

function servedBy(injector: Injector): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: "127.0.0.1", port: injector.port, ca: injector.caBundle(), servername: `${WEBHOOK}.${NAMESPACE}.svc` },
      () => {
        resolve(new X509Certificate(socket.getPeerCertificate().raw).serialNumber);
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

t.test(
  "in a cluster the injector waits for the mesh's roots, serves renewed certificates to new connections, and stops after a pause",
  async (t) => {
    // TLS checks against the machine's clock: both the first and the renewed certificate have to be valid now.
    const cluster = await startCluster(t, Date.now() - WEBHOOK_CERTIFICATE_LIFE_MS * 0.7);
    const { clock, kube } = cluster;
    const injector = await startInjector({
      host: "127.0.0.1",
      port: 0,
      settings: defaultInjectorSettings("0.1.0"),
      shared: { kind: "kubernetes", api: await cluster.connect() },
      clients: null,
      instance: "test",
      random: Math.random,
      clock,
      log: silentLogger(),
      metrics: createMetrics({ component: "test", version: "0", commit: "0" }),
    });
    t.match(injector.health(), { status: "down", message: /has not published the mesh's roots/ });
    kube.put("configmaps", { metadata: { name: "remora-trust", namespace: NAMESPACE }, data: { pin: `sha256:${"a".repeat(64)}` } });
    clock.advance(10_000);
    await eventually(() => injector.health().status === "ok");
    t.equal(injector.health().status, "ok");

    const before = await servedBy(injector);
    clock.advance(WEBHOOK_CERTIFICATE_LIFE_MS * 0.7);
    const firstBundle = injector.caBundle();
    await eventually(() => cluster.bundles()[0] !== firstBundle);
    for (let turn = 0; turn < 20 && injector.caBundle() === firstBundle; turn += 1) {
      await new Promise((resolve) => setTimeout(resolve, 10));
      clock.advance(SETTLE_MS);
    }
    t.not(await servedBy(injector), before);

    let closed = false;
    const closing = injector.close().then(() => {
      closed = true;
    });
    await servedBy(injector);
    t.notOk(closed, "requests that are still on their way are answered");
    clock.advance(5_000);
    await closing;
  },
);
