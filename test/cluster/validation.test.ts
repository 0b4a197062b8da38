// Mistakes are told to who applies them: bad annotations in workloads of every kind, in a namespace's defaults and in the platform's file. What was
// wrong before may still be scaled and deleted, and nothing that Remora does not concern is asked about.
import t from "tap";
import type { ApiObject } from "../support/kubernetes/api-client.ts";
import { until } from "../e2e/until.ts";
import { CONTROL_NAMESPACE, install, lacksCluster } from "./installation.ts";

t.setTimeout(800_000);

/** Configuration whose absence leaves mistakes unseen. */
const VALIDATION = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/remora-injector";

const KINDS = ["Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"] as const;

function workload(kind: (typeof KINDS)[number], name: string, annotations: Readonly<Record<string, string>>): ApiObject {
  const batch = kind === "Job" || kind === "CronJob";
  const metadata = { labels: { app: name }, annotations };
  const template = { metadata, spec: { containers: [{ name: "app", image: "busybox" }], ...(batch ? { restartPolicy: "Never" } : {}) } };
  const selector = { matchLabels: { app: name } };
  const specs = {
    Deployment: { selector, template },
    StatefulSet: { selector, template, serviceName: name },
    DaemonSet: { selector, template },
    Job: { template },
    CronJob: { schedule: "@daily", jobTemplate: { spec: { template } } },
  };
  return { apiVersion: batch ? "batch/v1" : "apps/v1", kind, metadata: { name }, spec: specs[kind] };
}

