// Admission while the injector changes: replicas that go and come, a certificate that is renewed, and no injector at all. Pods are created all the
// while; where one of them is refused that should not be, somebody's deployment stands still.
import { randomBytes, type X509Certificate } from "node:crypto";
import { setTimeout as pause } from "node:timers/promises";
import { connect } from "node:tls";
import t, { type Test } from "tap";
import { makeWebhookMaterial, serviceNames, WEBHOOK_CERTIFICATE_LIFE_MS } from "../../injector/webhook/webhook-certificate.ts";
import { until } from "../e2e/until.ts";
import type { ApiClient, ApiError, ApiObject } from "../support/kubernetes/api-client.ts";
import type { Kubernetes } from "../support/kubernetes/kubernetes.ts";
import { CONTROL_NAMESPACE, INJECTOR, install, kubectl, lacksCluster } from "./installation.ts";
import { isInjected, storedPod } from "./stored-pod.ts";

t.setTimeout(800_000);

const WEBHOOK_PORT = 15017;
const CREATE_EVERY_MS = 50;
/** So many, that some met every state of the injectors. */
const LEAST_PODS = 200;
/** Of the webhooks that an object could be held up by, as the manifests say. */
const WEBHOOK_TIMEOUT_MS = 5_000;
/** How long the endpoints of an ending replica stay known to the API server. A second is much, for a cluster that is not overloaded. */
const ENDPOINTS_LAG_MS = 1_000;
/** A check every 30 s, 10 s for the API servers to learn of the new authority, and the machine's slowness. */
const RENEWAL_TIMEOUT_MS = 90_000;

/** Pods created one after the other. */
interface SteadyPods {
  readonly created: number;
  /** Messages of those that were refused. */
  readonly refusals: readonly string[];
  /** Pods that were admitted without a sidecar. */
  readonly naked: number;
  stop(): Promise<void>;
}

function podOf(labels: object = {}): ApiObject {
  return { metadata: { generateName: "steady-", labels: { ...labels } }, spec: { containers: [{ name: "app", image: "busybox" }] } };
}

function createSteadily(t: Test, api: ApiClient): SteadyPods {
  const seen = { created: 0, refusals: [] as string[], naked: 0 };
  let stopped = false;
  const running = (async () => {
    while (!stopped) {
      const startedMs = Date.now();
      const answer = await api.object("/api/v1/namespaces/shop/pods", { body: podOf() }).catch((error: ApiError) => error);
      seen.created += 1;
      if (answer instanceof Error) seen.refusals.push(answer.message);
      else if (!isInjected(storedPod(answer))) seen.naked += 1;
      await pause(Math.max(0, CREATE_EVERY_MS - (Date.now() - startedMs)));
    }
  })();
  const stop = async () => {
    stopped = true;
    await running;
  };
  t.teardown(stop);
  return {
    get created() {
      return seen.created;
    },
    refusals: seen.refusals,
    get naked() {
      return seen.naked;
    },
    stop,
  };
}

/** What a replica serves. */
function certificateOf(host: string): Promise<X509Certificate> {
  return new Promise((done, fail) => {
    const socket = connect({ host, port: WEBHOOK_PORT, rejectUnauthorized: false, timeout: 5_000 }, () => {
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      if (certificate === undefined) fail(new Error(`${host} serves no certificate`));
      else done(certificate);
    });
    socket.on("timeout", () => socket.destroy(new Error(`${host} does not answer`)));
    socket.on("error", fail);
  });
}

/** The Secret of an injector that has run for so long that its certificate is due, but is believed still. */
async function storeDueCertificate({ api }: Kubernetes): Promise<void> {
  const madeAtMs = Date.now() - WEBHOOK_CERTIFICATE_LIFE_MS * 0.7;
  const due = makeWebhookMaterial(serviceNames("remora-injector", CONTROL_NAMESPACE), madeAtMs, randomBytes, null);
  const stringData = { "tls.crt": due.certificatePem, "tls.key": due.privateKeyPem, "ca.crt": due.caBundlePem };
  const body = { metadata: { name: "remora-injector-tls" }, type: "kubernetes.io/tls", stringData };
  await api.call(`/api/v1/namespaces/${CONTROL_NAMESPACE}/secrets`, { body });
}

