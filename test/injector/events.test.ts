// Events on workloads: what is worth one, where it stands, and that neither many pods nor a slow API server can make them a burden.
import t from "tap";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { eventsOf } from "../../injector/webhook/admission-event.ts";
import type { Admission } from "../../injector/webhook/admit.ts";
import type { AdmissionRequest } from "../../injector/webhook/envelope.ts";
import {
  createEventRecorder,
  type EventSink,
  type NewEvent,
  type ObjectReference,
  type WorkloadEvent,
} from "../../injector/webhook/events.ts";
import { connectInjectorKubernetes } from "../../injector/cluster/kubernetes.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { startKubeApi } from "../support/kube-api.ts";

const REPLICA_SET: ObjectReference = { apiVersion: "apps/v1", kind: "ReplicaSet", namespace: "shop", name: "web-7d4b9c6f5", uid: "rs-1" };
const DEPLOYMENT: ObjectReference = { apiVersion: "apps/v1", kind: "Deployment", namespace: "shop", name: "web", uid: "deploy-1" };
const MINUTE_MS = 60_000;

function happening(fields: Partial<WorkloadEvent> = {}): WorkloadEvent {
  return { regarding: REPLICA_SET, type: "Warning", reason: "InjectionRefused", action: "Injecting", note: "because", ...fields };
}

function start(sink: Partial<EventSink> = {}) {
  const clock = createFakeClock();
  const created: NewEvent[] = [];
  const counted: { name: string; count: number }[] = [];
  const metrics = createMetrics({ component: "test", version: "0", commit: "0" });
  const recorder = createEventRecorder({
    sink: {
      create: async (event) => void created.push(event),
      countAgain: async ({ name, count }) => {
        counted.push({ name, count });
        return true;
      },
      controllerOf: async ({ name }) => (name === REPLICA_SET.name ? DEPLOYMENT : null),
      ...sink,
    },
    instance: "remora-injector-0",
    clock,
    log: silentLogger(),
    metrics,
  });
  return { clock, created, counted, recorder, metrics };
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 5));

t.test("an Event stands at the Deployment behind the ReplicaSet, and says who wrote it", async (t) => {
  const { recorder, created } = start();
  recorder.record(happening({ note: "x".repeat(2000) }));
  await settle();
  t.match(created, [
    {
      regarding: DEPLOYMENT,
      type: "Warning",
      reason: "InjectionRefused",
      action: "Injecting",
      reportingController: "remora.io/injector",
      reportingInstance: "remora-injector-0",
    },
  ]);
  t.equal(created[0]?.note.length, 1024, "no longer than the API takes");
  t.match(created[0]?.name, /^web\.[0-9a-f]+$/);
});

t.test("where the owner cannot be read it stands at what the pod named; what nobody owns is itself", async (t) => {
  const { recorder, created } = start({
    controllerOf: async () => {
      throw new Error("403");
    },
  });
  recorder.record(happening());
  recorder.record(happening({ regarding: { apiVersion: "v1", kind: "Pod", namespace: "shop", name: "lone" } }));
  await settle();
  t.strictSame(
    created.map(({ regarding }) => regarding.name),
    ["web-7d4b9c6f5", "lone"],
  );
});

t.test("what happens again is counted in the same Event, once a minute; after ten minutes of silence it is a new one", async (t) => {
  const { recorder, created, counted, clock } = start();
  for (let pod = 0; pod < 100; pod += 1) recorder.record(happening({ note: `pod ${pod}` }));
  await settle();
  t.equal(created.length, 1);
  t.equal(counted.length, 0);
  await clock.advanceAsync(MINUTE_MS + 15_000, 5_000);
  await settle();
  t.strictSame(counted, [{ name: created[0]?.name, count: 100 }]);
  await clock.advanceAsync(5 * MINUTE_MS, 5_000);
  t.equal(counted.length, 1, "nothing new, nothing written");
  recorder.record(happening());
  await clock.advanceAsync(11 * MINUTE_MS, 15_000);
  t.strictSame(counted.at(-1)?.count, 101);
  recorder.record(happening());
  await settle();
  t.equal(created.length, 2);
  recorder.record(happening({ reason: "Injected", type: "Normal" }));
  await settle();
  t.equal(created.length, 3, "another reason is another Event");
});

