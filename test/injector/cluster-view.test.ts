// The injector's view of the cluster against a stand-in of the API server: what it knows, how fast it learns, and what it does when it cannot ask.
import t, { type Test } from "tap";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics, type Metrics } from "../../core/metrics.ts";
import { connectClusterApi } from "../../injector/cluster/cluster-api.ts";
import { type ClusterView, readSurroundings, STALE_AFTER_MS, startClusterView } from "../../injector/cluster/cluster-view.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { type KubeApi, startKubeApi } from "../support/kube-api.ts";

const CONTROL = "remora-system";

interface Fixture {
  readonly kube: KubeApi;
  readonly view: ClusterView;
  readonly metrics: Metrics;
}

async function start(t: Test, fill: (kube: KubeApi) => void = () => {}): Promise<Fixture> {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  fill(kube);
  const metrics = createMetrics({ component: "test", version: "0", commit: "0" });
  const api = await connectClusterApi(CONTROL, { kubeconfig: kube.kubeconfig() });
  const view = startClusterView({ api, clock: systemClock, random: () => 0, log: silentLogger(), metrics });
  t.teardown(() => view.close());
  return { kube, view, metrics };
}

/** Asks up to 20 s. */
async function eventually(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 2000 && !holds(); turn += 1) await new Promise((resolve) => setTimeout(resolve, 10));
}

function putNode(kube: KubeApi, name: string, kubeletVersion: string, more: { os?: string; unschedulable?: boolean } = {}): void {
  const nodeInfo = { kubeletVersion, operatingSystem: more.os ?? "linux" };
  kube.put("nodes", {
    metadata: { name },
    spec: more.unschedulable === true ? { unschedulable: true } : {},
    status: { nodeInfo, images: [] },
  });
}

function putPlatform(kube: KubeApi, yaml: string): void {
  kube.put("configmaps", { metadata: { name: "remora-platform", namespace: CONTROL }, data: { "platform.yaml": yaml } });
}

function fillShop(kube: KubeApi): void {
  const annotations = { "remora.io/mode": "permissive", "example.com/novel": "x".repeat(1000) };
  kube.put("namespaces", { metadata: { name: "shop", labels: { "remora.io/inject": "enabled" }, annotations } });
  putNode(kube, "a", "v1.31.2");
  putNode(kube, "b", "v1.30.10-gke.100");
  putNode(kube, "drained", "v1.25.0", { unschedulable: true });
  putNode(kube, "windows", "v1.24.0", { os: "windows" });
  const limits = [{ type: "Container", max: { cpu: "1" }, default: { memory: "128Mi" } }];
  kube.put("limitranges", { metadata: { name: "bounds", namespace: "shop" }, spec: { limits } });
  kube.put("resourcequotas", {
    metadata: { name: "quota", namespace: "shop" },
    spec: { hard: { pods: "10" } },
    status: { used: { pods: "3" } },
  });
  kube.put("resourcequotas", {
    metadata: { name: "best", namespace: "shop" },
    spec: { hard: { pods: "1" }, scopes: ["BestEffort"] },
  });
  putPlatform(kube, "enforced:\n  minimumMode: strict\n");
}

t.test("what is around a pod is known as soon as everything was listed", async (t) => {
  const { view } = await start(t, fillShop);
  t.match(view.missing(), /the cluster is not known yet/);
  t.equal(view.surroundings("shop"), null, "nothing is guessed before");
  await view.synced;
  t.equal(view.missing(), null);
  const shop = view.surroundings("shop");
  t.strictSame(shop?.namespace, {
    name: "shop",
    labels: { "remora.io/inject": "enabled" },
    annotations: { "remora.io/mode": "permissive" },
  });
  t.equal(shop?.oldestKubelet, "v1.30.10-gke.100", "of the nodes that may run a Linux pod");
  t.match(shop?.limitRanges, [
    { name: "bounds", items: [{ type: "Container", max: { cpu: "1" }, default: { memory: "128Mi" }, min: {} }] },
  ]);
  t.match(
    [...(shop?.quotas ?? [])].sort((a, b) => (a.name < b.name ? -1 : 1)),
    [
      { name: "best", scoped: true },
      { name: "quota", hard: { pods: "10" }, used: { pods: "3" }, scoped: false },
    ],
  );
  t.equal(shop?.platform.enforced.minimumMode, "strict");
  t.equal(view.surroundings("shop"), shop, "the same snapshot until something changes");
});

