// Who gets a sidecar and who does not, on the real API server: the labels as its selectors read them, every reason to leave a pod alone, dry runs, other
// webhooks that change the pod as well, and namespaces with bounds of their own.
import t from "tap";
import type { ApiError, ApiObject } from "../support/kubernetes/api-client.ts";
import { createPodOf } from "../support/kubernetes/controllers.ts";
import { setKubelet } from "../support/kubernetes/node.ts";
import { CONTROL_NAMESPACE, install, lacksCluster } from "./installation.ts";
import { until } from "../e2e/until.ts";
import { startOtherWebhook } from "./other-webhook.ts";
import { isInjected, ownContainers, SIDECAR, storedPod } from "./stored-pod.ts";

t.setTimeout(800_000);

const CONFIGURATIONS = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const SWITCHES = [undefined, "enabled", "disabled", "", "Enabled", "true"] as const;

/** One entry of a MutatingWebhookConfiguration. */
interface Webhook {
  readonly name: string;
  readonly [field: string]: unknown;
}

/** A plain pod; what differs is given. */
function podWith({ name, labels, annotations, ...spec }: { readonly [field: string]: unknown }): ApiObject {
  const metadata = { ...(name === undefined ? { generateName: "a-" } : { name }), labels, annotations };
  return { apiVersion: "v1", kind: "Pod", metadata, spec: { containers: [{ name: "app", image: "busybox" }], ...spec } } as ApiObject;
}

