// `remora check` on a real API server: a cluster before, a healthy installation, and breakages made one by one as they happen to people. Each is
// found by the check that is for it, and where the fix is a command, the command is run and the check holds again.
import { execFile } from "node:child_process";
import { generateKeyPairSync } from "node:crypto";
import { delimiter, join } from "node:path";
import t from "tap";
import { connectApi } from "../../cli/check/api.ts";
import { createCluster } from "../../cli/check/cluster.ts";
import { formatJson } from "../../cli/check/format.ts";
import { runChecks } from "../../cli/check/run-checks.ts";
import { checksFor } from "../../cli/check-command.ts";
import { baseFolder } from "../../cli/install-command.ts";
import { readInstallation } from "../../injector/installation.ts";
import { until } from "../e2e/until.ts";
import { startKubernetes, KUBERNETES_PROGRAMS } from "../support/kubernetes/kubernetes.ts";
import { kubernetesFolder } from "../support/kubernetes/assets.ts";
import type { ApiClient } from "../support/kubernetes/api-client.ts";
import { requires } from "../support/requires.ts";
import { install, lacksCluster } from "./installation.ts";

const BIN = join(import.meta.dirname, "..", "..", "bin");
const RUN_TIMEOUT_MS = 120_000;
const FOLLOW_TIMEOUT_MS = 60_000;
const MERGE = "application/merge-patch+json";
const JSON_PATCH = "application/json-patch+json";
const WEBHOOK = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/remora-injector";
const CONTROL = "/api/v1/namespaces/remora-system";

interface CheckRow {
  readonly id: string;
  readonly severity: string;
  readonly result: "ok" | "failed" | "unknown" | "skipped";
  readonly detail: string;
  readonly fix: string | null;
}

interface Report {
  readonly healthy: boolean;
  readonly checks: readonly CheckRow[];
  row(id: string): CheckRow;
  /** Ids of what is not well. */
  readonly unwell: readonly string[];
}

// Two API servers and a dozen looks at a whole cluster: a minute or two, and more where the machine is shared.
t.setTimeout(800_000);

/** A shell in which `remora` and `kubectl` are this checkout's and the test's. */
function shell(kubeconfig: string, command: string): Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }> {
  const env = {
    ...process.env,
    KUBECONFIG: kubeconfig,
    NO_COLOR: "1",
    PATH: [BIN, kubernetesFolder() ?? "", process.env["PATH"] ?? ""].join(delimiter),
  };
  return new Promise((done) => {
    execFile("bash", ["-c", command], { env, timeout: RUN_TIMEOUT_MS, maxBuffer: 1e7 }, (error, stdout, stderr) =>
      done({ code: error === null ? 0 : Number(error.code ?? 1), stdout, stderr }),
    );
  });
}

/** What the command does, without the time that a process takes to start. */
async function check(kubeconfig: string, isBefore = false): Promise<Report> {
  const shipped = await readInstallation(baseFolder());
  const cluster = createCluster({
    api: await connectApi({ kubeconfig }),
    controlNamespace: "remora-system",
    shipped,
    nowMs: () => Date.now(),
    registry: null,
  });
  return readReport(formatJson(await runChecks(checksFor(isBefore), cluster)));
}

function readReport(json: string): Report {
  const { healthy, checks } = JSON.parse(json) as { readonly healthy: boolean; readonly checks: readonly CheckRow[] };
  const row = (id: string) => {
    const found = checks.find((one) => one.id === id);
    if (found === undefined) throw new Error(`there is no check ${id}`);
    return found;
  };
  return { healthy, checks, row, unwell: checks.filter(({ result }) => result !== "ok").map(({ id }) => id) };
}

