// Parts of the control plane die without a warning while requests flow steadily (design 12). No request may fail; the figures are in the comments.
import t, { type Test } from "tap";
import { startRedis } from "../support/redis.ts";
import { requires } from "../support/requires.ts";
import { type Cluster, startCluster, until } from "./cluster.ts";
import { CHAT, client, NGINX, scaled } from "./manifests.ts";
import { startTcpBalancer } from "./tcp-balancer.ts";

const skip = requires("root", "ip", "iptables", "nginx", "redis-server");
const RATE_PER_S = 50;

interface Load {
  /** Ends the load and checks that nothing failed. */
  finish(): Promise<void>;
}

interface Instance {
  readonly instanceId: string;
  readonly service?: string;
  readonly state: string;
}

/** Steady requests from the client pod to the web service. */
function startLoad(t: Test, cluster: Cluster, what: string, seconds: number): Load {
  const url = `http://${cluster.address("shop/web").ipv4}:8000/`;
  const running = cluster.runApp(cluster.pod("shop/client"), "load-client", [url, String(RATE_PER_S), String(seconds)], { timeoutMs: (seconds + 10) * 1000 });
  return {
    async finish() {
      const { stdout, stderr } = await running;
      const lines = stdout.trim().split("\n");
      const counts = JSON.parse(lines.at(-1) || "{}") as { sent: number; ok: number; failed: number; slowestMs: number };
      t.comment(`${what}: ${counts.sent} requests sent at ${RATE_PER_S}/s, ${counts.failed} failed, slowest ${counts.slowestMs} ms`);
      t.ok(counts.sent > RATE_PER_S * seconds * 0.5, `the load was steady: ${counts.sent} requests ${stderr}`);
      t.equal(counts.failed, 0, lines.slice(0, 5).join("\n"));
    },
  };
}

async function instances(cluster: Cluster, adminPort: number): Promise<readonly Instance[]> {
  const control = cluster.controls.find((candidate) => candidate.adminPort === adminPort && candidate.child.exitCode === null);
  const answer = (await control?.api("/api/v1/instances")) as { instances: readonly Instance[] } | undefined;
  return answer?.instances ?? [];
}

const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

t.test("standalone: the control plane is killed and comes back", { skip }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.apply(scaled(NGINX, 2), client("shop"));
  const load = startLoad(t, cluster, "kill -9 of the control plane, back after 3 s", 9);
  await pause(1_500);
  await cluster.control.kill();
  await pause(3_000);
  const [first] = cluster.pods("shop/web");
  t.ok(first?.isReady(), "pods stay ready without a control plane");
  await cluster.startControl("first", { grpc: 15010, admin: 15014 });
  await until("every instance has announced itself again", 10_000, async () => (await instances(cluster, 15014)).length >= 3);
  await load.finish();
});

t.test("cluster: Redis is killed, then one of two replicas", { skip }, async (t) => {
  const redis = await startRedis();
  t.teardown(() => redis.close());
  const shared = { REMORA_STORE: "redis", REMORA_REDIS_URL: redis.url };
  const cluster = await startCluster(t, { withoutControl: true, control: shared, controlAddress: ({ hostIpv4 }) => `${hostIpv4}:15000` });
  const host = cluster.runner.network.hostIpv4;
  await startTcpBalancer(t, host, 15000, [
    { host, port: 15110 },
    { host, port: 15210 },
  ]);
  const one = await cluster.startControl("one", { grpc: 15110, admin: 15114 });
  await cluster.startControl("two", { grpc: 15210, admin: 15214 });
  await cluster.apply(scaled(NGINX, 2), client("shop"));
  for (const port of [15114, 15214]) await until(`the replica on ${port} knows every instance`, 5_000, async () => (await instances(cluster, port)).length >= 3);

  const load = startLoad(t, cluster, "kill -9 of Redis, then of one replica, then Redis comes back", 11);
  await pause(1_000);
  await redis.kill();
  await until("a replica says that it is degraded", 6_000, async () => JSON.stringify(await one.api("/api/v1/health").catch(String)).includes("degraded"));
  await pause(1_000);
  await one.kill();
  await pause(2_000);
  await redis.start();
  await until("the other replica is well again", 10_000, async () => !JSON.stringify(await cluster.controls[1]?.api("/api/v1/health").catch(() => "degraded")).includes("degraded"));
  await load.finish();
  await until("and knows every instance", 8_000, async () => (await instances(cluster, 15214)).length >= 3);
});

t.test("an instance that is killed leaves the registry, and one that is stopped leaves it at once", { skip }, async (t) => {
  const cluster = await startCluster(t);
  await cluster.apply(scaled(CHAT, 3), client("shop"));
  const [killed, stopped, left] = cluster.pods("shop/chat");
  const ids = async () => (await instances(cluster, 15014)).map((instance) => instance.instanceId);
  t.same(
    [killed, stopped, left].filter((pod) => pod !== undefined).map((pod) => pod.facts.uid).filter(async (uid) => (await ids()).includes(uid)).length,
    3,
  );
  const stopping = Date.now();
  await stopped?.stop(5_000);
  await until("the stopped instance is gone", 1_500, async () => !(await ids()).includes(stopped?.facts.uid ?? ""));
  t.comment(`stopped instance gone ${Date.now() - stopping} ms after SIGTERM`);

  const killing = Date.now();
  await killed?.stop(0);
  await until("the killed instance is gone", 6_000, async () => !(await ids()).includes(killed?.facts.uid ?? ""));
  t.comment(`killed instance gone after ${Date.now() - killing} ms (lease 3 s)`);
  t.ok((await ids()).includes(left?.facts.uid ?? ""));
  const { ipv4 } = cluster.address("shop/chat");
  for (let i = 0; i < 10; i += 1) {
    const answer = await cluster.pod("shop/client").exec("app", ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", `http://${ipv4}/healthz`]);
    t.equal(answer.stdout, "200", answer.stderr);
  }
});
