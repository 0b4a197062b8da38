import t from "tap";
import { silentLogger } from "../../../core/log.ts";
import { createMetrics } from "../../../core/metrics.ts";
import type { WorkloadEvent } from "../../../injector/webhook/events.ts";
import { defaultPlatform, type Platform } from "../../../injector/platform/platform.ts";
import type { RestartOutcome } from "../../../injector/rollout/rollout-api.ts";
import { defaultInjectorSettings } from "../../../injector/settings.ts";
import { noSurroundings } from "../../../injector/surroundings.ts";
import { readWatchedPod, type WatchedPod } from "../../../injector/watchdog/naked-pods.ts";
import { createRestartBudget, FIRST_PAUSE_MS, MAX_ATTEMPTS } from "../../../injector/watchdog/restart-budget.ts";
import { createWatchdog } from "../../../injector/watchdog/watchdog.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const MARKER = JSON.stringify({
  version: "0.1.0",
  sidecar: "native",
  capture: "transparent",
  defaultContainer: true,
  made: {},
  probes: {},
});

interface Given {
  readonly namespace?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly spec?: object;
  readonly status?: object;
  readonly kind?: string;
}

/** A running pod of Deployment `owner`, as the API server stores it. */
function podOf(
  owner: string,
  { namespace = "shop", labels, annotations = {}, spec = {}, status = { phase: "Running" }, kind = "ReplicaSet" }: Given = {},
): object {
  const name = kind === "ReplicaSet" ? `${owner}-5d5f9c7b8` : owner;
  return {
    metadata: {
      name: `${name}-abcde`,
      namespace,
      uid: `uid-${namespace}-${owner}`,
      creationTimestamp: "2026-01-01T00:00:00Z",
      labels: { "pod-template-hash": "5d5f9c7b8", ...labels },
      annotations,
      ownerReferences: [{ apiVersion: "apps/v1", kind, name, uid: "1", controller: true }],
    },
    spec: { nodeName: "node-1", containers: [{ name: "app", image: "app:1" }], ...spec },
    status,
  };
}

/** The watchdog over these pods, in a cluster where every namespace but `plain` is labelled. */
function watch(objects: () => readonly object[], watchdogPolicy: Partial<Platform["watchdog"]> = {}) {
  const clock = createFakeClock();
  const events: WorkloadEvent[] = [];
  const restarts: string[] = [];
  let outcome: RestartOutcome = "restarted";
  const metrics = createMetrics({ component: "test", version: "0.0.0", commit: "test" });
  const platform: Platform = { ...defaultPlatform, watchdog: { restart: false, paceMs: 60_000, ...watchdogPolicy } };
  const nameOf = (object: object) => (object as { readonly metadata: { readonly name: string } }).metadata.name;
  const watchdog = createWatchdog({
    api: {
      readPod: async (_namespace, name) => objects().find((object) => nameOf(object) === name) ?? null,
      restart: async (owner) => {
        restarts.push(owner.name);
        return outcome;
      },
    },
    pods: () =>
      objects()
        .map((object) => readWatchedPod(object, SETTINGS))
        .filter((pod): pod is WatchedPod => pod !== null),
    surroundings: (name) => ({
      ...noSurroundings(name),
      namespace: { name, labels: name === "plain" ? {} : { "remora.io/inject": "enabled" }, annotations: {} },
    }),
    platform: () => platform,
    settings: SETTINGS,
    events: { record: (event) => void events.push(event) },
    clock,
    log: silentLogger(),
    metrics,
  });
  return {
    clock,
    events,
    restarts,
    watchdog,
    answer: (next: RestartOutcome) => {
      outcome = next;
    },
    async gauge(namespace: string) {
      const line = (await metrics.registry.metrics())
        .split("\n")
        .find((text) => text.startsWith(`remora_naked_pods{namespace="${namespace}"}`));
      return line === undefined ? null : Number(line.split(" ")[1]);
    },
  };
}

t.test("only pods that the injector would have given a sidecar are naked", async (t) => {
  const { watchdog, gauge } = watch(() => [
    podOf("naked"),
    podOf("refused", { annotations: { "remora.io/mode": "wrong" } }),
    podOf("asks-itself", { namespace: "plain", labels: { "remora.io/inject": "enabled" } }),
    podOf("meshed", { annotations: { "remora.io/injected": MARKER } }),
    podOf("opted-out", { labels: { "remora.io/inject": "disabled" } }),
    podOf("elsewhere", { namespace: "plain" }),
    podOf("host", { spec: { hostNetwork: true } }),
    podOf("ended", { status: { phase: "Succeeded" } }),
    podOf("unscheduled", { spec: { nodeName: "" } }),
    podOf("system", { namespace: "kube-system" }),
  ]);
  t.same([...watchdog.count().keys()].sort(), ["plain/Deployment/asks-itself", "shop/Deployment/naked", "shop/Deployment/refused"]);
  t.same([await gauge("shop"), await gauge("plain"), await gauge("kube-system")], [2, 1, null]);
});

