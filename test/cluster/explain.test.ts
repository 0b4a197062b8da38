// What a platform team sees on the real API server: mistakes refused when they are applied, defaults of namespaces, what the platform enforces, and
// `remora explain` about workloads that run.
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import t from "tap";
import { until } from "../e2e/until.ts";
import { install, lacksCluster } from "./installation.ts";

t.setTimeout(800_000);

const REMORA = resolve(import.meta.dirname, "../../bin/remora");
const CLI_TIMEOUT_MS = 60_000;

interface WorkloadParts {
  readonly namespace?: string;
  readonly name?: string;
  readonly annotations?: Record<string, string>;
  readonly own?: { readonly labels?: Record<string, string>; readonly annotations?: Record<string, string> };
  readonly image?: string;
}

/** What is read here of `remora explain -o json`. */
interface Explained {
  readonly pods: readonly { readonly differences: readonly string[]; readonly instance: { readonly state: string } | null }[];
  readonly settings: readonly { readonly name: string }[];
  readonly registry: unknown;
}

/** As JSON, which kubectl takes for YAML. */
function deployment({ namespace = "shop", name = "web", annotations = {}, own = {}, image = "nginx" }: WorkloadParts = {}): string {
  const labels = { app: name };
  const container = {
    name: "nginx",
    image,
    ports: [{ name: "http", containerPort: 80 }],
    readinessProbe: { httpGet: { path: "/", port: "http" } },
  };
  return JSON.stringify({
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name, namespace, ...own },
    spec: { selector: { matchLabels: labels }, template: { metadata: { labels, annotations }, spec: { containers: [container] } } },
  });
}