t.test("the same at one object about something else is another Event", async (t) => {
  const { recorder, created } = start();
  for (const version of ["0.2.0", "0.4.0", "0.4.0"])
    recorder.record(happening({ reason: "RolloutHalted", about: version, note: `${version} does worse` }));
  await settle();
  t.strictSame(
    created.map(({ note }) => note),
    ["0.2.0 does worse", "0.4.0 does worse"],
    "nobody is told of the first rollout only",
  );
});

t.test("a warning does not wait behind what is normal, and is kept where there is room for one or the other", async (t) => {
  const { recorder, created, clock, metrics } = start();
  const named = (name: string, type: WorkloadEvent["type"]) => happening({ type, regarding: { ...DEPLOYMENT, name, uid: name } });
  for (let index = 0; index < 400; index += 1) recorder.record(named(`web-${index}`, "Normal"));
  recorder.record(named("late", "Warning"));
  recorder.record(named("later", "Warning"));
  await clock.advanceAsync(2_000, 200);
  await settle();
  const order = created.map(({ regarding }) => regarding.name);
  t.ok(order.includes("late") && order.indexOf("late") + 1 === order.indexOf("later"), order.join(" "));
  t.ok(order.length < 60, `${order.length} are written by then`);
  recorder.record(named("web-399", "Normal"));
  t.match(await metrics.registry.metrics(), /remora_events_total\{outcome="dropped"\} 1\d\d\n/);
  await recorder.close();
});

t.test("a burst is written at a pace, and beyond the bound dropped and counted", async (t) => {
  const { recorder, created, clock, metrics } = start();
  const many = (count: number, from = 0) => {
    for (let pod = from; pod < from + count; pod += 1)
      recorder.record(happening({ regarding: { apiVersion: "v1", kind: "Pod", namespace: "shop", name: `pod-${pod}` } }));
  };
  many(1000);
  for (let turn = 0; turn < 20; turn += 1) await settle();
  t.equal(created.length, 25, "the burst");
  await clock.advanceAsync(2_000, 100);
  t.ok(created.length >= 33 && created.length <= 36, `five a second: ${created.length}`);
  const text = await metrics.registry.metrics();
  t.match(text, /remora_events_total\{outcome="recorded"\} 1000/);
  t.match(text, /remora_events_total\{outcome="dropped"\} 74\d/);
});

t.test("an API server that fails or hangs harms nobody; what failed is tried again when it happens again", async (t) => {
  let fails = true;
  const { recorder, created } = start({
    create: async (event) => {
      if (fails) throw new Error("cannot create Event: the API server answers 500");
      created.push(event);
    },
  });
  recorder.record(happening());
  await settle();
  fails = false;
  recorder.record(happening());
  await settle();
  t.equal(created.length, 1);

  const hanging = start({ create: () => new Promise(() => {}) });
  for (let turn = 0; turn < 5000; turn += 1)
    hanging.recorder.record(happening({ regarding: { apiVersion: "v1", kind: "Pod", namespace: "shop", name: `pod-${turn}` } }));
  t.pass("record never waits");
  await recorder.close();
  recorder.record(happening({ reason: "Late" }));
  await settle();
  t.equal(created.length, 1, "nothing is written after the close");
});

t.test("an Event that somebody deleted is written anew", async (t) => {
  const { recorder, created, clock } = start({ countAgain: async () => false });
  recorder.record(happening());
  await settle();
  recorder.record(happening());
  await clock.advanceAsync(MINUTE_MS + 15_000, 5_000);
  await settle();
  recorder.record(happening());
  await settle();
  t.equal(created.length, 2);
});