t.test("before the installation", { skip: requires(...KUBERNETES_PROGRAMS) }, async (t) => {
  const kubernetes = await startKubernetes(t);
  const good = await check(kubernetes.kubeconfig, true);
  t.same(good.unwell, [], "an empty cluster is ready");
  t.equal((await shell(kubernetes.kubeconfig, "remora check --pre")).code, 0);

  const body = {
    apiVersion: "admissionregistration.k8s.io/v1",
    kind: "MutatingWebhookConfiguration",
    metadata: { name: "remora-injector" },
    webhooks: [
      {
        name: "inject.remora.io",
        clientConfig: { service: { name: "remora-injector", namespace: "old-mesh" } },
        admissionReviewVersions: ["v1"],
        sideEffects: "None",
        rules: [{ operations: ["CREATE"], apiGroups: [""], apiVersions: ["v1"], resources: ["pods"] }],
        failurePolicy: "Ignore",
      },
    ],
  };
  await kubernetes.api.call("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations", { body });
  const left = await check(kubernetes.kubeconfig, true);
  t.equal((await shell(kubernetes.kubeconfig, "remora check --pre")).code, 1);
  t.match(left.row("no-leftovers"), { result: "failed", fix: "kubectl delete mutatingwebhookconfiguration remora-injector" });
  t.equal((await shell(kubernetes.kubeconfig, left.row("no-leftovers").fix ?? "false")).code, 0);
  t.same((await check(kubernetes.kubeconfig, true)).unwell, [], "mended by its own command");

  await kubernetes.createNamespace("plain");
  const nobody = kubernetes.writeKubeconfig("nobody", await kubernetes.requestToken("plain", "default"));
  const denied = await check(nobody, true);
  t.notOk(denied.healthy);
  t.match(denied.row("may-install"), { result: "failed", detail: /you may not get namespaces/ });
  t.match(denied.row("kubelets"), { result: "unknown", detail: /you may not look/ }, "what cannot be seen is not well");

  const { code, stderr } = await shell("/nonexistent", "remora check");
  t.equal(code, 2, "no check could be made");
  t.match(stderr, /remora check: /);
});