t.test("validation", { skip: lacksCluster }, async (t) => {
  const installation = await install(t);
  const { kubernetes, createMeshed } = installation;
  await createMeshed("shop");
  await kubernetes.createNamespace("legacy");
  const apply = (namespace: string, object: ApiObject) =>
    kubernetes.kubectl(["apply", "-n", namespace, "-f", "-"], { stdin: JSON.stringify(object) });

  for (const kind of KINDS) {
    t.test(`a ${kind} with a bad annotation is refused when it is applied`, async (t) => {
      const name = `bad-${kind.toLowerCase()}`;
      const { code, stderr } = await apply("shop", workload(kind, name, { "remora.io/drain-timeout": "30", "remora.io/mode": "lax" }));
      t.not(code, 0);
      t.match(stderr, /admission webhook "validate\.remora\.io" denied the request: remora refuses it \(invalid_annotation\)/);
      t.match(stderr, /remora\.io\/drain-timeout.*"30"/, "every mistake is named, with its value");
      t.match(stderr, /remora\.io\/mode.*"lax"/);
      t.not((await kubernetes.kubectl(["get", kind, name, "-n", "shop"])).code, 0, "nothing is stored");
    });

    t.test(`a ${kind} with an unknown annotation is stored with a warning`, async (t) => {
      const { code, stderr } = await apply("shop", workload(kind, `odd-${kind.toLowerCase()}`, { "remora.io/drain-timout": "30s" }));
      t.equal(code, 0, stderr);
      t.match(stderr, /Warning: remora: .*remora\.io\/drain-timout.*remora\.io\/drain-timeout/, "with the nearest name");
    });
  }

  t.test("in other namespaces only who speaks of Remora is asked about", async (t) => {
    const warned = await apply("legacy", workload("Deployment", "without-sidecar", { "remora.io/mode": "lax" }));
    t.equal(warned.code, 0, "nothing would come of it");
    t.match(warned.stderr, /Warning: remora: .*remora\.io\/mode.*"lax"/);
    const asking = workload("Deployment", "asking", { "remora.io/mode": "lax" });
    const { template } = asking["spec"] as { readonly template: { readonly metadata: { readonly labels: Record<string, string> } } };
    template.metadata.labels["remora.io/inject"] = "enabled";
    const refused = await apply("legacy", asking);
    t.match(refused.stderr, /admission webhook "validate-labelled\.remora\.io" denied the request/);
    const { code, stderr } = await apply("legacy", workload("Deployment", "plain", { "example.test/mode": "lax" }));
    t.equal(code, 0, stderr);
    t.equal(stderr, "");
  });

  t.test("what was wrong before Remora came can be scaled and labelled, but not made worse", async (t) => {
    const configuration = await kubernetes.api.object(VALIDATION);
    await kubernetes.api.call(VALIDATION, { method: "DELETE" });
    const old = workload("Deployment", "old", { "remora.io/mode": "lax" });
    await until("the API server does not ask any more", 30_000, async () => (await apply("shop", old)).code === 0);
    const { metadata, ...rest } = configuration;
    const { resourceVersion: _version, uid: _uid, ...placed } = metadata;
    await kubernetes.api.call(VALIDATION.replace(/\/remora-injector$/, ""), { body: { ...rest, metadata: placed } });
    const isAsked = async () => (await apply("shop", workload("Deployment", "other", { "remora.io/mode": "lax" }))).code !== 0;
    await until("the API server asks again", 30_000, isAsked);

    const run = (...args: readonly string[]) => kubernetes.kubectl([...args, "-n", "shop"]);
    t.equal((await run("scale", "deployment/old", "--replicas=3")).code, 0);
    const labelled = await run("label", "deployment/old", "team=shop");
    t.equal(labelled.code, 0, labelled.stderr);
    t.match(labelled.stderr, /Warning: remora: still wrong: .*remora\.io\/mode/);
    const worse = await apply("shop", workload("Deployment", "old", { "remora.io/mode": "lax", "remora.io/workers": "many" }));
    t.match(worse.stderr, /refuses it \(invalid_annotation\): .*remora\.io\/workers/);
    t.equal((await run("delete", "deployment/old")).code, 0);
  });

  t.test("a namespace's defaults are read when they are set", async (t) => {
    const bad = await kubernetes.kubectl(["annotate", "namespace", "shop", "remora.io/mode=lax"]);
    t.not(bad.code, 0);
    t.match(bad.stderr, /remora\.io\/mode.*"lax"/);
    const good = await kubernetes.kubectl(["annotate", "namespace", "shop", "remora.io/mode=permissive"]);
    t.equal(good.code, 0, good.stderr);
    const marked = await kubernetes.kubectl(["label", "namespace", "legacy", "remora.io/inject=Enabled"]);
    t.match(marked.stderr, /Warning: remora: .*neither enabled nor disabled/);
  });

  t.test("the platform's file is read when it is set, and holds from then on", async (t) => {
    const platform = (text: string) => ({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "remora-platform" },
      data: { "platform.yaml": text },
    });
    const bad = await apply(CONTROL_NAMESPACE, platform("enforced: { minimumMode: strictest }\nchanels: {}\n"));
    t.not(bad.code, 0);
    t.match(bad.stderr, /minimumMode.*\n?.*chanels/, "with all its mistakes");
    const good = await apply(CONTROL_NAMESPACE, platform('enforced:\n  minimumMode: strict\n  optOut: { forbiddenIn: ["shop"] }\n'));
    t.equal(good.code, 0, good.stderr);

    const pod = {
      metadata: { generateName: "a-", labels: { "remora.io/inject": "disabled" } },
      spec: { containers: [{ name: "app", image: "busybox" }] },
    };
    const create = (namespace: string) =>
      kubernetes.api.call(`/api/v1/namespaces/${namespace}/pods?dryRun=All`, { body: pod }).then(
        () => "it was admitted",
        (error: Error) => error.message,
      );
    await until("the injector has read it", 30_000, async () => (await create("shop")) !== "it was admitted");
    t.match(await create("shop"), /opt_out_forbidden/);
    t.equal(await create("legacy"), "it was admitted");
    const weaker = await apply("shop", workload("Deployment", "weaker", { "remora.io/mode": "permissive" }));
    t.not(weaker.code, 0, "nobody weakens what the platform enforces");
    t.match(weaker.stderr, /remora\.io\/mode.*strict/);
  });
});