t.test("changes arrive by themselves", async (t) => {
  const { view, kube } = await start(t, fillShop);
  await view.synced;
  const before = view.surroundings("shop");
  putNode(kube, "old", "v1.28.1");
  await eventually(() => view.surroundings("shop")?.oldestKubelet === "v1.28.1");
  t.equal(view.surroundings("shop")?.oldestKubelet, "v1.28.1");
  t.equal(before?.oldestKubelet, "v1.30.10-gke.100", "a snapshot does not change");
  kube.remove("nodes", null, "old");
  kube.remove("limitranges", "shop", "bounds");
  kube.put("namespaces", { metadata: { name: "shop", annotations: { "remora.io/mode": "strict" } } });
  const isThere = () => {
    const shop = view.surroundings("shop");
    const { mode } = { mode: shop?.namespace.annotations["remora.io/mode"] };
    return shop?.oldestKubelet === "v1.30.10-gke.100" && shop.limitRanges.length === 0 && mode === "strict";
  };
  await eventually(isThere);
  t.ok(isThere());
});

t.test("watches that break are resumed or listed again, and nothing is lost in between", async (t) => {
  const { view, kube } = await start(t, fillShop);
  await view.synced;
  kube.dropWatches();
  kube.put("namespaces", { metadata: { name: "late" } });
  await eventually(() => view.surroundings("late") !== null);
  t.ok(view.surroundings("late"), "after a resume");
  kube.dropWatches({ forget: true });
  kube.put("namespaces", { metadata: { name: "later" } });
  kube.remove("namespaces", null, "late");
  await eventually(() => view.surroundings("later") !== null && view.surroundings("late") === null);
  t.ok(view.surroundings("later"), "after a list");
  t.equal(view.surroundings("late"), null, "what is gone is gone");
});

t.test("an API server that refuses is asked again, and named", async (t) => {
  const { view, kube } = await start(t, (kube) => {
    fillShop(kube);
    kube.failNext(403, 2, ({ resource }) => resource === "nodes");
  });
  await eventually(() => /nodes/.test(view.missing() ?? ""));
  t.match(view.missing(), /nodes: the API server answers 403, the service account lacks the right/);
  await view.synced;
  t.equal(view.missing(), null);
  t.ok(kube.requests.filter(({ resource, verb }) => resource === "nodes" && verb === "list").length >= 3);
});

t.test("a namespace that the watch does not know yet is read at once, one time for many pods", async (t) => {
  const { view, kube } = await start(t, fillShop);
  await view.synced;
  kube.dropWatches({ forget: true });
  kube.failNext(500, 50, ({ resource, verb }) => resource === "namespaces" && verb !== "get");
  kube.put("namespaces", { metadata: { name: "fresh", annotations: { "remora.io/mode": "permissive" } } });
  t.equal(view.surroundings("fresh"), null);
  const [first, second] = await Promise.all([view.readNamespace("fresh"), view.readNamespace("fresh")]);
  t.equal(first?.namespace.annotations["remora.io/mode"], "permissive");
  t.equal(second, first);
  t.ok(view.surroundings("fresh"), "and remembered until the watch brings it");
  t.equal(kube.requests.filter(({ resource, verb }) => resource === "namespaces" && verb === "get").length, 1);
  t.equal(await view.readNamespace("nowhere"), null);
  kube.failNext(500, 1, ({ resource, verb }) => resource === "namespaces" && verb === "get");
  await t.rejects(view.readNamespace("other"), /cannot read namespace other: the API server answers 500/);
});