t.test("an installation", { skip: lacksCluster || requires("nginx") }, async (t) => {
  const installation = await install(t, { injectors: 2 });
  const { kubernetes, node } = installation;
  const { api, kubeconfig } = kubernetes;
  await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
  await kubernetes.createNamespace("bare");
  await installation.apply(deployment("shop", "web"));
  await node.run("shop/web", await installation.createPodOf("Deployment", "shop", "web"));
  await sayAvailable(api);
  await publishEndpoints(api);
  const look = () => check(kubeconfig);
  /** Looks until the check has that result: the API server's own authorization and admission follow changes a moment later. */
  const lookUntil = async (id: string, result: CheckRow["result"]) => {
    let seen = await look();
    await until(`${id} is ${result}`, FOLLOW_TIMEOUT_MS, async () => {
      if (seen.row(id).result !== result) seen = await look();
      return seen.row(id).result === result;
    });
    return seen;
  };
  /** Runs the fix, and waits until the check holds again. */
  const mend = async (id: string, row: CheckRow) => {
    const { code, stderr } = await shell(kubeconfig, row.fix ?? "false");
    t.equal(code, 0, `${row.fix}: ${stderr}`);
    await lookUntil(id, "ok");
    t.pass(`${id} holds again`);
  };

  t.test("that is well has nothing to say", async (t) => {
    const healthy = await lookUntil("webhook-answers", "ok");
    t.same(
      healthy.checks.filter(({ result }) => result !== "ok"),
      [],
    );
    t.ok(healthy.healthy);
    t.ok(healthy.checks.length >= 30, `${healthy.checks.length} checks`);
    const { stdout, code } = await shell(kubeconfig, "remora check");
    t.equal(code, 0);
    t.match(stdout, /^Kubernetes\n√ the API server answers \(v1\./);
    t.match(stdout, /checks: \d+ hold, 0 do not, 0 warnings, 0 not made: all is well\n$/);
  });

  t.test("whose injector lost a right", async (t) => {
    await api.call("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/remora-injector", { method: "DELETE" });
    const { row } = await lookUntil("rights-remora-injector", "failed");
    t.match(row("rights-remora-injector"), {
      result: "failed",
      detail: /it may not get mutatingwebhookconfigurations\/remora-injector/,
      fix: "remora install | kubectl apply -f -",
    });
    t.equal(row("rights-remora-control").result, "ok", "the other account is not blamed");
    await mend("rights-remora-injector", row("rights-remora-injector"));
  });

  t.test("whose CA has the key of another", async (t) => {
    const { data } = (await api.object(`${CONTROL}/secrets/remora-ca`)) as unknown as { readonly data: Readonly<Record<string, string>> };
    const pem = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" });
    const write = (key: string) =>
      api.call(`${CONTROL}/secrets/remora-ca`, { method: "PATCH", contentType: MERGE, body: { data: { "tls.key": key } } });
    t.teardown(() => write(data["tls.key"] ?? ""));
    await write(Buffer.from(pem).toString("base64"));
    const { row } = await look();
    t.match(row("ca-secret"), { result: "failed", detail: "its key is not the key of its certificate", fix: /delete secret remora-ca/ });
    t.match(row("ca-days"), { result: "skipped" }, "what rests on it is not looked at");
  });

  t.test("whose selector somebody edited", async (t) => {
    const stored = (await api.object(WEBHOOK))["webhooks"] as ReadonlyArray<{
      readonly namespaceSelector: { readonly matchExpressions: readonly object[] };
    }>;
    const without = stored[0]?.namespaceSelector.matchExpressions.slice(0, 1);
    await api.call(WEBHOOK, {
      method: "PATCH",
      contentType: JSON_PATCH,
      body: [{ op: "replace", path: "/webhooks/0/namespaceSelector/matchExpressions", value: without }],
    });
    const { row } = await look();
    t.match(row("webhook-mutating-selectors"), { result: "failed", detail: "somebody changed namespaceSelector of inject.remora.io" });
    await mend("webhook-mutating-selectors", row("webhook-mutating-selectors"));
  });

  t.test("with pods from before the label", async (t) => {
    await installation.apply(deployment("bare", "old"));
    const pod = await installation.createPodOf("Deployment", "bare", "old");
    await node.run("bare/old", pod);
    await kubernetes.kubectl(["label", "namespace", "bare", "remora.io/inject=enabled"]);
    const { row } = await look();
    t.match(row("naked-pods"), {
      result: "failed",
      detail: "deployment bare/old (1)",
      fix: "kubectl -n bare rollout restart deployment/old",
    });
    const { code, stderr } = await shell(kubeconfig, row("naked-pods").fix ?? "false");
    t.equal(code, 0, stderr);
    // What the Deployment's controller does then: the old pod goes.
    await api.call(`/api/v1/namespaces/bare/pods/${pod.metadata.name}?gracePeriodSeconds=0`, { method: "DELETE" });
    t.equal((await look()).row("naked-pods").result, "ok");
  });

  t.test("with a namespace labelled in another word", async (t) => {
    await kubernetes.createNamespace("typo", { labels: { "remora.io/inject": "Enabled" } });
    const { row } = await look();
    t.match(row("namespace-labels"), {
      result: "failed",
      detail: 'typo ("Enabled")',
      fix: "kubectl label namespace typo remora.io/inject=enabled --overwrite",
    });
    await mend("namespace-labels", row("namespace-labels"));
  });

  t.test("with an autoscaler that counts the sidecar", async (t) => {
    const metrics = [{ type: "Resource", resource: { name: "cpu", target: { type: "Utilization", averageUtilization: 70 } } }];
    const spec = { scaleTargetRef: { apiVersion: "apps/v1", kind: "Deployment", name: "web" }, minReplicas: 1, maxReplicas: 3, metrics };
    await installation.apply(
      JSON.stringify({ apiVersion: "autoscaling/v2", kind: "HorizontalPodAutoscaler", metadata: { name: "web", namespace: "shop" }, spec }),
    );
    const { row, healthy } = await look();
    t.ok(healthy, "a warning alone does not fail");
    t.match(row("autoscalers"), { result: "failed", severity: "warning", detail: "shop/web" });
    await mend("autoscalers", row("autoscalers"));
    const scaler = await api.object("/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/web");
    t.match(scaler["spec"], { metrics: [{ type: "ContainerResource", containerResource: { name: "cpu", container: "nginx" } }] });
  });

  t.test("with a ConfigMap that nobody understands", async (t) => {
    // Past the validating webhook, as it gets there while no injector answers.
    const hook = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/remora-injector";
    const { webhooks } = (await api.object(hook)) as unknown as { readonly webhooks: readonly object[] };
    await api.call(hook, { method: "PATCH", contentType: MERGE, body: { webhooks: [] } });
    const body = { metadata: { name: "remora-platform" }, data: { "platform.yaml": "chanels: {}" } };
    await until("the API server does not ask any more", FOLLOW_TIMEOUT_MS, () =>
      api.call(`${CONTROL}/configmaps`, { body }).then(
        () => true,
        () => false,
      ),
    );
    const { row } = await look();
    t.match(row("platform"), { result: "failed", detail: /chanels/, fix: "kubectl -n remora-system edit configmap remora-platform" });
    t.match(row("webhook-validating"), { result: "failed", severity: "warning" });
    await api.call(`${CONTROL}/configmaps/remora-platform`, { method: "DELETE" });
    await api.call(hook, { method: "PATCH", contentType: MERGE, body: { webhooks } });
    t.equal((await look()).row("platform").result, "ok");
  });

  t.test("whose injector is gone", async (t) => {
    for (const pod of node.pods("remora-system/remora-injector")) await node.remove(pod);
    const { row, healthy } = await lookUntil("webhook-answers", "failed");
    t.notOk(healthy);
    t.match(row("endpoints-remora-injector"), {
      result: "failed",
      fix: "kubectl -n remora-system rollout restart deployment/remora-injector",
    });
    t.match(row("webhook-answers"), { result: "failed", detail: /failed calling webhook/ });

    // While it is gone, nobody writes back what somebody else wrote.
    const value = Buffer.from(kubernetes.caPem).toString("base64");
    const operations = [{ op: "replace", path: "/webhooks/0/clientConfig/caBundle", value }];
    await api.call(WEBHOOK, { method: "PATCH", contentType: JSON_PATCH, body: operations });
    const stale = (await look()).row("webhook-mutating-ca");
    t.match(stale, {
      result: "failed",
      detail: "inject.remora.io has another one, or none",
      fix: /^kubectl patch mutatingwebhookconfiguration remora-injector /,
    });
    await mend("webhook-mutating-ca", stale);

    const { stdout } = await shell(kubeconfig, "remora check");
    t.match(
      stdout,
      /× Service remora-injector has endpoints that are ready\n {4}[^\n]+\n(?: {4}[^\n]+\n)+ {4}fix: kubectl -n remora-system rollout restart/,
    );
    await installation.startReplica("remora-injector");
    const again = await shell(kubeconfig, "remora check --wait 90s -o json");
    const { checks } = readReport(again.stdout);
    t.same(
      checks.filter(({ severity, result }) => severity === "error" && result !== "ok"),
      [],
      "--wait sees it come back",
    );
    t.equal(again.code, 0);
  });
});

function deployment(namespace: string, name: string): string {
  const labels = { app: name };
  const container = {
    name: "nginx",
    image: "nginx",
    ports: [{ name: "http", containerPort: 80 }],
    resources: { requests: { cpu: "10m", memory: "16Mi" } },
  };
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace },
    spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec: { containers: [container] } } },
  });
}