t.test("the metric goes when the last naked pod does", async (t) => {
  let objects = [podOf("naked")];
  const { watchdog, gauge } = watch(() => objects);
  watchdog.count();
  t.equal(await gauge("shop"), 1);
  objects = [];
  watchdog.count();
  t.equal(await gauge("shop"), null);
});

t.test("an owner is told of once, with what helps; nothing is restarted unless the platform says so", async (t) => {
  const { watchdog, events, restarts, clock } = watch(() => [
    podOf("naked"),
    podOf("refused", { annotations: { "remora.io/mode": "wrong" } }),
  ]);
  await watchdog.round();
  clock.advance(60_000);
  await watchdog.round();
  t.equal(events.length, 2);
  t.match(events[0], {
    reason: "SidecarMissing",
    regarding: { apiVersion: "apps/v1", kind: "Deployment", namespace: "shop", name: "naked" },
  });
  t.match(events[0]?.note, /1 pod should have a sidecar .* kubectl rollout restart deployment naked -n shop/);
  t.match(events[1]?.note, /would not get it either: .*remora.io\/mode/);
  t.same(restarts, []);
  clock.advance(7 * 3600_000);
  await watchdog.round();
  t.equal(events.length, 4, "a reminder after hours");
});

t.test("restarts go at the pace, and leave out who would be refused or is not restarted", async (t) => {
  const objects = [
    ...["a", "b", "c"].map((name) => podOf(name)),
    podOf("refused", { annotations: { "remora.io/mode": "wrong" } }),
    podOf("job", { kind: "Job" }),
  ];
  const { watchdog, restarts, clock } = watch(() => objects, { restart: true, paceMs: 60_000 });
  await watchdog.round();
  t.same(restarts, ["a"]);
  clock.advance(30_000);
  await watchdog.round();
  t.same(restarts, ["a"], "not before the minute is over");
  clock.advance(30_000);
  await watchdog.round();
  clock.advance(60_000);
  await watchdog.round();
  t.same(restarts, ["a", "b", "c"]);
});

t.test("nobody is restarted again and again for nothing", async (t) => {
  const { watchdog, restarts, events, clock } = watch(() => [podOf("stubborn")], { restart: true, paceMs: 1_000 });
  for (let minute = 0; minute < 24 * 60; minute++) {
    await watchdog.round();
    clock.advance(60_000);
  }
  t.equal(restarts.length, MAX_ATTEMPTS, "a few tries in a day, then none");
  t.match(events.at(-1)?.note, /Restarting did not help, so nothing more is tried/);
});

t.test("a pod that was just made by a restart, whoever ordered it, is not restarted", async (t) => {
  const annotations = { "kubectl.kubernetes.io/restartedAt": "2025-12-31T23:59:00Z" };
  const { watchdog, restarts, clock } = watch(() => [podOf("fresh", { annotations })], { restart: true, paceMs: 1_000 });
  await watchdog.round();
  t.same(restarts, []);
  clock.advance(FIRST_PAUSE_MS);
  await watchdog.round();
  t.same(restarts, ["fresh"]);
});

t.test("an owner that could not be restarted is said to be", async (t) => {
  const { watchdog, events, answer } = watch(() => [podOf("still")], { restart: true });
  answer("paused");
  await watchdog.round();
  t.match(events, [{ reason: "SidecarRestart", note: /Not restarted: it is paused/ }]);
});

t.test("the budget of restarts doubles its pause, ends, and begins anew once the owner was well", async (t) => {
  const budget = createRestartBudget(() => 1_000);
  budget.restarted("a", 0);
  t.equal(budget.allowance("b", 999), "pausing", "the pace holds for all");
  t.equal(budget.allowance("b", 1_000), "allowed");
  t.equal(budget.allowance("a", FIRST_PAUSE_MS - 1), "pausing");
  t.equal(budget.allowance("a", FIRST_PAUSE_MS), "allowed");
  budget.restarted("a", FIRST_PAUSE_MS);
  t.equal(budget.allowance("a", 3 * FIRST_PAUSE_MS - 1), "pausing");
  t.equal(budget.allowance("a", 3 * FIRST_PAUSE_MS), "allowed");
  for (let attempt = 2; attempt < MAX_ATTEMPTS; attempt++) budget.restarted("a", 0);
  t.equal(budget.allowance("a", Number.MAX_SAFE_INTEGER), "given_up");
  budget.keepOnly(new Set());
  t.equal(budget.allowance("a", Number.MAX_SAFE_INTEGER), "allowed");
});