t.test("the injector changes under load", { skip: lacksCluster }, async (t) => {
  const installation = await install(t, { injectors: 2, beforeStart: storeDueCertificate });
  const { kubernetes, node } = installation;
  const { api } = kubernetes;
  await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
  await kubernetes.createNamespace("legacy");
  const refusalOf = (namespace: string, labels?: object) =>
    api.call(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, { body: podOf(labels) }).then(
      () => null,
      (error: ApiError) => error.message,
    );

  t.test("two replicas, one, and two again, while the certificate is renewed: no pod is refused", async (t) => {
    const [first, second] = node.pods(INJECTOR);
    if (first === undefined || second === undefined) throw new Error("there are not two injectors");
    const address = second.facts.podIps[0] ?? "";
    const before = await certificateOf(address);
    t.ok(before.validToDate.getTime() - Date.now() < WEBHOOK_CERTIFICATE_LIFE_MS / 3, "the certificate is due");

    const steady = createSteadily(t, api);
    await pause(2_000);
    await node.remove(first, { endpointsAfterMs: ENDPOINTS_LAG_MS });
    t.equal(node.pods(INJECTOR).length, 1);
    t.comment(`${steady.created} pods until one replica was gone`);
    await pause(2_000);
    const third = await installation.startReplica("remora-injector");
    await until(
      "the certificate is renewed",
      RENEWAL_TIMEOUT_MS,
      async () => (await certificateOf(address)).fingerprint256 !== before.fingerprint256,
    );
    await until("the new replica serves the same", RENEWAL_TIMEOUT_MS, async () => {
      const [one, other] = await Promise.all([address, third.facts.podIps[0] ?? ""].map(certificateOf));
      return one?.fingerprint256 === other?.fingerprint256;
    });
    await pause(2_000);
    // The authority before is still believed, and now its last replica goes too.
    const removed = node.remove(second, { endpointsAfterMs: ENDPOINTS_LAG_MS });
    await pause(ENDPOINTS_LAG_MS * 0.8);
    await t.resolves(certificateOf(address), "who has not heard of its end yet is still served");
    await removed;
    await pause(1_000);
    await until(`more than ${LEAST_PODS} pods were created`, RENEWAL_TIMEOUT_MS, () => steady.created > LEAST_PODS);
    await steady.stop();
    t.strictSame(steady.refusals, []);
    t.equal(steady.naked, 0, "and none got past the injector");
    t.comment(`${steady.created} pods were created`);
    t.ok(
      (await certificateOf(third.facts.podIps[0] ?? "")).validToDate.getTime() - Date.now() > WEBHOOK_CERTIFICATE_LIFE_MS * 0.9,
      "for long",
    );
  });

  for (const [how, stop] of [
    ["was killed", () => Promise.all(node.pods(INJECTOR).map((pod) => pod.kill()))],
    ["is gone", () => Promise.all(node.pods(INJECTOR).map((pod) => node.remove(pod)))],
  ] as const) {
    t.test(`no pod gets past an injector that ${how}, and nobody else notices`, async (t) => {
      await stop();
      const message = (await refusalOf("shop")) ?? "it was admitted";
      t.match(message, /failed calling webhook "inject\.remora\.io": .*remora-injector/, message);
      t.match(await refusalOf("legacy", { "remora.io/inject": "enabled" }), /failed calling webhook "inject-labelled\.remora\.io"/);
      for (const [namespace, labels] of [
        ["legacy", {}],
        ["legacy", { "remora.io/inject": "Enabled" }],
        ["shop", { "remora.io/inject": "disabled" }],
        ["kube-system", {}],
      ] as const) {
        const startedMs = Date.now();
        t.equal(await refusalOf(namespace, labels), null, `${namespace} ${JSON.stringify(labels)}`);
        t.ok(Date.now() - startedMs < WEBHOOK_TIMEOUT_MS, `after ${Date.now() - startedMs} ms`);
      }
      const deployment = await kubernetes.kubectl([
        "create",
        "deployment",
        `web-${how.replace(" ", "-")}`,
        "--image=busybox",
        "-n",
        "shop",
      ]);
      t.equal(deployment.code, 0, `workloads can be changed ${deployment.stderr}`);
      await kubectl(kubernetes, ["scale", "deployment", "--all", "--replicas=2", "-n", "shop"]);
    });
  }

  t.test("and it comes back by itself", async (t) => {
    await installation.startReplica("remora-injector");
    await until("pods are injected again", 20_000, async () => (await refusalOf("shop")) === null);
    t.ok(isInjected(storedPod(await api.object("/api/v1/namespaces/shop/pods", { body: podOf() }))));
  });
});
