import { randomBytes } from "node:crypto";
import type { Test } from "tap";
import t from "tap";
import { startCertificateAuthority } from "../../certs/certificate-authority.ts";
import { connectKubernetes, createSecretRootStore, createTokenReviewer, publishTrust } from "../../certs/kubernetes.ts";
import { loadOrCreateRoot } from "../../certs/root-store.ts";
import type { TokenReview } from "../../certs/service-account.ts";
import { createServiceAccountCheck, TOKEN_AUDIENCE } from "../../certs/service-account.ts";
import { systemClock } from "../../core/clock.ts";
import type { KubeApi, KubeApiOptions } from "../support/kube-api.ts";
import { startKubeApi } from "../support/kube-api.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";
import { createMemoryLog, createTestMetrics } from "../support/throwaway-control.ts";

const namespace = "remora-system";
const settings = { trustDomain: "cluster.local", nowMs: Date.now(), random: randomBytes };

async function start(
  t: Test,
  options: KubeApiOptions = {},
): Promise<{ readonly api: KubeApi; readonly connect: () => ReturnType<typeof connectKubernetes> }> {
  const api = await startKubeApi(options);
  t.teardown(() => api.close());
  return { api, connect: () => connectKubernetes({ kubeconfig: api.kubeconfig({ token: "control" }) }) };
}

t.test("replicas that start together agree on one root in one Secret", async (t) => {
  const { api, connect } = await start(t);
  const all = await Promise.all(
    Array.from({ length: 5 }, async () => loadOrCreateRoot(createSecretRootStore(await connect(), namespace), settings)),
  );
  t.equal(new Set(all.map(({ state }) => state.signer.certificate.fingerprint256)).size, 1);
  t.equal(all.filter(({ created }) => created).length, 1);
  t.match(api.get("secrets", namespace, "remora-ca"), { type: "kubernetes.io/tls", data: { "tls.crt": String, "tls.key": String } });
});

t.test("a Secret without a usable pair is an error that names it, and stays as it is", async (t) => {
  const { api, connect } = await start(t);
  api.put("secrets", { metadata: { name: "remora-ca", namespace }, data: { "tls.crt": "" } });
  await t.rejects(loadOrCreateRoot(createSecretRootStore(await connect(), namespace), settings), {
    message: /Secret remora-system\/remora-ca/,
  });
  t.same(api.get("secrets", namespace, "remora-ca")?.["data"], { "tls.crt": "" });
});

t.test("a missing right and a missing server are told apart", async (t) => {
  const { api, connect } = await start(t, { authorize: (request) => request.resource !== "secrets" });
  const apis = await connect();
  await t.rejects(loadOrCreateRoot(createSecretRootStore(apis, namespace), settings), {
    code: "unavailable",
    message: /403.*lacks the right/,
  });
  await api.close();
  await t.rejects(loadOrCreateRoot(createSecretRootStore(apis, namespace), settings), {
    code: "unavailable",
    message: /cannot read Secret.*(ECONNREFUSED|connect)/,
  });
});

t.test("the trust bundle is published, left alone when right, and repaired when not", async (t) => {
  const { api, connect } = await start(t);
  const apis = await connect();
  const ca = createThrowawayCa();
  const trust = { rootsPem: ca.rootPem, pins: [ca.pin] };
  const writes = () => api.requests.filter(({ resource, verb }) => resource === "configmaps" && verb !== "get").length;
  await publishTrust(apis, namespace, trust);
  t.same(api.get("configmaps", namespace, "remora-trust")?.["data"], { "ca.crt": ca.rootPem, pin: ca.pin });
  t.equal(writes(), 1);
  await publishTrust(apis, namespace, trust);
  t.equal(writes(), 1);
  api.put("configmaps", { metadata: { name: "remora-trust", namespace }, data: { "ca.crt": "stale" } });
  await publishTrust(apis, namespace, trust);
  t.same(api.get("configmaps", namespace, "remora-trust")?.["data"], { "ca.crt": ca.rootPem, pin: ca.pin });
});

t.test("service account tokens are proven by review, for our audience only", async (t) => {
  const { api, connect } = await start(t);
  api.allowToken("good", { username: "system:serviceaccount:shop:orders", audiences: [TOKEN_AUDIENCE] });
  api.allowToken("for-another", { username: "system:serviceaccount:shop:orders", audiences: ["https://kubernetes.default.svc"] });
  api.allowToken("person", { username: "alice", audiences: [TOKEN_AUDIENCE] });
  const check = createServiceAccountCheck(createTokenReviewer(await connect()), "cluster.local");
  t.equal(await check("good"), "spiffe://cluster.local/ns/shop/sa/orders");
  for (const token of ["unknown", "for-another", "person", "x".repeat(20_000)]) {
    await t.rejects(check(token), { code: "credential_refused" }, token.slice(0, 20));
  }
  api.failNext(500);
  await t.rejects(check("good"), { code: "unavailable", message: /500/ });
});

t.test("an answer that leaves out the audience proves nothing", async (t) => {
  const good: TokenReview = { authenticated: true, audiences: [TOKEN_AUDIENCE], username: "system:serviceaccount:shop:orders", error: "" };
  const check = (answer: Partial<TokenReview>) => createServiceAccountCheck(async () => ({ ...good, ...answer }), "cluster.local")("token");
  t.ok(await check({}));
  await t.rejects(check({ audiences: [] }), { code: "credential_refused", message: /audience/ });
  await t.rejects(check({ authenticated: false }), { code: "credential_refused" });
  for (const username of [
    "",
    "system:serviceaccount:shop",
    "system:serviceaccount::orders",
    "system:serviceaccount:shop:orders:x",
    "system:node:shop:orders",
  ]) {
    await t.rejects(check({ username }), { code: "credential_refused" }, username);
  }
  await t.rejects(check({ username: "system:serviceaccount:Shop/../x:orders" }), { code: "malformed" });
});

t.test("reviews in flight are bounded", async (t) => {
  const { promise, resolve } = Promise.withResolvers<TokenReview>();
  const check = createServiceAccountCheck(() => promise, "cluster.local");
  const waiting = Array.from({ length: 64 }, () => check("token").catch(() => "refused"));
  await t.rejects(check("token"), { code: "unavailable", message: /64/ });
  resolve({ authenticated: false, audiences: [], username: "", error: "" });
  t.equal(new Set(await Promise.all(waiting)).size, 1);
  await t.rejects(check("token"), { code: "credential_refused" }, "there is room again");
});

t.test("a CA in a cluster keeps its root in the Secret and publishes it", async (t) => {
  const { api, connect } = await start(t);
  const { log } = createMemoryLog();
  const options = async () => ({
    trustDomain: "cluster.local",
    stateDir: t.testdir(),
    controlNamespace: namespace,
    given: null,
    kubernetes: await connect(),
    clock: systemClock,
    random: randomBytes,
    log,
    metrics: createTestMetrics(),
  });
  const first = await startCertificateAuthority(await options());
  const second = await startCertificateAuthority(await options());
  t.teardown(() => Promise.all([first.close(), second.close()]));
  t.same(second.trustBundle().pins, first.trustBundle().pins);
  t.match(api.get("configmaps", namespace, "remora-trust")?.["data"], { pin: first.trustBundle().pins[0] });
  api.allowToken("good", { username: "system:serviceaccount:shop:orders", audiences: [TOKEN_AUDIENCE] });
  t.equal(await first.authenticate({ kind: "service_account_token", token: "good" }), "spiffe://cluster.local/ns/shop/sa/orders");
});