/** What the Deployments' controller would write. */
async function sayAvailable(api: ApiClient): Promise<void> {
  for (const [name, replicas] of Object.entries({ "remora-control": 1, "remora-injector": 2 })) {
    const status = { replicas, readyReplicas: replicas, availableReplicas: replicas, updatedReplicas: replicas };
    await api.call(`/apis/apps/v1/namespaces/remora-system/deployments/${name}/status`, {
      method: "PATCH",
      contentType: MERGE,
      body: { status },
    });
  }
}

/** The API server's own proxy to Services reads Endpoints, which a controller of its own makes of the same pods. */
async function publishEndpoints(api: ApiClient): Promise<void> {
  const slices = await api.object("/apis/discovery.k8s.io/v1/namespaces/remora-system/endpointslices");
  const slice = (slices["items"] as readonly EndpointSlice[]).find(
    ({ metadata, endpoints }) => metadata.labels["kubernetes.io/service-name"] === "remora-control" && endpoints.length > 0,
  );
  if (slice === undefined) throw new Error(`remora-control has no endpoints: ${JSON.stringify(slices)}`);
  // Without the pod it would proxy to any address that somebody wrote there, so it skips those.
  const addresses = slice.endpoints.flatMap(({ addresses: [ip], targetRef }) => ({ ip, targetRef }));
  await api.call(`${CONTROL}/endpoints`, { body: { metadata: { name: "remora-control" }, subsets: [{ addresses, ports: slice.ports }] } });
}

interface EndpointSlice {
  readonly metadata: { readonly labels: Readonly<Record<string, string>> };
  readonly endpoints: readonly { readonly addresses: readonly string[]; readonly targetRef: object }[];
  readonly ports: readonly object[];
}