t.test("mistakes in the platform's ConfigMap leave what it said before in force", async (t) => {
  const { view, kube } = await start(t, fillShop);
  await view.synced;
  const seen: unknown[] = [];
  const stop = view.onPlatform((platform) => seen.push(platform.enforced.minimumMode));
  putPlatform(kube, "enforced:\n  minimumMode: lenient\n");
  await eventually(() => view.trouble() !== null);
  t.match(view.trouble(), /ConfigMap remora-system\/remora-platform is not taken.*minimumMode/s);
  t.equal(view.surroundings("shop")?.platform.enforced.minimumMode, "strict");
  t.equal(view.missing(), null);
  putPlatform(kube, "enforced:\n  minimumMode: permissive\n");
  await eventually(() => view.trouble() === null);
  t.equal(view.surroundings("shop")?.platform.enforced.minimumMode, "permissive");
  kube.remove("configmaps", CONTROL, "remora-platform");
  await eventually(() => view.platform()?.enforced.minimumMode === null);
  t.strictSame(seen, ["permissive", null], "without the ConfigMap nothing is enforced");
  stop();
});

t.test("mistakes from the beginning: nothing is judged, as nobody knows what is enforced", async (t) => {
  const { view, kube } = await start(t, (kube) => {
    fillShop(kube);
    putPlatform(kube, "enforced: [");
  });
  await view.synced;
  t.match(view.missing(), /ConfigMap remora-system\/remora-platform cannot be understood: platform\.yaml:1/);
  t.equal(view.surroundings("shop"), null);
  putPlatform(kube, "");
  await eventually(() => view.missing() === null);
  t.ok(view.surroundings("shop"));
});

t.test("a view that hears nothing says since when, and serves what it knows", async (t) => {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  fillShop(kube);
  const metrics = createMetrics({ component: "test", version: "0", commit: "0" });
  const clock = createFakeClock();
  const api = await connectClusterApi(CONTROL, { kubeconfig: kube.kubeconfig() });
  const view = startClusterView({ api, clock, random: () => 0, log: silentLogger(), metrics });
  t.teardown(() => view.close());
  await view.synced;
  await eventually(() => kube.requests.filter(({ verb }) => verb === "watch").length === 5);
  await new Promise((resolve) => setTimeout(resolve, 50));
  t.match(await metrics.registry.metrics(), /remora_cluster_view_stale_seconds\{[^}]*\} 0\n|remora_cluster_view_stale_seconds 0\n/);
  kube.failNext(500, 1000);
  kube.dropWatches();
  await new Promise((resolve) => setTimeout(resolve, 50));
  await clock.advanceAsync(STALE_AFTER_MS + 1000, 5000);
  await eventually(() => view.trouble() !== null);
  t.match(view.trouble(), /the view of the cluster is 6\d s old/);
  t.ok(view.surroundings("shop"));
  t.equal(view.missing(), null);
});

t.test("the command line reads once, and says what it may not see", async (t) => {
  const kube = await startKubeApi({ authorize: ({ resource }) => resource !== "nodes" });
  t.teardown(() => kube.close());
  fillShop(kube);
  const api = await connectClusterApi(CONTROL, { kubeconfig: kube.kubeconfig() });
  const unknown: string[] = [];
  const shop = await readSurroundings(api, "shop", (sentence) => unknown.push(sentence));
  t.match(shop, { namespace: { name: "shop" }, oldestKubelet: null, platform: { enforced: { minimumMode: "strict" } } });
  t.equal(shop.quotas.length, 2);
  t.strictSame(unknown, ["you may not list nodes, so they are taken as unknown"]);
  await t.rejects(readSurroundings(api, "nowhere"), /there is no namespace nowhere/);
});