t.test("annotations, platform and explain", { skip: lacksCluster }, async (t) => {
  const { kubernetes, node, createPodOf, createMeshed } = await install(t);
  await createMeshed("shop");
  await kubernetes.createNamespace("plain");

  const apply = (stdin: string) => kubernetes.kubectl(["apply", "-f", "-"], { stdin });
  const platform = (text: string) =>
    JSON.stringify({
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: { name: "remora-platform", namespace: "remora-system" },
      data: { "platform.yaml": text },
    });
  /** Standard output, standard error and code of the command line. */
  function remora(...args: readonly string[]): Promise<{ readonly code: number; readonly text: string }> {
    return new Promise((done) => {
      const env = { ...process.env, KUBECONFIG: kubernetes.kubeconfig, NO_COLOR: "1" };
      execFile(REMORA, args, { env, timeout: CLI_TIMEOUT_MS, maxBuffer: 1e7 }, (error, stdout, stderr) =>
        done({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr }),
      );
    });
  }
  async function explained(...args: readonly string[]): Promise<Explained> {
    const { code, text } = await remora("explain", "-o", "json", ...args);
    if (code !== 0) throw new Error(text);
    return JSON.parse(text) as Explained;
  }
  async function explainedWhen(what: string, isSo: (found: Explained) => boolean, ...args: readonly string[]): Promise<Explained> {
    let found = await explained(...args);
    const isTrue = async () => {
      if (!isSo(found)) found = await explained(...args);
      return isSo(found);
    };
    await until(what, 30_000, isTrue).catch((cause: unknown) => {
      throw new Error(JSON.stringify({ pods: found.pods, registry: found.registry }), { cause });
    });
    return found;
  }

  t.test("kubectl apply refuses a bad annotation with annotation, value and what is allowed", async (t) => {
    const refused = await apply(deployment({ annotations: { "remora.io/mode": "soft" } }));
    t.equal(refused.code, 1);
    t.match(
      refused.stderr,
      /remora refuses it \(invalid_annotation\): annotation remora\.io\/mode: "soft" is not allowed; allowed: strict, permissive/,
    );
    const template = {
      metadata: { annotations: { "remora.io/workers": "0" } },
      spec: { restartPolicy: "Never", containers: [{ name: "a", image: "busybox" }] },
    };
    const kinds = [
      { apiVersion: "batch/v1", kind: "Job", spec: { template } },
      { apiVersion: "batch/v1", kind: "CronJob", spec: { schedule: "0 0 * * *", jobTemplate: { spec: { template } } } },
    ];
    for (const object of kinds) {
      const { code, stderr } = await apply(JSON.stringify({ ...object, metadata: { name: "night", namespace: "shop" } }));
      t.equal(code, 1, object.kind);
      t.match(stderr, /remora\.io\/workers: "0" is not allowed/);
    }
  });

  t.test("kubectl prints a warning for a name that nobody knows, and for what stands in the wrong place", async (t) => {
    const odd = await apply(
      deployment({ name: "odd", annotations: { "remora.io/mod": "strict" }, own: { annotations: { "remora.io/mode": "strict" } } }),
    );
    t.equal(odd.code, 0, odd.stderr);
    t.match(odd.stderr, /Warning: remora: annotation "remora\.io\/mod" is unknown and has no effect; did you mean remora\.io\/mode\?/);
    t.match(odd.stderr, /Warning: remora: annotation "remora\.io\/mode" has no effect on deployment\/odd; it belongs on the pod template/);
    const misplaced = await apply(deployment({ namespace: "plain", own: { labels: { "remora.io/inject": "enabled" } } }));
    t.equal(misplaced.code, 0, misplaced.stderr);
    t.match(
      misplaced.stderr,
      /Warning: remora: the label remora\.io\/inject has no effect on deployment\/web; it belongs on the pod template/,
    );
  });

  t.test("what is wrong already can be scaled, labelled and deleted", async (t) => {
    const late = deployment({ namespace: "plain", name: "late", annotations: { "remora.io/mode": "soft" } });
    const first = await apply(late);
    t.equal(first.code, 0, first.stderr);
    t.match(first.stderr, /Warning: remora: .*"soft" is not allowed.*would be refused if the pods got a sidecar/);
    await kubernetes.kubectl(["label", "namespace", "plain", "remora.io/inject=enabled"]);
    const kubectl = (...args: readonly string[]) => kubernetes.kubectl(["-n", "plain", ...args]);
    // The injector's view of the namespace follows its label a moment later; until then the warning is the other one.
    await until("the webhook knows the label", 20_000, async () => {
      const { stderr } = await apply(deployment({ namespace: "plain", name: "new", annotations: { "remora.io/mode": "soft" } }));
      return stderr.includes("remora refuses it");
    });
    for (const args of [
      ["scale", "deploy/late", "--replicas=3"],
      ["label", "deploy/late", "team=x"],
      ["annotate", "deploy/late", "note=x"],
      ["delete", "deploy/late"],
    ]) {
      const { code, stderr } = await kubectl(...args);
      t.equal(code, 0, `${args[0]}: ${stderr}`);
    }
    await kubernetes.kubectl(["label", "namespace", "plain", "remora.io/inject-"]);
  });

  t.test("a namespace's annotations are checked, and are the defaults of its pods", async (t) => {
    const bad = await kubernetes.kubectl(["annotate", "namespace", "shop", "remora.io/log-level=loud"]);
    t.equal(bad.code, 1);
    t.match(bad.stderr, /remora\.io\/log-level: "loud" is not allowed; allowed: trace/);
    const good = await kubernetes.kubectl(["annotate", "namespace", "shop", "remora.io/log-level=debug", "remora.io/allow=shop/*"]);
    t.equal(good.code, 0, good.stderr);
    await until("the injector knows the defaults", 20_000, async () => {
      const pod = await kubernetes.api.object("/api/v1/namespaces/shop/pods?dryRun=All", {
        body: { metadata: { name: "probe" }, spec: { containers: [{ name: "a", image: "busybox" }] } },
      });
      return JSON.stringify(pod["spec"]).includes('{"name":"REMORA_LOG_LEVEL","value":"debug"}');
    });
  });

  t.test("a running deployment is explained with its settings, its pods and what the registry knows", async (t) => {
    const applied = await apply(deployment({ annotations: { "remora.io/log-level": "warn" } }));
    t.equal(applied.code, 0, applied.stderr);
    const pod = await createPodOf("Deployment", "shop", "web");
    await node.run("shop/web", pod);
    const found = await explainedWhen(
      "the registry has heard that the pod is ready",
      ({ pods }) => pods[0]?.instance?.state === "ready",
      "deploy/web",
      "-n",
      "shop",
    );
    t.match(found, {
      schema: "remora.io/explanation/v1",
      decision: { action: "inject", reason: "namespace_enabled" },
      release: { owner: "deployment/web" },
      capture: { how: "transparent", inbound: { ports: [{ port: 80 }] } },
      probes: [{ container: "nginx", field: "readinessProbe" }],
      registry: { known: true },
      notes: [],
    });
    t.match(found.pods, [
      {
        name: pod.metadata.name,
        uid: pod.metadata.uid,
        sidecar: { kind: "native", capture: "transparent" },
        differences: [],
        instance: { state: "ready" },
      },
    ]);
    const setting = (name: string) => found.settings.find((one) => one.name === `remora.io/${name}`);
    t.match(setting("log-level"), { value: "warn", origin: "pod" });
    t.match(setting("allow"), { value: "shop/*", origin: "namespace" });
    t.match(setting("egress"), { origin: "default" });

    const one = await explained("pod", pod.metadata.name ?? "", "-n", "shop");
    t.match(
      one,
      { subject: { kind: "Pod" }, decision: { action: "inject" }, pods: [{ differences: [] }] },
      "the pod as it was sent, not as it is",
    );
    const { text } = await remora("explain", "deploy", "web", "-n", "shop");
    t.match(text, /as it would be now/);
    t.match(text, /registry: ready/);
    t.comment(text);
  });

  t.test("what the platform enforces: its file is checked, workloads cannot weaken it, running pods that differ are told", async (t) => {
    const bad = await apply(platform("enforced: {minimumMode: soft}\nchannel: {}\n"));
    t.equal(bad.code, 1);
    t.match(bad.stderr, /invalid_platform.*enforced\.minimumMode: "soft" is not allowed.*did you mean channels\?/);
    const good = await apply(platform('enforced: {minimumMode: strict, minimumVerify: sign, optOut: {forbiddenIn: ["shop"]}}\n'));
    t.equal(good.code, 0, good.stderr);
    await until("the injector knows the platform's file", 20_000, async () => {
      const { stderr } = await apply(deployment({ name: "weak", annotations: { "remora.io/mode": "permissive" } }));
      return /"permissive" is not what the platform allows: strict \(enforced\.minimumMode in ConfigMap remora-platform\)/.test(stderr);
    });
    const out = await kubernetes.kubectl(["-n", "shop", "run", "out", "--image=busybox", "--labels=remora.io/inject=disabled"]);
    t.equal(out.code, 1, out.stdout);
    t.match(out.stderr, /opt_out_forbidden/);
    const leaving = await kubernetes.kubectl(["label", "namespace", "shop", "remora.io/inject-"]);
    t.equal(leaving.code, 1, leaving.stdout);
    t.match(leaving.stderr, /opt_out_forbidden/);

    const found = await explained("deploy", "web", "-n", "shop");
    t.match(
      found.settings.find(({ name }) => name === "remora.io/verify"),
      { value: "sign", origin: "platform" },
    );
    t.match(found.pods[0]?.differences, [
      "remora-sidecar env REMORA_MODE: nothing, would be strict",
      "remora-sidecar env REMORA_VERIFY: nothing, would be sign",
    ]);
  });

  t.test("what cannot be read is said", async (t) => {
    const missing = await remora("explain", "deploy", "nobody", "-n", "shop");
    t.match(missing, { code: 1, text: /there is no deployment nobody in namespace shop/ });
    const away = await explained("deploy", "web", "-n", "shop", "--control-address", "127.0.0.1:1");
    t.match(away, { registry: { known: false, why: /127\.0\.0\.1:1: .*ECONNREFUSED/ } });
  });
});
