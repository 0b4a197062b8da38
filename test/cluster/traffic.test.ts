// What the API server stored is what runs: pods that real kubectl and the real webhook made carry traffic through the mesh, with identities that the API
// server vouches for and services that the registry has read there.
import { execFile } from "node:child_process";
import { resolve } from "node:path";
import t from "tap";
import { client, NGINX } from "../e2e/manifests.ts";
import { until } from "../e2e/until.ts";
import type { ApiObject } from "../support/kubernetes/api-client.ts";
import type { RunningPod } from "../support/pod-runner/pod.ts";
import { requires } from "../support/requires.ts";
import { CONTROL_NAMESPACE, install, kubectl, lacksCluster } from "./installation.ts";
import { isInjected, storedPod } from "./stored-pod.ts";

t.setTimeout(800_000);

const REMORA = resolve(import.meta.dirname, "../../bin/remora");
const LEARN_TIMEOUT_MS = 30_000;
const COMMAND_TIMEOUT_MS = 110_000;
/** The old root goes when the last leaf that it may have signed has ended. */
const LEAF_TTL = { name: "REMORA_LEAF_TTL", value: "30s" };
const CLIENT = "spiffe://cluster.local/ns/shop/sa/client";
const WEB = "spiffe://cluster.local/ns/shop/sa/web";

const ACCOUNTS = ["shop", "legacy"]
  .map((namespace) => `---\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: client, namespace: ${namespace} }\n`)
  .join("");

const job = (url: string, native: boolean) => `
apiVersion: batch/v1
kind: Job
metadata: { name: ${native ? "native" : "legacy"}, namespace: shop }
spec:
  template:
    metadata: { annotations: { remora.io/native-sidecar: "${native}" } }
    spec:
      serviceAccountName: client
      restartPolicy: Never
      containers:
        - name: work
          image: curl
          command: [curl, -sS, --fail, --retry, "20", --retry-delay, "1", --retry-all-errors, "${url}"]
          securityContext: { runAsUser: 1000 }
`;

