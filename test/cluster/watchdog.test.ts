// The watchdog on the real API server: pods that were made before their namespace was labelled are counted and told of, and restarted when the platform
// says so and the right to do it was given; what would be refused keeps running.
import { resolve } from "node:path";
import t from "tap";
import { until } from "../e2e/until.ts";
import { CONTROL_NAMESPACE, install, kubectl, lacksCluster } from "./installation.ts";
import { simulateWorkloads } from "./simulated-workloads.ts";

t.setTimeout(800_000);

const RESTART_RIGHTS = resolve(import.meta.dirname, "../../manifests/overlays/watchdog-restarts/restart-rbac.yaml");
const GOOD = { requests: 1, errors: 0, refused: 0, beats: true };
const platformOf = (text: string) =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "remora-platform", namespace: CONTROL_NAMESPACE },
    data: { "platform.yaml": text },
  });

t.test("the watchdog", { skip: lacksCluster }, async (t) => {
  const { kubernetes, node, apply } = await install(t);
  await apply(platformOf("watchdog: { restart: false }"));
  await kubernetes.createNamespace("late");
  const control = node.pods(`${CONTROL_NAMESPACE}/remora-control`)[0];
  const workloads = await simulateWorkloads(t, {
    kubernetes,
    namespace: "late",
    names: ["web", "api", "wrong"],
    registry: `http://${control?.facts.podIps[0]}:15014`,
    heartbeatMs: 5000,
    behaviour: () => GOOD,
    annotations: (name) => (name === "wrong" ? { "remora.io/mode": "no-such-mode" } : {}),
  });
  t.equal(workloads.withVersion(null).length, 3, "the namespace is not labelled yet");
  await kubectl(kubernetes, ["label", "namespace", "late", "remora.io/inject=enabled"]);

  const metric = async () => {
    const injector = node.pods(`${CONTROL_NAMESPACE}/remora-injector`)[0];
    const text = await (await fetch(`http://${injector?.facts.podIps[0]}:15014/metrics`)).text();
    const line = text.split("\n").find((candidate) => candidate.startsWith('remora_naked_pods{namespace="late"}'));
    return line === undefined ? 0 : Number(line.split(" ")[1]);
  };
  const events = async () => {
    const { items } = JSON.parse(await kubectl(kubernetes, ["get", "events", "-n", "late", "-o", "json"])) as {
      readonly items: readonly {
        readonly reason: string;
        readonly message: string;
        readonly involvedObject: { readonly kind: string; readonly name: string };
      }[];
    };
    return items.map(({ reason, message, involvedObject }) => `${reason} ${involvedObject.kind}/${involvedObject.name} ${message}`).sort();
  };

  await t.test("naked pods are counted and told of; nothing is restarted", async (t) => {
    await until("the metric counts them", 60_000, async () => (await metric()) === 3);
    await until(
      "each owner has an Event",
      60_000,
      async () => (await events()).filter((line) => line.startsWith("SidecarMissing")).length === 3,
    );
    const told = (await events()).filter((line) => line.startsWith("SidecarMissing"));
    t.match(told[0], /^SidecarMissing Deployment\/api 1 pod should have a sidecar .* kubectl rollout restart deployment api -n late/);
    t.match(told[2], /^SidecarMissing Deployment\/wrong .*would not get it either: .*remora.io\/mode/);
    t.equal(workloads.replaced.size, 0);
  });

  await t.test("told to, it restarts who would get a sidecar, each once", async (t) => {
    await kubectl(kubernetes, ["apply", "-f", RESTART_RIGHTS]);
    await apply(platformOf('watchdog: { restart: true, pace: "1s" }'));
    await until("both were restarted", 90_000, () => ["web", "api"].every((name) => (workloads.pod(name)?.version ?? null) !== null));
    await until("the metric counts only who would be refused", 60_000, async () => (await metric()) === 1);
    await new Promise((done) => setTimeout(done, 15_000));
    t.same(Object.fromEntries(workloads.replaced), { web: 1, api: 1 }, "nobody twice, and not the one that would be refused");
    t.equal(workloads.pod("wrong")?.version, null);
    await until("an Event says so", 60_000, async () =>
      (await events()).some((line) => /^SidecarRestart Deployment\/web Restarted: 1 pod without a sidecar/.test(line)),
    );
  });
});
