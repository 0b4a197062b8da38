// How the registry follows a real API server through what happens to one: connections that break or fall silent, slow answers, restarts, a history that
// is gone, a state that is older than what was said before. What is known stays in force, nothing that vanished meanwhile survives, nothing flickers.
import { setTimeout as pause } from "node:timers/promises";
import t from "tap";
import { until } from "../e2e/until.ts";
import { eventually } from "../registry/harness.ts";
import { lacksKubernetes, podEndpoint, runningAt, SHOP, startMeshServices } from "./mesh-services.ts";

t.setTimeout(800_000);

const WATCH_SECONDS = 2;
/** A watch that is silent is given up after so long, and the next one begun a moment later. */
const SILENCE_MS = WATCH_SECONDS * 1000 + 5_000;
const PAGES_OF_SERVICES = 230;
const KINDS = ["services", "endpointslices", "pods", "namespaces"];

t.test("the registry follows a real API server", { skip: lacksKubernetes }, async (t) => {
  const cluster = await startMeshServices(t);
  const { gate, kubernetes, putService, putSlice, putPod } = cluster;
  const uid = await putPod("orders-1", { addresses: ["10.1.0.1"] });
  await putService("orders", { clusterIP: "10.96.50.1", ports: [{ port: 80 }] });
  await putSlice("orders-a", "orders", { ports: { "": 8080 }, endpoints: [podEndpoint(uid, "orders-1", "10.1.0.1")] });
  const running = await cluster.startSource(t, { watchSeconds: WATCH_SECONDS });
  const { source, metric } = running;
  const isThere = (name: string) => source.service(`${SHOP}/${name}`) !== undefined;
  const lists = async () => Promise.all(KINDS.map((kind) => metric(`remora_kubernetes_lists_total{kind="${kind}"}`)));
  const isWell = () => eventuallyWithin(30_000, () => source.problem() === null, "the source is well again");

  /** Whatever is said of the service that nobody touches. */
  const news: string[] = [];
  source.onChange((ids) => news.push(...[...ids].filter((id) => id === `${SHOP}/orders`)));

  t.test("watches that end and connections that break are resumed where they were", async (t) => {
    const before = await lists();
    t.strictSame(before, [1, 1, 1, 1], "each kind was listed once");
    const acceptedBefore = gate.accepted;
    gate.set("cut");
    await putService("meanwhile", { ports: [{ port: 80 }] });
    await putService("gone-again", { ports: [{ port: 80 }] });
    await cluster.remove("services", "gone-again");
    await eventually(() => source.problem() !== null, "trouble is said");
    t.match(source.problem()?.message, /what is known of the cluster is \d+ s old: /);
    t.ok(Math.abs(Date.now() - (source.problem()?.since ?? 0)) < 30_000, "and since when");
    t.ok(isThere("orders"), "what is known stays");
    gate.set("open");
    await eventually(() => isThere("meanwhile"), "what was made meanwhile");
    t.notOk(isThere("gone-again"));
    await isWell();
    await pause(WATCH_SECONDS * 1000 + 1000);
    t.strictSame(await lists(), before, "nothing was listed again, also after watches ended by themselves");
    t.ok(gate.accepted > acceptedBefore);
    t.strictSame(news, [], "nobody was told anything of what did not change");
  });

  t.test("a watch on which nothing comes any more is noticed", async (t) => {
    gate.set("frozen");
    await putService("unheard", { ports: [{ port: 80 }] });
    await eventuallyWithin(SILENCE_MS * 2, () => source.problem() !== null, "the silence");
    t.notOk(isThere("unheard"));
    t.ok((await metric("remora_kubernetes_stale_seconds")) > 1);
    gate.set("cut");
    gate.set("open");
    await eventuallyWithin(SILENCE_MS * 2, () => isThere("unheard"), "what was made meanwhile");
    await isWell();
    t.equal(await metric("remora_kubernetes_stale_seconds"), 0);
  });

  t.test("an API server that takes seconds for everything is followed all the same", async () => {
    gate.delayMs = 1_500;
    gate.set("cut");
    gate.set("open");
    await putService("slow", { ports: [{ port: 80 }] });
    await eventuallyWithin(30_000, () => isThere("slow"), "what was made meanwhile");
    gate.delayMs = 0;
    await isWell();
  });

  t.test("an announcement is judged by what is known while the API server is away", async (t) => {
    const served = await running.serve(t);
    gate.set("cut");
    t.match(await served.announce(`${SHOP}/orders`, uid, ["10.1.0.1"]), { accepted: true });
    t.match(await served.announce(`${SHOP}/thief`, uid, ["10.1.0.1"]), { accepted: false });
    const late = await putPod("orders-2", { addresses: ["10.1.0.2"] });
    t.match(await served.announce(`${SHOP}/orders`, late, ["10.1.0.2"]), { accepted: false }, "what is not known is refused");
    gate.set("open");
    await eventually(() => source.pods?.get(late) !== undefined, "the new pod");
    t.match(await served.announce(`${SHOP}/orders`, late, ["10.1.0.2"]), { accepted: true }, "until it is");
  });

  t.test("a restarted API server that forgot its history is listed anew, without a gap", async (t) => {
    const before = await lists();
    await putService("doomed", { ports: [{ port: 80 }] });
    const doomed = await putPod("doomed-1", { addresses: ["10.1.0.66"] });
    await eventually(() => isThere("doomed") && source.pods?.get(doomed) !== undefined, "what is to vanish");
    let misses = 0;
    const looking = setInterval(() => {
      const isWhole = source.byVirtualAddress("10.96.50.1") !== undefined && source.pods?.get(uid) !== undefined;
      if (!isWhole) misses += 1;
    }, 1);
    gate.set("cut");
    await cluster.remove("services", "doomed");
    await cluster.remove("pods", "doomed-1");
    await putSlice("late-a", "late", { ports: { "": 80 }, endpoints: [] });
    await putService("late", { ports: [{ port: 80 }] });
    await kubernetes.restart();
    gate.set("open");
    await eventuallyWithin(60_000, () => isThere("late"), "what was made meanwhile");
    await eventuallyWithin(60_000, () => !isThere("doomed") && source.pods?.get(doomed) === undefined, "what vanished meanwhile");
    await isWell();
    clearInterval(looking);
    t.ok(
      (await lists()).some((count, at) => count > (before[at] ?? 0)),
      "the API server did not remember, and was listed",
    );
    t.equal(misses, 0, "what was there all the time was never missing");
    t.strictSame(news, [], "nor was anybody told of it");
    t.ok((await metric('remora_kubernetes_failures_total{kind="services"}')) > 0);
  });

  t.test("lists come in pages", async (t) => {
    await inTurns(PAGES_OF_SERVICES, (at) => putService(`page-${at}`, { clusterIP: "None", ports: [{ port: 80 }] }));
    const second = await cluster.startSource(t);
    const paged = [...second.source.all()].filter(({ name }) => name.startsWith("page-"));
    t.equal(new Set(paged.map(({ name }) => name)).size, PAGES_OF_SERVICES, "all of them, on three pages");
    t.equal(await second.metric("remora_kubernetes_services"), [...second.source.all()].length);
    t.equal(await second.metric("remora_kubernetes_pods"), 2);
    await second.source.close();
  });

  t.test("announcements", async (t) => {
    const served = await running.serve(t);
    const refused = async (account: string, id: string, addresses: readonly string[], why: RegExp, what: string, changes = {}) =>
      t.match(await served.announce(account, id, addresses, changes), { accepted: false, message: why }, what);
    const other = await putPod("other-1", { addresses: ["10.1.1.2"] });
    const foreign = await putPod("foreign-1", { namespace: "other", addresses: ["10.1.1.3"] });
    const host = await putPod("host-1", { addresses: ["192.0.2.10"], spec: { hostNetwork: true } });
    const over = await putPod("over-1", { addresses: ["10.1.1.4"] });
    await cluster.setPodStatus("over-1", { phase: "Succeeded" });
    await eventually(() => source.pods?.get(host) !== undefined && source.pods.get(over) === undefined, "all pods");

    t.match(await served.announce(`${SHOP}/orders`, other, ["10.1.1.2"]), { accepted: true }, "its own");
    // At once, for most are given a moment in which news could come.
    await Promise.all([
      refused(`${SHOP}/orders`, other, ["10.1.0.1"], /10.1.0.1 is not of pod/, "another pod's address"),
      refused(`${SHOP}/orders`, other, ["10.1.1.2", "127.0.0.1"], /127.0.0.1 is not of pod/, "one more than its own"),
      refused(`${SHOP}/thief`, other, ["10.1.1.2"], /runs as shop\/orders, not as shop\/thief/, "another account"),
      refused(`${SHOP}/orders`, foreign, ["10.1.1.3"], /runs as other\/orders/, "the same account of another namespace"),
      refused(`${SHOP}/orders`, crypto.randomUUID(), ["127.0.0.1"], /there is no pod/, "no pod at all"),
      refused(`${SHOP}/orders`, over, ["10.1.1.4"], /is over/, "a pod that is over"),
      refused(`${SHOP}/orders`, host, ["192.0.2.10"], /is on its node's network/, "a whole node"),
    ]);
    t.match(
      await served.announce(`${SHOP}/orders`, host, ["192.0.2.10"], { inboundPort: 15006, epoch: 1 }),
      { accepted: true },
      "but a port of it",
    );

    await cluster.remove("pods", "other-1");
    const successor = await putPod("other-1", { addresses: ["10.1.1.2"] });
    await eventually(() => source.pods?.get(other) === undefined && source.pods?.get(successor) !== undefined, "the successor");
    await refused(`${SHOP}/orders`, other, ["10.1.1.2"], /there is no pod/, "a pod that was replaced");
    t.match(await served.announce(`${SHOP}/orders`, successor, ["10.1.1.2"]), { accepted: true });
  });

  t.test("a sidecar that is faster than the news of its pod", async (t) => {
    const served = await running.serve(t);
    gate.set("held");
    const uid = await putPod("early-1", { addresses: ["10.1.2.1"] });
    t.equal(source.pods?.get(uid), undefined);
    const early = served.announce(`${SHOP}/orders`, uid, ["10.1.2.1"]);
    await pause(200);
    gate.set("open");
    t.match(await early, { accepted: true }, "it waits for the pod");
    const unplaced = await putPod("early-2");
    await eventually(() => source.pods?.get(unplaced) !== undefined, "a pod without an address");
    const announced = served.announce(`${SHOP}/orders`, unplaced, ["10.1.2.2"]);
    await pause(200);
    await cluster.setPodStatus("early-2", runningAt(["10.1.2.2"]));
    t.match(await announced, { accepted: true }, "it waits for the address");

    const local = await putPod("early-3");
    await eventually(() => source.pods?.get(local) !== undefined, "another one");
    t.match(await served.announce(`${SHOP}/orders`, local, ["127.0.0.1"]), { accepted: true }, "or the connection says where it is");
    t.match(await served.announce(`${SHOP}/orders`, local, ["10.1.2.2"]), {
      accepted: false,
      message: /has no address yet, and 10.1.2.2 is another pod's/,
    });
  });

  t.test("an API server that was put back to an earlier state says nothing of it, and is listed anew", async (t) => {
    await source.close();
    // The administrator's token outlives what is lost, which the rights of the control plane do not.
    const restored = await cluster.startSource(t, { watchSeconds: WATCH_SECONDS, asAdmin: true });
    t.ok(restored.source.service(`${SHOP}/orders`));
    await kubernetes.restart({ emptied: true });
    await eventuallyWithin(30_000, () => restored.source.service(`${SHOP}/orders`) === undefined, "what is not there any more");
    await until("and what is there", 30_000, () => restored.source.byVirtualAddress("10.96.0.1")?.name === "kubernetes");
  });
});

async function eventuallyWithin(ms: number, holds: () => boolean, what: string): Promise<void> {
  await until(what, ms, holds);
}

async function inTurns(count: number, run: (at: number) => Promise<unknown>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < count) await run(next++);
  };
  await Promise.all(Array.from({ length: 8 }, worker));
}