t.test("admitted pods", { skip: lacksCluster || requires("nginx", "curl") }, async (t) => {
  const installation = await install(t, {
    beforeStart: async (kubernetes) => {
      const spec = { template: { spec: { containers: [{ name: "control", env: [LEAF_TTL] }] } } };
      const patch = JSON.stringify({ spec });
      await kubectl(kubernetes, ["patch", "deployment", "remora-control", "-n", CONTROL_NAMESPACE, "-p", patch]);
    },
  });
  const { kubernetes, node } = installation;
  await kubernetes.createNamespace("shop", { labels: { "remora.io/inject": "enabled" } });
  await kubernetes.createNamespace("legacy");
  await installation.apply(`${ACCOUNTS}---${NGINX}---${client("shop")}---${client("legacy")}`);
  const stored = (namespace: string, name: string) => kubernetes.api.object(`/api/v1/namespaces/${namespace}/pods/${name}`);
  const run = async (owner: string, pod: ApiObject) => ({ pod, running: await node.run(owner, pod) });
  const web = await run("shop/web", await installation.createPodOf("Deployment", "shop", "web"));
  const meshed = await run("shop/client", await stored("shop", "client"));
  const outside = await run("legacy/client", await stored("legacy", "client"));
  const service = await kubernetes.api.object("/api/v1/namespaces/shop/services/web");
  const url = `http://${(service["spec"] as { readonly clusterIP: string }).clusterIP}:8000/`;
  const curl = (pod: RunningPod, ...args: readonly string[]) => pod.exec("app", ["curl", "-sS", "-m", "5", ...args]);

  t.test("reach each other through mutual TLS, by the Service's cluster address and by its name", async (t) => {
    t.ok(isInjected(storedPod(web.pod)) && isInjected(storedPod(meshed.pod)), "both have sidecars");
    t.notOk(isInjected(storedPod(outside.pod)), "the other has none");
    // The registry hears of the Service's endpoints from the API server, and of the sidecar from its heartbeat.
    await until("the mesh knows the way", LEARN_TIMEOUT_MS, async () =>
      (await curl(meshed.running, url)).stdout.includes("hello from nginx"),
    );
    for (const target of [url, "http://web.shop:8000/", "http://web.shop.svc.cluster.local:8000/echo"]) {
      const { stdout, stderr } = await curl(meshed.running, "-w", "%{http_code}", target);
      t.match(stdout, /200$/, `${target} ${stderr}`);
      t.match(stdout, `URI=${CLIENT}`, "nginx is told who called");
    }
  });

  t.test("turn away who is not in the mesh", async (t) => {
    const [address = ""] = web.running.facts.podIps;
    t.not((await curl(outside.running, `http://${address}/`)).code, 0);
    t.notMatch(web.running.log("nginx"), /curl.*legacy/);
  });

  t.test("are what the registry says of them", async (t) => {
    const [control] = node.pods(`${CONTROL_NAMESPACE}/remora-control`);
    const refused = await outside.running.exec("app", ["curl", "-sS", `http://${control?.facts.podIps[0]}:15014/api/v1/instances`]);
    t.match(refused.stdout, /unauthenticated/, "no pod reads the whole mesh by itself");
    const answer = (await control?.exec("control", ["curl", "-sS", "http://127.0.0.1:15014/api/v1/instances"])) ?? { stdout: "" };
    const { instances } = JSON.parse(answer.stdout) as { readonly instances: ReadonlyArray<Readonly<Record<string, unknown>>> };
    const known = instances.find(({ instanceId }) => instanceId === web.pod.metadata.uid);
    t.match(known, { identity: WEB, namespace: "shop", state: "ready" }, answer.stdout);
  });

  t.test("are probed through the sidecar, and ready for the API server too", async (t) => {
    const probes = web.running.log("nginx").split("\n").length;
    await until("another probe", 30_000, () => web.running.log("nginx").split("\n").length > probes);
    const { status } = (await stored("shop", web.pod.metadata.name ?? "")) as {
      readonly status?: { readonly conditions?: readonly object[] };
    };
    t.match(status?.conditions, [{ type: "Ready", status: "True" }]);
  });

  for (const native of [true, false]) {
    t.test(`do their work as jobs, ${native ? "with a native" : "with a plain"} sidecar`, async (t) => {
      await installation.apply(job(url, native));
      const pod = await installation.createPodOf("Job", "shop", native ? "native" : "legacy");
      t.equal(
        storedPod(pod).spec.initContainers?.some(({ name }) => name === "remora-sidecar"),
        native,
        "where the sidecar stands",
      );
      const running = await node.start("shop/job", pod);
      const ended = () => running.events.find(({ container, what }) => container === "work" && what === "exited");
      await until("the job's container has ended", 40_000, () => ended() !== undefined);
      t.equal(ended()?.detail, "exit status 0", running.log("work"));
      t.match(running.log("work"), "hello from nginx");
      await node.remove(running);
    });
  }

  t.test("change the mesh's root under load, by the command line and the API server alone", async (t) => {
    const ca = (...words: readonly string[]) => remora(kubernetes.kubeconfig, "ca", ...words);
    const secret = () => kubernetes.api.object(`/api/v1/namespaces/${CONTROL_NAMESPACE}/secrets/remora-ca`);
    const before = (await secret()) as unknown as StoredCa;
    t.match(await ca("status"), { code: 0, stdout: /remora-system\/remora-ca.*signs +2 +2 .*2 live workloads/s });
    const calls = callUntilStopped(() => curl(meshed.running, "--fail", url));

    t.match(await ca("rotate", "issue"), { code: 1, stderr: /add/ }, "steps have an order");
    t.match(await ca("rotate", "add"), { code: 0 });
    t.match(await ca("rotate", "issue", "--wait", "60s"), { code: 0 });
    t.match(await ca("rotate", "remove"), { code: 3 }, "leaves of the old root live");
    t.match(await ca("rotate", "remove", "--wait", "90s"), { code: 0 });

    const failures = await calls.stop();
    t.ok(calls.count() > 20, `${calls.count()} calls`);
    t.strictSame(failures, [], "no call failed");
    const after = (await secret()) as unknown as StoredCa;
    t.not(after.data["tls.crt"], before.data["tls.crt"], "another root is kept");
    t.notMatch(Object.keys(after.data), /next|old/, "and no other");
  });
});

interface StoredCa {
  readonly data: Readonly<Record<string, string>>;
}

/** The real command line, with the administrator's kubeconfig. */
function remora(kubeconfig: string, ...words: readonly string[]) {
  return new Promise<{ readonly code: number; readonly stdout: string; readonly stderr: string }>((done) => {
    const args = [...words, "--kubeconfig", kubeconfig];
    execFile(REMORA, args, { timeout: COMMAND_TIMEOUT_MS, env: { ...process.env, NO_COLOR: "1" } }, (error, stdout, stderr) => {
      done({ code: error === null ? 0 : typeof error.code === "number" ? error.code : 1, stdout, stderr });
    });
  });
}

/** One call after the other, and what the failed ones said. */
function callUntilStopped(call: () => Promise<{ readonly code: number | null; readonly stderr: string }>) {
  const failures: string[] = [];
  let count = 0;
  let isStopped = false;
  const loop = (async () => {
    while (!isStopped) {
      const { code, stderr } = await call();
      count += 1;
      if (code !== 0) failures.push(`call ${count}: ${code} ${stderr}`);
    }
  })();
  return {
    count: () => count,
    stop: async () => {
      isStopped = true;
      await loop;
      return failures;
    },
  };
}
