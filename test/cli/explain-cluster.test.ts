// `remora explain` against an API server of few words: what it reads, with which rights missing, and what it says when something is broken.
import { createServer } from "node:http";
import { writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import t, { type Test } from "tap";
import { ranRemora, temporaryFolder } from "./remora.ts";

const POD = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: { name: "web", namespace: "shop", uid: "u1", labels: { app: "web" } },
  spec: { containers: [{ name: "app", image: "app:1" }] },
  status: { phase: "Running" },
};
const INJECTOR = {
  spec: {
    template: {
      spec: {
        containers: [
          {
            image: "remora:9.9.9",
            env: [
              { name: "REMORA_SIDECAR_MODE", value: "permissive" },
              { name: "REMORA_SIDECAR_MEMORY_LIMIT", value: "512Mi" },
              { name: "REMORA_CONTROL_NAMESPACE", valueFrom: { fieldRef: { fieldPath: "metadata.namespace" } } },
            ],
          },
        ],
      },
    },
  },
};
const OBJECTS: Readonly<Record<string, unknown>> = {
  "/api/v1/namespaces/shop": {
    metadata: { name: "shop", labels: { "remora.io/inject": "enabled" }, annotations: { "remora.io/allow": "shop/*" } },
  },
  "/api/v1/namespaces/shop/pods/web": POD,
  "/apis/apps/v1/namespaces/shop/deployments/web": {
    kind: "Deployment",
    metadata: { name: "web" },
    spec: { selector: { matchLabels: { app: "web" } }, template: POD },
  },
  "/api/v1/namespaces/shop/pods": { items: [POD] },
  "/apis/apps/v1/namespaces/remora-system/deployments/remora-injector": INJECTOR,
  "/api/v1/namespaces/remora-system/configmaps/remora-trust": { data: { pin: `sha256:${"0".repeat(64)}` } },
  "/api/v1/namespaces/shop/limitranges": { items: [] },
  "/api/v1/namespaces/shop/resourcequotas": { items: [] },
  "/api/v1/nodes": { items: [] },
  "/api/v1/namespaces/remora-system/configmaps": { items: [] },
  "/api/v1/namespaces/remora-system/pods": {
    items: [{ metadata: { name: "remora-control-0" }, status: { phase: "Running", podIP: "10.0.0.1" } }],
  },
  "/api/v1/namespaces/remora-system/pods/remora-control-0:15014/proxy/api/v1/instances": {
    instances: [
      { instanceId: "u1", state: "ready", version: "0.1.0", channel: "stable", services: ["web"], certExpiresAtMs: 0, load: null },
    ],
    total: 1,
  },
};

