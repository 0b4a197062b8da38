// How instances leave: at once when they are stopped, with their lease when they are killed.
import t from "tap";
import { requires } from "../support/requires.ts";
import { startCluster } from "./cluster.ts";
import { CHAT, client, scaled } from "./manifests.ts";
import type { RunningPod } from "../support/pod-runner/pod.ts";
import { instanceIds, pause } from "./steady-load.ts";
import { until } from "./until.ts";

/** Long, so that who is gone sooner has not left with its lease. */
const LEASE_MS = 8_000;
const skip = requires("root", "ip", "iptables", "curl");
// Several processes per pod: on a busy machine of two cores this takes its time.
t.setTimeout(300_000);

t.test("an instance that is killed leaves the registry, and one that is stopped leaves it at once", { skip }, async (t) => {
  const cluster = await startCluster(t, { control: { REMORA_LEASE: `${LEASE_MS}ms` } });
  await cluster.apply(scaled(CHAT, 3), client("shop"));
  const [killed, stopped, left] = cluster.pods("shop/chat");
  const ids = () => instanceIds(cluster, 15014);
  for (const pod of [killed, stopped, left]) t.ok((await ids()).includes(pod?.facts.uid ?? ""), `${pod?.name} is known`);
  const { ipv4 } = cluster.address("shop/chat");
  const health = async () =>
    (await cluster.pod("shop/client").exec("app", ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", `http://${ipv4}/healthz`]))
      .stdout;

  await t.test("a stop finishes the request in flight and ends the sidecar last", async (t) => {
    // By its own address, so that it is this instance which answers.
    const slow = cluster
      .pod("shop/client")
      .exec("app", ["curl", "-sS", "-w", "%{http_code}", `http://${stopped?.facts.podIps[0]}:8080/slow?ms=1500`]);
    await until("the slow request has arrived", 30_000, () => stopped?.log("app").includes('"/slow"') === true);
    const startedMs = Date.now();
    const stopping = cluster.deletePod(stopped as RunningPod, 10_000);
    await pause(300); // EndpointSlice to registry to sidecar
    for (let i = 0; i < 8; i += 1) t.equal(await health(), "200", "no new request goes to the instance that stops");
    const leftMs = LEASE_MS - 1_000 - (Date.now() - startedMs);
    await until("the stopped instance is gone", leftMs, async () => !(await ids()).includes(stopped?.facts.uid ?? ""));
    t.equal((await slow).stdout, "slow\n200", "the request in flight is answered");
    await stopping;
    t.comment(`stopped instance gone from the registry, pod ended ${Date.now() - startedMs} ms after SIGTERM`);
    const order = (stopped?.events ?? [])
      .filter(({ what }) => what === "terminating" || what === "exited" || what === "killed")
      .map(({ container, what, detail }) => `${container} ${what}${detail === "" ? "" : ` ${detail}`}`);
    t.same(order, ["app terminating", "app exited exit status 0", "remora-sidecar terminating", "remora-sidecar exited exit status 0"]);
  });

  const killing = Date.now();
  await killed?.kill();
  await until("the killed instance is gone", LEASE_MS + 30_000, async () => !(await ids()).includes(killed?.facts.uid ?? ""));
  t.comment(`killed instance gone after ${Date.now() - killing} ms (lease ${LEASE_MS} ms)`);
  t.ok((await ids()).includes(left?.facts.uid ?? ""));
  for (let i = 0; i < 5; i += 1) t.equal(await health(), "200");
});