t.test("in the API it is an Event of events.k8s.io/v1 in the workload's namespace", async (t) => {
  const kube = await startKubeApi();
  t.teardown(() => kube.close());
  const references = [{ apiVersion: "apps/v1", kind: "Deployment", name: "web", uid: "deploy-1", controller: true }];
  kube.put("replicasets", { metadata: { name: REPLICA_SET.name, namespace: "shop", ownerReferences: references } });
  const api = await connectInjectorKubernetes(
    { namespace: "remora-system", webhook: "remora-injector", service: "remora-injector" },
    { kubeconfig: kube.kubeconfig() },
  );
  t.strictSame(await api.events.controllerOf(REPLICA_SET), DEPLOYMENT);
  t.equal(await api.events.controllerOf({ ...REPLICA_SET, kind: "Job", name: "gone" }), null);
  await api.events.create({
    ...happening({ regarding: DEPLOYMENT }),
    name: "web.1",
    atMs: Date.UTC(2026, 0, 1),
    reportingController: "remora.io/injector",
    reportingInstance: "a",
  });
  t.match(kube.get("events", "shop", "web.1"), { eventTime: "2026-01-01T00:00:00.000000Z", regarding: DEPLOYMENT, note: "because" });
  t.equal(await api.events.countAgain({ namespace: "shop", name: "web.1", count: 7, atMs: Date.UTC(2026, 0, 2) }), true);
  t.match(kube.get("events", "shop", "web.1"), { series: { count: 7, lastObservedTime: "2026-01-02T00:00:00.000000Z" } });
  t.equal(await api.events.countAgain({ namespace: "shop", name: "gone", count: 7, atMs: 0 }), false);
});

t.test("what was asked for and happened as asked is told once; what nobody asked for is not", async (t) => {
  const owner = { apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-1", uid: "u", controller: true };
  const request = (metadata: object, name = ""): AdmissionRequest => ({
    uid: "1",
    operation: "CREATE",
    kind: { group: "", kind: "Pod" },
    resource: { group: "", resource: "pods" },
    subResource: "",
    namespace: "shop",
    name,
    dryRun: false,
    object: { metadata },
    oldObject: null,
  });
  const admission = (result: Admission["result"], reason: Admission["reason"], warnings: string[] = []): Admission => ({
    result,
    reason,
    answer: { allowed: result !== "refused", patch: [], message: "A sentence.", warnings, audit: {} },
  });
  const reasons = (of: Admission) => eventsOf(request({ ownerReferences: [owner] }), of).map(({ reason, type }) => `${type} ${reason}`);
  t.strictSame(reasons(admission("injected", "namespace_enabled")), ["Normal Injected"]);
  t.strictSame(reasons(admission("injected", "namespace_enabled", ["remora: mind"])), ["Normal Injected", "Warning InjectionWarning"]);
  t.strictSame(reasons(admission("refused", "port_conflict")), ["Warning InjectionRefused"]);
  t.strictSame(reasons(admission("skipped", "host_network")), ["Warning InjectionSkipped"]);
  t.strictSame(reasons(admission("skipped", "pod_label_unknown")), ["Warning InjectionSkipped"]);
  for (const reason of ["pod_disabled", "already_injected", "namespace_not_enabled", "not_created"] as const)
    t.strictSame(reasons(admission("skipped", reason)), [], reason);

  const regarding = (metadata: object, name?: string) =>
    eventsOf(request(metadata, name), admission("refused", "port_conflict"))[0]?.regarding;
  t.strictSame(regarding({ ownerReferences: [owner] }), {
    apiVersion: "apps/v1",
    kind: "ReplicaSet",
    namespace: "shop",
    name: "web-1",
    uid: "u",
  });
  t.match(regarding({ name: "lone" }), { kind: "Pod", name: "lone" });
  t.match(regarding({ generateName: "many-" }), { kind: "Pod", name: "many" });
  t.equal(regarding({}), undefined, "nothing to stand at");
  t.equal(regarding({ ownerReferences: [{ controller: true, kind: 7 }] }), undefined);
  t.match(regarding({ ownerReferences: [{ ...owner, controller: false }], name: "x" }), { kind: "Pod", name: "x" });
});