/** The kubeconfig of an API server that answers from `objects`; a number is a status. */
async function clusterWith(t: Test, changes: Readonly<Record<string, unknown>> = {}): Promise<string> {
  const objects = { ...OBJECTS, ...changes };
  const server = createServer((request, response) => {
    const path = (request.url ?? "").split("?", 1)[0] ?? "";
    const found = objects[path] ?? 404;
    response.setHeader("content-type", "application/json");
    if (typeof found === "number") response.writeHead(found).end(JSON.stringify({ kind: "Status", message: `${path} is ${found}` }));
    else response.end(JSON.stringify(found));
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => void server.close());
  return kubeconfigFor(t, (server.address() as AddressInfo).port);
}

function kubeconfigFor(t: Test, port: number): string {
  const path = join(temporaryFolder(t), "kubeconfig");
  const config = {
    "current-context": "one",
    clusters: [{ name: "a", cluster: { server: `http://127.0.0.1:${port}` } }],
    users: [{ name: "u", user: {} }],
    contexts: [{ name: "one", context: { cluster: "a", user: "u", namespace: "shop" } }],
  };
  writeFileSync(path, JSON.stringify(config));
  return path;
}

async function explained(t: Test, kubeconfig: string, ...args: readonly string[]): Promise<Record<string, unknown>> {
  const { code, text } = await ranRemora(t, ["explain", ...args, "-o", "json", "--kubeconfig", kubeconfig]);
  t.equal(code, 0, text);
  return JSON.parse(text) as Record<string, unknown>;
}

t.test("a pod: the settings of the installed injector, the namespace of the context, what the registry knows", async (t) => {
  const found = await explained(t, await clusterWith(t), "pod", "web");
  t.match(found, {
    subject: { kind: "Pod", name: "web", namespace: "shop" },
    decision: { action: "inject", reason: "namespace_enabled" },
    pods: [
      {
        name: "web",
        phase: "Running",
        sidecar: null,
        differences: ["it would get a sidecar (namespace_enabled)"],
        instance: { state: "ready", services: ["web"] },
      },
    ],
    registry: { known: true, why: null },
    notes: [/the injector runs 9\.9\.9, this command is .*: it may decide differently/],
  });
  const settings = found["settings"] as readonly { readonly name: string }[];
  const setting = (name: string) => settings.find((one) => one.name === `remora.io/${name}`);
  t.match(setting("mode"), { value: "permissive", origin: "installation" });
  t.match(setting("memory-limit"), { value: "512Mi", origin: "installation" });
  t.match(setting("allow"), { value: "shop/*", origin: "namespace" });
  t.match(JSON.stringify(found["patch"]), `sha256:${"0".repeat(64)}`);
});

t.test("a deployment: its pods are found by its selector", async (t) => {
  t.match(await explained(t, await clusterWith(t), "deploy/web"), {
    subject: { kind: "Deployment" },
    release: { owner: "deployment/web" },
    pods: [{ name: "web" }],
  });
});

t.test("what the user may not read is taken as unknown, and said", async (t) => {
  const kubeconfig = await clusterWith(t, {
    "/api/v1/nodes": 403,
    "/apis/apps/v1/namespaces/remora-system/deployments/remora-injector": 403,
    "/api/v1/namespaces/remora-system/pods": 403,
    "/api/v1/namespaces/shop/pods": 403,
  });
  const found = await explained(t, kubeconfig, "deploy/web");
  const notes = (found["notes"] as readonly string[]).join("\n");
  t.match(notes, /you may not list nodes/);
  t.match(notes, /Deployment remora-system\/remora-injector cannot be read, so its settings are taken as the defaults/);
  t.match(notes, /its pods cannot be listed/);
  t.match(found, { decision: { action: "inject" }, pods: [], registry: { known: false, why: /cannot list the control plane's pods/ } });
});

t.test("a broken installation is explained as it is: no injector, a platform file with mistakes, a registry that is away", async (t) => {
  const platform = { metadata: { name: "remora-platform" }, data: { "platform.yaml": "enforced: {minimumMode: soft}" } };
  const kubeconfig = await clusterWith(t, {
    "/apis/apps/v1/namespaces/remora-system/deployments/remora-injector": 404,
    "/api/v1/namespaces/remora-system/configmaps": { items: [platform] },
    "/api/v1/namespaces/remora-system/pods": { items: [] },
  });
  const { code, text } = await ranRemora(t, ["explain", "pod", "web", "--kubeconfig", kubeconfig]);
  t.equal(code, 0, text);
  const line = text.replace(/\s+/g, " ");
  t.match(line, /there is no Deployment remora-system\/remora-injector, so its settings are taken as the defaults/);
  t.match(line, /ConfigMap remora-system\/remora-platform has mistakes, .*enforced\.minimumMode: "soft" is not allowed/);
  t.match(line, /the registry is not known: no replica of it runs/);
});

t.test("an API server that does not answer, or has no such object, is one line", async (t) => {
  const [away, missing] = await Promise.all([
    ranRemora(t, ["explain", "pod", "web", "--kubeconfig", kubeconfigFor(t, 1)]),
    ranRemora(t, ["explain", "pod", "other", "--kubeconfig", await clusterWith(t)]),
  ]);
  t.match(away, {
    code: 1,
    text: /^remora explain: cannot read \/api\/v1\/namespaces\/shop\/pods\/web: connect ECONNREFUSED 127\.0\.0\.1:1$/,
  });
  t.match(missing, { code: 1, text: "remora explain: there is no pod other in namespace shop" });
});
