import { writeFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ANNOTATIONS } from "../../injector/annotations/annotations.ts";
import { ranRemora, temporaryFolder } from "./remora.ts";

const NAMESPACE = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {remora.io/inject: enabled}, annotations: {remora.io/allow: "shop/*", remora.io/log-level: debug}}
`;
const PLATFORM = `
apiVersion: v1
kind: ConfigMap
metadata: {name: remora-platform, namespace: remora-system}
data:
  platform.yaml: |
    enforced: {minimumMode: strict, minimumVerify: hmac}
    channels: {stable: "0.1.0", canary: "0.2.0"}
    assign: [{namespace: shop, workload: "deployment/web", channel: canary}]
`;
const DEPLOYMENT = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}, annotations: {remora.io/log-level: warn, remora.io/skip-outbound-ports: "443", remora.io/mod: x}}
    spec:
      containers:
      - name: web
        image: nginx
        ports: [{name: http, containerPort: 8080}, {name: grpc-api, containerPort: 9090}]
        readinessProbe: {httpGet: {path: /ready, port: http}}
`;
const CRONJOB = `
apiVersion: batch/v1
kind: CronJob
metadata: {name: night, namespace: elsewhere}
spec: {schedule: "0 0 * * *", jobTemplate: {spec: {template: {metadata: {annotations: {remora.io/mode: soft}}, spec: {restartPolicy: Never, containers: [{name: a, image: b}]}}}}}
`;

function manifest(t: Test, ...documents: readonly string[]): string {
  const path = join(temporaryFolder(t), "manifest.yaml");
  writeFileSync(path, documents.join("---"));
  return path;
}

interface Explained {
  readonly schema: string;
  readonly decision: { readonly action: string; readonly reason: string; readonly message: string };
  readonly settings: readonly { readonly name: string; readonly value: string; readonly origin: string; readonly allowed: boolean }[];
  readonly [field: string]: unknown;
}

async function explained(t: Test, args: readonly string[]): Promise<Explained> {
  const { code, text } = await ranRemora(t, ["explain", "-o", "json", ...args]);
  t.equal(code, 0, text);
  return JSON.parse(text) as Explained;
}

