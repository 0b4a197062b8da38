// `remora inject`, `remora uninject` and `remora install` as people run them: real processes, files and pipes.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import t from "tap";
import { parseAllDocuments } from "yaml";

t.setTimeout(300_000); // some twenty processes, on a machine that may be busy

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const NGINX = fileURLToPath(new URL("../../manifests/examples/nginx.yaml", import.meta.url));
const GOLDEN = fileURLToPath(new URL("golden/", import.meta.url));

interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

function remora(words: readonly string[], input = ""): Promise<Outcome> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [MAIN, ...words], { timeout: 60_000 });
    const [out, err]: [Buffer[], Buffer[]] = [[], []];
    child.stdout.on("data", (chunk: Buffer) => out.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => err.push(chunk));
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({ code: code ?? -1, stdout: Buffer.concat(out).toString(), stderr: Buffer.concat(err).toString() }),
    );
    child.stdin.on("error", () => {}); // it may have ended without reading
    child.stdin.end(input);
  });
}

function documents(text: string): unknown[] {
  return parseAllDocuments(text, { version: "1.1" }).map((document) => document.toJS() as unknown);
}

t.test("a manifest goes through inject and uninject and is what it was", async (t) => {
  const source = await readFile(NGINX, "utf8");
  const injected = await remora(["inject", "-f", NGINX]);
  t.equal(injected.code, 0, injected.stderr);
  t.match(injected.stderr, /deployment\/nginx: injected \(asked\)\nservice\/nginx: left as it is: no pod in it/);
  t.match(injected.stdout, /name: remora-sidecar/);
  t.match(injected.stdout, /^# An unmodified nginx behind a Service/, "comments stay");
  t.ok(injected.stdout.endsWith(source.slice(source.indexOf("---"))), "what does not change keeps every byte");

  const twice = await remora(["inject", "-f", "-"], injected.stdout);
  t.equal(twice.stdout, injected.stdout);
  t.match(twice.stderr, /left as it is \(already_injected/);

  const back = await remora(["uninject", "-f", "-"], injected.stdout);
  t.equal(back.code, 0, back.stderr);
  t.strictSame(documents(back.stdout), documents(source));
});

t.test("a patch and a diff show the change and nothing else", async (t) => {
  const patch = await remora(["inject", "-f", NGINX, "-o", "patch"]);
  const lines = patch.stdout
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { target: string; path: string[]; patch: object[] });
  t.match(lines, [{ target: "deployment/nginx", path: ["spec", "template"] }]);
  const diff = await remora(["inject", "-f", NGINX, "-o", "diff"]);
  const removed = diff.stdout.split("\n").filter((line) => line.startsWith("-") && !line.startsWith("---"));
  t.strictSame(
    removed.map((line) => line.trim()),
    ["-            path: /", "-            port: http"],
    "only the probe lost lines",
  );
});

t.test("every kind with a pod is found, in lists and streams, and everything else passes", async (t) => {
  const template = "{metadata: {}, spec: {containers: [{name: a, image: b}]}}";
  const kinds = [
    ["v1", "ReplicationController", `spec: {template: ${template}}`],
    ["apps/v1", "Deployment", `spec: {template: ${template}}`],
    ["apps/v1", "ReplicaSet", `spec: {template: ${template}}`],
    ["apps/v1", "StatefulSet", `spec: {template: ${template}}`],
    ["apps/v1", "DaemonSet", `spec: {template: ${template}}`],
    ["batch/v1", "Job", `spec: {template: ${template}}`],
    ["batch/v1", "CronJob", `spec: {jobTemplate: {spec: {template: ${template}}}}`],
    ["v1", "Pod", "spec: {containers: [{name: a, image: b}]}"],
    ["v1", "PodTemplate", `template: ${template}`],
  ] as const;
  const objects = kinds.map(([version, kind, rest]) => `apiVersion: ${version}\nkind: ${kind}\nmetadata: {name: x}\n${rest}\n`);
  const others = [
    "apiVersion: batch.example/v1\nkind: Job\nmetadata: {name: x}\nspec: {template: {spec: {containers: []}}}\n",
    "apiVersion: v1\nkind: Namespace\nmetadata: {name: n}\n",
    "# nothing but a comment\n",
    "just a text\n",
  ];
  const list = `apiVersion: v1\nkind: List\nitems:\n${objects.map((object) => `- ${object.trim().replaceAll("\n", "\n  ")}`).join("\n")}\n`;
  const { code, stdout, stderr } = await remora(["inject", "-f", "-"], [...objects, ...others, list].join("---\n"));
  t.equal(code, 0, stderr);
  t.equal(stderr.match(/: injected \(asked\)/g)?.length, kinds.length * 2);
  t.equal(stdout.match(/name: remora-sidecar/g)?.length, kinds.length * 2);
  for (const other of others) t.ok(stdout.includes(other), "unchanged");
});

t.test("labels are honoured, and one in the wrong place is pointed out", async (t) => {
  const deployment = (label: string) =>
    `apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x, labels: {remora.io/inject: enabled}}\nspec: {template: {metadata: {labels: {${label}}}, spec: {containers: [{name: a}]}}}\n`;
  const [off, wrong] = await Promise.all(
    ["disabled", "'on'"].map((value) => remora(["inject", "-f", "-"], deployment(`remora.io/inject: ${value}`))),
  );
  t.equal(off?.stdout, deployment("remora.io/inject: disabled"));
  t.match(off?.stderr, /left as it is \(pod_disabled: /);
  t.match(off?.stderr, /warning: the label remora\.io\/inject has no effect on deployment\/x; it belongs on the pod template/);
  t.match(wrong?.stderr, /pod_label_unknown/);
});

t.test("aliases, words that YAML takes for booleans, and JSON survive", async (t) => {
  const aliased =
    "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  containers:\n  - &app {name: a, image: b, env: [{name: A, value: 'on'}]}\n  - {<<: *app, name: c}\n";
  const one = await remora(["inject", "-f", "-"], aliased);
  t.equal(one.code, 0, one.stderr);
  t.match(documents(one.stdout), [
    {
      spec: {
        containers: [
          { name: "a", env: [{ value: "on" }] },
          { name: "c", image: "b", env: [{ value: "on" }] },
        ],
      },
    },
  ]);
  t.match(one.stdout, /value: ['"]on['"]/);
  const json = JSON.stringify({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "x", annotations: { flag: "yes", number: "0777", date: "2026-01-01" } },
    spec: { containers: [{ name: "a" }] },
  });
  const two = await remora(["inject", "-f", "-"], json);
  t.match(documents(two.stdout), [{ metadata: { annotations: { flag: "yes", number: "0777", date: "2026-01-01" } } }]);
});

t.test("what cannot be injected prints nothing to apply, says why, and fails", async (t) => {
  const pod = (rest: string) => `apiVersion: v1\nkind: Pod\nmetadata:\n  name: x\n  annotations: {remora.io/mode: soft}\n${rest}`;
  const bomb = `a0: &a0 [x,x,x,x,x,x,x,x,x]\n${[1, 2, 3, 4, 5, 6, 7, 8]
    .map(
      (n) =>
        `a${n}: &a${n} [${Array(9)
          .fill(`*a${n - 1}`)
          .join(",")}]`,
    )
    .join("\n")}\n`;
  const [bad, shape, syntax, missing, nothing, pin, aliases] = await Promise.all([
    remora(["inject", "-f", "-"], pod("spec: {containers: [{name: a}]}\n")),
    remora(["inject", "-f", "-"], "apiVersion: v1\nkind: Pod\nspec: {containers: 3}\n"),
    remora(["inject", "-f", "-"], "a: 1\n---\nb: [\n"),
    remora(["inject", "-f", "/no/such/file"]),
    remora(["inject"]),
    remora(["inject", "-f", NGINX, "--trust-pin", "abc"]),
    remora(["inject", "-f", "-"], bomb),
  ]);
  t.match(bad, {
    code: 1,
    stdout: "",
    stderr: /pod\/x: refused \(invalid_annotation: annotation remora\.io\/mode: "soft" is not allowed; allowed: strict, permissive\)/,
  });
  t.match(shape, { code: 1, stdout: "", stderr: /malformed_pod.*spec\.containers must be a list/ });
  t.match(syntax, { code: 1, stdout: "", stderr: /standard input:[0-9]+:[0-9]+: not YAML/ });
  t.match(missing, { code: 1, stdout: "", stderr: /cannot read \/no\/such\/file/ });
  t.match(nothing, { code: 2, stderr: /filename/ });
  t.match(pin, { code: 2, stderr: /sha256/ });
  t.match(aliases, { code: 1, stdout: "", stderr: /alias/i }, "an alias bomb");
});

t.test("settings of the installation reach the sidecar", async (t) => {
  const flags = [
    "--image",
    "mesh/remora:9",
    "--trust-domain",
    "example.org",
    "--mode",
    "permissive",
    "--control-namespace",
    "mesh",
    "--trust-pin",
    `sha256:${"0".repeat(64)}`,
    "--legacy",
  ];
  const { stdout } = await remora(["inject", "-f", `${GOLDEN}deployment.yaml`, ...flags]);
  const [deployment] = documents(stdout) as [
    { spec: { template: { spec: { containers: { name: string; image: string; env: object[] }[] } } } },
  ];
  const sidecar = deployment.spec.template.spec.containers[0];
  t.match(sidecar, { name: "remora-sidecar", image: "mesh/remora:9" });
  t.ok(
    sidecar?.env.some(
      (variable) => JSON.stringify(variable) === JSON.stringify({ name: "REMORA_CONTROL_ADDRESS", value: "remora-control.mesh.svc:15010" }),
    ),
  );
  t.ok(
    sidecar?.env.some(
      (variable) => JSON.stringify(variable) === JSON.stringify({ name: "REMORA_TRUST_PIN", value: `sha256:${"0".repeat(64)}` }),
    ),
  );
});

/** A Deployment in the namespace `shop`. */
const SHOP_WEB =
  "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: shop}\nspec: {template: {metadata: {}, spec: {containers: [{name: a, image: b}]}}}\n";

function namespaceOf(name: string, labels: string, annotations = "{}"): string {
  return `apiVersion: v1\nkind: Namespace\nmetadata: {name: ${name}, labels: ${labels}, annotations: ${annotations}}\n---\n`;
}

t.test("what surrounds the pods is read from the same manifests", async (t) => {
  const secured = "{pod-security.kubernetes.io/enforce: restricted}";
  const bounds =
    "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: LimitRange\n  metadata: {name: small, namespace: shop}\n  spec: {limits: [{type: Container, max: {cpu: 1, memory: 200Mi}}]}\n- apiVersion: v1\n  kind: Node\n  metadata: {name: n}\n  status: {nodeInfo: {kubeletVersion: v1.27.3, operatingSystem: linux}}\n---\n";
  const elsewhere = bounds.replace("namespace: shop", "namespace: other");
  const [refused, auto, bounded, other, off, unclear] = await Promise.all([
    remora(["inject", "-f", "-"], namespaceOf("shop", secured) + SHOP_WEB),
    remora(["inject", "-f", "-"], namespaceOf("shop", secured, "{remora.io/capture: auto}") + SHOP_WEB),
    remora(["inject", "-f", "-"], bounds + SHOP_WEB),
    remora(["inject", "-f", "-"], elsewhere + SHOP_WEB),
    remora(["inject", "-f", "-"], namespaceOf("shop", "{remora.io/inject: disabled}") + SHOP_WEB),
    remora(["inject", "-f", "-"], namespaceOf("shop", "{remora.io/inject: Enabled}") + SHOP_WEB),
  ]);
  t.match(refused, { code: 1, stdout: "", stderr: /deployment\/web in shop: refused \(pod_security: .*remora\.io\/capture: auto/ });
  t.match(auto, { code: 0, stderr: /warning: capture is explicit/ });
  t.notMatch(auto.stdout, "NET_ADMIN");
  t.match(bounded, { code: 0, stderr: /warning: the sidecar gets memory limit 200Mi instead of 256Mi: LimitRange small/ });
  t.match(bounded.stdout, "--for-app-end", "a kubelet of 1.27 runs no native sidecars");
  t.notMatch(other.stderr, "LimitRange small", "another namespace's bounds");
  t.match(off, { code: 0, stderr: /left as it is \(namespace_disabled/ });
  t.match(unclear.stderr, /namespace_label_unknown.*\n {2}warning: The namespace's label/);
});

t.test("flags and further files say what the manifests do not", async (t) => {
  const folder = await mkdtemp(join(tmpdir(), "remora-command-"));
  t.teardown(() => rm(folder, { recursive: true }));
  const around = join(folder, "around.yaml");
  await writeFile(around, namespaceOf("shop", "{pod-security.kubernetes.io/enforce: baseline}"));
  const [level, annotated, old, bad, wrong] = await Promise.all([
    remora(["inject", "-f", "-", "--with", around], SHOP_WEB),
    remora(
      ["inject", "-f", "-", "--with", around, "--namespace-annotation", "remora.io/capture=explicit", "--namespace-label", "a=b=c"],
      SHOP_WEB,
    ),
    remora(["inject", "-f", "-", "--kubelet", "v1.28.4"], SHOP_WEB),
    remora(["inject", "-f", "-", "--kubelet", "new"], SHOP_WEB),
    remora(["inject", "-f", "-", "--namespace-label", "novalue"], SHOP_WEB),
  ]);
  t.match(level, { code: 1, stderr: /pod_security/ });
  t.equal(annotated.code, 0, annotated.stderr);
  t.notMatch(annotated.stdout, "kind: Namespace", "what is only around is not printed");
  t.match(old.stdout, "--for-app-end");
  t.match(bad, { code: 2, stderr: /v1\.31\.2/ });
  t.match(wrong, { code: 2, stderr: /KEY=VALUE/ });
});

t.test("the platform's file decides for the command as it does for the webhook", async (t) => {
  const platform =
    "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: remora-platform, namespace: remora-system}\ndata:\n  platform.yaml: |\n    channels: {stable: 1.4.0, canary: 1.5.0}\n    assign: [{workload: deployment/web, channel: canary}]\n    enforced: {optOut: {forbiddenIn: [shop]}}\n---\n";
  const optedOut = SHOP_WEB.replace("metadata: {},", "metadata: {labels: {remora.io/inject: disabled}},");
  const [canary, refused, broken] = await Promise.all([
    remora(["inject", "-f", "-"], platform + SHOP_WEB),
    remora(["inject", "-f", "-"], namespaceOf("shop", "{remora.io/inject: enabled}") + platform + optedOut),
    remora(["inject", "-f", "-"], platform.replace("enforced", "enforcd") + SHOP_WEB),
  ]);
  t.equal(canary.code, 0, canary.stderr);
  t.match(canary.stdout, "image: remora:1.5.0", "the workload is known by the Deployment's name");
  t.match(refused, { code: 1, stdout: "", stderr: /opt_out_forbidden/ });
  t.match(broken, { code: 1, stdout: "", stderr: /remora-platform/ });
});

t.test("a sidecar without its marker is not taken out by half", async (t) => {
  const injected = (await remora(["inject", "-f", "-"], SHOP_WEB)).stdout;
  const unmarked = injected.replace("remora.io/injected:", "example.org/lost:");
  t.not(unmarked, injected);
  t.match(await remora(["uninject", "-f", "-"], unmarked), {
    code: 1,
    stdout: "",
    stderr: /refused \(no_marker: the container remora-sidecar is there/,
  });
});