t.test("admission", { skip: lacksCluster }, async (t) => {
  const installation = await install(t);
  const { kubernetes, node } = installation;
  const { api } = kubernetes;
  await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
  await kubernetes.createNamespace("legacy");

  const create = (namespace: string, pod: ApiObject, query = "") =>
    api.object(`/api/v1/namespaces/${namespace}/pods${query}`, { body: pod });
  const refusal = (namespace: string, pod: ApiObject) =>
    create(namespace, pod, "?dryRun=All").then(
      () => "it was admitted",
      (error: ApiError) => error.message,
    );
  /** What the injector has said about objects of this name. */
  const answersAbout = (namespace: string, name: string) =>
    installation.admissions().filter((line) => line.namespace === namespace && (line.pod ?? line.name) === name);

  t.test("the labels of namespace and pod, in every combination", async (t) => {
    for (const [i, label] of SWITCHES.entries()) {
      await kubernetes.createNamespace(`labels-${i}`, label === undefined ? {} : { labels: { "remora.io/inject": label } });
    }
    for (const [i, namespaceLabel] of SWITCHES.entries()) {
      for (const podLabel of SWITCHES) {
        const labels = podLabel === undefined ? {} : { "remora.io/inject": podLabel };
        const pod = storedPod(await create(`labels-${i}`, podWith({ labels }), "?dryRun=All"));
        const expected = podLabel === "enabled" || (podLabel === undefined && namespaceLabel === "enabled");
        t.equal(isInjected(pod), expected, `namespace ${namespaceLabel ?? "without"}, pod ${podLabel ?? "without"}`);
      }
    }
  });

  t.test("system namespaces are left alone whatever their labels say", async (t) => {
    for (const namespace of ["kube-system", CONTROL_NAMESPACE]) {
      await kubernetes.kubectl(["label", "namespace", namespace, "remora.io/inject=enabled"]);
      const securityContext = {
        runAsNonRoot: true,
        runAsUser: 1000,
        allowPrivilegeEscalation: false,
        capabilities: { drop: ["ALL"] },
        seccompProfile: { type: "RuntimeDefault" },
      };
      const containers = [{ name: "app", image: "busybox", securityContext }];
      const pod = await create(namespace, podWith({ labels: { "remora.io/inject": "enabled" }, containers }), "?dryRun=All");
      t.notOk(isInjected(storedPod(pod)), namespace);
      await kubernetes.kubectl(["label", "namespace", namespace, "remora.io/inject-"]);
    }
  });

  t.test("requests that the manifests would never send get an answer and no patch", async (t) => {
    const { webhooks } = (await api.object(`${CONFIGURATIONS}/remora-injector`)) as unknown as { readonly webhooks: readonly Webhook[] };
    const rule = {
      operations: ["*"],
      apiGroups: ["", "apps"],
      apiVersions: ["v1"],
      resources: ["pods", "pods/*", "deployments"],
      scope: "*",
    };
    /** The same, about everything in some namespaces. */
    const widened = (original: string, name: string, values: readonly string[]) => ({
      ...webhooks.find((webhook) => webhook.name === original),
      name,
      rules: [rule],
      namespaceSelector: { matchExpressions: [{ key: "kubernetes.io/metadata.name", operator: "In", values }] },
      objectSelector: {},
    });
    await kubernetes.createNamespace("wide");
    await kubernetes.createNamespace("unlabelled");
    await api.call(CONFIGURATIONS, {
      body: {
        metadata: { name: "wide" },
        webhooks: [
          widened("inject-labelled.remora.io", "unlabelled.example.test", ["unlabelled"]),
          widened("inject.remora.io", "wide.example.test", ["wide", "kube-system"]),
        ],
      },
    });
    t.teardown(() => api.call(`${CONFIGURATIONS}/wide`, { method: "DELETE" }));
    const reasonsOf = (name: string) => answersAbout("wide", name).map(({ reason }) => reason);
    // The API server watches its configuration: it asks from a moment later on.
    await until("the API server asks about it", 30_000, async () => {
      await create("wide", podWith({ name: "early", labels: { "remora.io/inject": "disabled" } }), "?dryRun=All");
      return reasonsOf("early").length > 0;
    });
    t.match(reasonsOf("early"), ["pod_disabled"]);
    const made = await create("wide", podWith({ name: "made", labels: { "remora.io/inject": "disabled" } }));
    const patch = (path: string, body: object) =>
      api.object(`/api/v1/namespaces/wide/${path}`, { method: "PATCH", contentType: "application/strategic-merge-patch+json", body });
    const changed = await patch("pods/made", { metadata: { labels: { changed: "yes" } } });
    t.strictSame(changed["spec"], made["spec"]);
    await patch("pods/made/ephemeralcontainers", { spec: { ephemeralContainers: [{ name: "debug", image: "busybox" }] } });
    await api.call("/api/v1/namespaces/wide/pods/made?gracePeriodSeconds=0", { method: "DELETE" });
    const template = { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "app", image: "busybox" }] } };
    const deployment = { metadata: { name: "web" }, spec: { selector: { matchLabels: { app: "web" } }, template } };
    const stored = await api.object("/apis/apps/v1/namespaces/wide/deployments", { body: deployment });
    t.match(stored["spec"], { template: { spec: { containers: [{ name: "app" }] } } });
    t.notMatch(JSON.stringify(stored["spec"]), SIDECAR);
    await until("the injector has logged the last answer", 30_000, () => reasonsOf("web").length > 0);
    t.strictSame(new Set(reasonsOf("made")), new Set(["pod_disabled", "not_created", "subresource"]));
    t.strictSame(reasonsOf("web"), ["not_a_pod"]);
    for (const [namespace, reason] of [
      ["kube-system", "system_namespace"],
      ["unlabelled", "namespace_not_enabled"],
    ] as const) {
      const pod = await create(namespace, podWith({ name: "asked" }), "?dryRun=All");
      t.notOk(isInjected(storedPod(pod)));
      await until("the injector has logged it", 30_000, () => answersAbout(namespace, "asked").length > 0);
      t.match(answersAbout(namespace, "asked"), [{ result: "skipped", reason }]);
    }
  });

  t.test("a pod that `remora inject` has made is stored as it is", async (t) => {
    const written = podWith({ name: "written" });
    const injected = storedPod(await create("shop", written, "?dryRun=All"));
    const again = storedPod(
      await create("shop", {
        ...podWith({ name: "again" }),
        ...(injected as unknown as ApiObject),
        metadata: { ...injected.metadata, name: "again" },
      }),
    );
    t.strictSame(names(again), names(injected));
    await until("the injector has logged it", 30_000, () => answersAbout("shop", "again").length > 0);
    t.match(answersAbout("shop", "again"), [{ result: "skipped", reason: "already_injected" }]);
  });

  t.test("a dry run shows the sidecar and leaves nothing behind", async (t) => {
    const list = async () => (await kubernetes.kubectl(["get", "pods,secrets,configmaps", "-A", "-o", "name"])).stdout;
    const before = await list();
    const { code, stdout, stderr } = await kubernetes.kubectl(["create", "--dry-run=server", "-n", "shop", "-o", "json", "-f", "-"], {
      stdin: JSON.stringify(podWith({ name: "dry" })),
    });
    t.equal(code, 0, stderr);
    t.ok(isInjected(storedPod(JSON.parse(stdout) as ApiObject)), "it is injected");
    await until("the injector has logged it", 30_000, () => answersAbout("shop", "dry").length > 0);
    t.match(answersAbout("shop", "dry"), [{ result: "injected", dryRun: true }]);
    await new Promise((done) => setTimeout(done, 500));
    t.equal(await list(), before);
    // Events about what was made before may be written only now.
    const events = await kubernetes.kubectl(["get", "events", "-A", "-o", "jsonpath={.items[*].involvedObject.name}"]);
    t.notOk(events.stdout.split(" ").includes("dry"), "no Event about it");
  });

  t.test("the reasons are in the API server's answer", async (t) => {
    const uid1337 = podWith({ securityContext: { runAsUser: 1337 } });
    t.match(
      await refusal("shop", uid1337),
      /admission webhook "inject\.remora\.io" denied the request: remora refuses the pod \(runs_as_proxy_uid\): .*1337/,
    );
    t.match(await refusal("legacy", uid1337), "it was admitted");
  });

  t.test("another webhook that adds a container gets along with ours, before and after it", async (t) => {
    for (const name of ["aa-before", "zz-after"]) {
      const other = await startOtherWebhook(t, kubernetes, {
        name,
        namespace: "shop",
        // Like many: adds its container where it is not there yet, changes labels, and puts itself first.
        change(pod) {
          const { containers } = pod["spec"] as { readonly containers: ReadonlyArray<{ readonly name: string }> };
          if (containers.some((container) => container.name === "logger")) return [];
          const logger = { name: "logger", image: "example.test/logger:1", ports: [{ name: "log", containerPort: 5170 }] };
          return [
            { op: "add", path: "/spec/containers/0", value: logger },
            { op: "add", path: "/metadata/labels", value: { ...pod.metadata.labels, logged: "yes" } },
          ];
        },
      });
      const own = {
        name: "app",
        image: "busybox",
        ports: [{ name: "http", containerPort: 80 }],
        livenessProbe: { httpGet: { path: "/", port: "http" } },
      };
      const pod = storedPod(await create("shop", podWith({ name: `reinvoked-${name}`, containers: [own] })));
      t.strictSame(
        names(pod),
        [
          ["remora-init", SIDECAR],
          ["logger", "app"],
        ],
        `${name}: everything once, and in order`,
      );
      t.equal(pod.metadata.labels["logged"], "yes");
      t.equal(other.calls(), 2, "it was asked again after ours, or ours after it");
      const answers = () => answersAbout("shop", `reinvoked-${name}`);
      await until("the injector has logged its answers", 30_000, () => answers().length >= (name === "zz-after" ? 2 : 1));
      const results = answers().map(({ result, reason }) => `${result} ${reason}`);
      t.equal(results[0], "injected namespace_enabled");
      t.strictSame(
        results.slice(1).filter((result) => result !== "skipped already_injected"),
        [],
        "a second time there is nothing to do",
      );
      if (name === "zz-after") t.equal(results.length, 2, "ours was invoked again");
      t.same(ownContainers(pod.spec.containers).find((container) => container.name === "logger")?.["ports"], [
        { name: "log", containerPort: 5170, protocol: "TCP" },
      ]);
      await other.remove();
    }
  });

  t.test("pods of a Deployment get what its template says, and the ReplicaSet's refusal is the webhook's sentence", async (t) => {
    await installation.apply(`
apiVersion: apps/v1
kind: Deployment
metadata: { name: web, namespace: shop }
spec:
  selector: { matchLabels: { app: web } }
  template:
    metadata: { labels: { app: web } }
    spec:
      containers: [{ name: app, image: busybox, securityContext: { runAsUser: 1337 } }]
`);
    const web = await api.object("/apis/apps/v1/namespaces/shop/deployments/web");
    const refused = createPodOf(api, { ...web, kind: "Deployment", apiVersion: "apps/v1" });
    await t.rejects(refused, { message: /denied the request: remora refuses the pod \(runs_as_proxy_uid\)/ });
  });

  t.test("nodes with old kubelets get a sidecar that they can run", async (t) => {
    t.teardown(() => setKubelet(api, "v1.36.3"));
    await setKubelet(api, "v1.28.9");
    const isPlain = async () => names(storedPod(await create("shop", podWith({}), "?dryRun=All")))[1]?.includes(SIDECAR) === true;
    await until("a plain container, as restartable init containers came with 1.29", 30_000, isPlain);
    t.match(node.runner.network.hostIpv4, kubernetes.host);
  });
});

/** Names of init containers, then of containers. */
function names({ spec }: ReturnType<typeof storedPod>): readonly (readonly string[])[] {
  return [spec.initContainers ?? [], spec.containers].map((containers) => containers.map(({ name }) => name));
}