t.test("a deployment of a file is explained: decision, release, capture, probes, patch, and where every setting came from", async (t) => {
  const found = await explained(t, ["deploy/web", "-f", manifest(t, NAMESPACE, PLATFORM, DEPLOYMENT)]);
  t.match(found, {
    schema: "remora.io/explanation/v1",
    subject: { kind: "Deployment", name: "web", namespace: "shop" },
    decision: { action: "inject", reason: "namespace_enabled" },
    release: { owner: "deployment/web", channel: "canary", version: "0.2.0", why: "rule 1 of the platform assigns canary" },
    sidecar: { kind: "native" },
    capture: {
      how: "transparent",
      inbound: {
        port: 15006,
        ports: [
          { port: 8080, protocol: "detect" },
          { port: 9090, protocol: "grpc" },
        ],
        skippedPorts: [],
      },
      outbound: { port: 15001, skippedPorts: [53, 443] },
      adminPort: 15020,
      proxyUid: 1337,
    },
    probes: [{ container: "web", field: "readinessProbe", before: "http GET /ready on port http", after: /on the sidecar's port 15020/ }],
    notes: [],
    pods: null,
    registry: null,
  });
  t.ok((found["warnings"] as string[]).some((warning) => warning.includes("did you mean remora.io/mode?")));
  t.ok((found["patch"] as { path: string }[]).some(({ path }) => path === "/spec/initContainers"));
  t.strictSame(
    found.settings.map(({ name }) => name),
    Object.keys(ANNOTATIONS).map((name) => `remora.io/${name}`),
    "every setting",
  );
  const origin = (name: string) => found.settings.find((setting) => setting.name === `remora.io/${name}`);
  t.match(origin("log-level"), { value: "warn", origin: "pod" }, "the pod's beats the namespace's");
  t.match(origin("allow"), { value: "shop/*", origin: "namespace" });
  t.match(origin("mode"), { value: "strict", origin: "platform" });
  t.match(origin("verify"), { value: "hmac", origin: "platform" });
  t.match(origin("channel"), { value: "canary", origin: "platform" });
  t.match(origin("image"), { value: /0\.2\.0$/, origin: "platform" });
  t.match(origin("egress"), { value: "allow", origin: "default" });
});

t.test("a file's workloads are explained one after the other; what is refused says which value is not allowed", async (t) => {
  const found = (await explained(t, ["-f", manifest(t, DEPLOYMENT, CRONJOB)])) as unknown as readonly Explained[];
  t.match(
    found.map(({ decision }) => decision),
    [
      { action: "inject", reason: "asked" },
      { action: "refuse", reason: "invalid_annotation", message: /remora\.io\/mode: "soft" is not allowed/ },
    ],
  );
  t.match(found[1], { sidecar: null, release: null, capture: null, probes: [], patch: [], notes: [/no Namespace elsewhere/] });
  t.match(found[1]?.settings[0], { name: "remora.io/mode", value: "soft", origin: "pod", allowed: false });
  t.match((await ranRemora(t, ["explain", "cj", "night", "-f", manifest(t, CRONJOB)])).text, /remora\.io\/mode +pod +soft \(not allowed\)/);
});

t.test("the labels decide as in the cluster when the file has the namespace", async (t) => {
  const off = NAMESPACE.replace("remora.io/inject: enabled", "team: x");
  t.match((await explained(t, ["deploy", "web", "-f", manifest(t, off, DEPLOYMENT)])).decision, {
    action: "skip",
    reason: "namespace_not_enabled",
  });
  const wrong = NAMESPACE.replace("remora.io/inject: enabled", "remora.io/inject: Enabled");
  t.match((await explained(t, ["deploy", "web", "-f", manifest(t, wrong, DEPLOYMENT)])).decision, {
    action: "skip",
    reason: "namespace_label_unknown",
  });
});

t.test("the text fits a pipe, has no colours in it, and nothing that a terminal would obey", async (t) => {
  const hostile = DEPLOYMENT.replace("remora.io/mod: x", 'remora.io/image: "a\\u001b[31m\\u202e", "remora.io/\\u001b]0;x\\u0007": x');
  const { code, text } = await ranRemora(t, ["explain", "deploy", "web", "-f", manifest(t, NAMESPACE, hostile)]);
  t.equal(code, 0);
  t.notMatch(text.replaceAll("\n", ""), /[\p{Cc}\p{Cf}]/u);
  t.match(text, /^deployment\/web in shop$/m);
  t.match(text, /^Decision {5}refused \(invalid_annotation\)$/m);
  const fine = await ranRemora(t, ["explain", "deploy", "web", "-f", manifest(t, NAMESPACE, DEPLOYMENT)]);
  for (const line of fine.text.split("\n")) if (!/^ {2}(?:add|remove|replace)/.test(line)) t.ok(line.length <= 120, line);
  t.match(fine.text, /^ {2}out {8}every TCP connection except to ports 53, 443, and those of user 1337$/m);
});

t.test("what cannot be explained says why", async (t) => {
  const file = manifest(t, DEPLOYMENT);
  const broken = manifest(t, PLATFORM.replace("minimumMode: strict", "minimumMode: soft"), DEPLOYMENT);
  const [nothing, kind, half, missing, platform, kubeconfig] = await Promise.all([
    ranRemora(t, ["explain"]),
    ranRemora(t, ["explain", "deployement", "web", "-f", file]),
    ranRemora(t, ["explain", "deploy", "-f", file]),
    ranRemora(t, ["explain", "deploy", "api", "-f", file]),
    ranRemora(t, ["explain", "-f", broken]),
    ranRemora(t, ["explain", "pod", "x", "--kubeconfig", "/no/such/file"]),
  ]);
  t.match(nothing, { code: 1, text: /KIND NAME in the cluster, or -f FILE/ });
  t.match(kind, { code: 1, text: /"deployement" is no kind of workload; did you mean deployment\?/ });
  t.match(half, { code: 1, text: /which deploy\? Expected KIND NAME or KIND\/NAME/ });
  t.match(missing, { code: 1, text: /there is no deployment\/api in/ });
  t.match(platform, { code: 1, text: /enforced\.minimumMode: "soft" is not allowed/ });
  t.match(kubeconfig, { code: 1, text: /KUBECONFIG: \/no\/such\/file cannot be read/ });
});
