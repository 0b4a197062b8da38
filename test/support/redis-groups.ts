// Real Redis servers that belong together: a master with replicas watched by Sentinels, and a Redis Cluster of three masters with a replica each. All
// on free ports of loopback; what a test kills stays away until it starts it again.
import { Redis } from "ioredis";
import { freePort } from "./free-port.ts";
import type { Teardown } from "./processes.ts";
import type { RedisServer } from "./redis.ts";
import { startRedis } from "./redis.ts";

const READY_TIMEOUT_MS = 40_000;
const PASSWORD = "among servers";
const NODE_TIMEOUT_MS = 1000;

/** A master, two replicas and three Sentinels. */
export interface SentinelGroup {
  /** `redis-sentinel://…/registry`. */
  readonly url: string;
  /** What the Sentinels themselves ask for. */
  readonly sentinelPassword: string;
  readonly servers: readonly RedisServer[];
  /** The server that most Sentinels name now. */
  master(): Promise<RedisServer>;
}

/** Starts one; it ends with `t`. */
export async function startSentinelGroup(t: Teardown): Promise<SentinelGroup> {
  const sentinelPassword = "among sentinels";
  const auth = [`requirepass ${JSON.stringify(PASSWORD)}`, `masterauth ${JSON.stringify(PASSWORD)}`, "repl-diskless-sync-delay 0"];
  const first = await started(t, { lines: auth });
  const replicas: RedisServer[] = [];
  for (let n = 0; n < 2; n += 1) replicas.push(await started(t, { lines: [...auth, `replicaof 127.0.0.1 ${first.port}`] }));
  const servers = [first, ...replicas];
  const sentinels: RedisServer[] = [];
  for (let n = 0; n < 3; n += 1) {
    const lines = [
      `requirepass ${JSON.stringify(sentinelPassword)}`,
      `sentinel sentinel-pass ${JSON.stringify(sentinelPassword)}`,
      `sentinel monitor registry 127.0.0.1 ${first.port} 2`,
      `sentinel auth-pass registry ${JSON.stringify(PASSWORD)}`,
      `sentinel down-after-milliseconds registry ${NODE_TIMEOUT_MS}`,
      "sentinel failover-timeout registry 6000",
    ];
    sentinels.push(await started(t, { sentinel: true, lines }));
  }
  const ports = sentinels.map(({ port }) => port);

  async function masterPort(): Promise<number> {
    for (const port of ports) {
      const named = await asked(port, sentinelPassword, (redis) => redis.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "registry"));
      if (Array.isArray(named)) return Number(named[1]);
    }
    return 0;
  }

  await until("the Sentinels know each other and the replicas", async () => {
    for (const port of ports) {
      const fields = await asked(port, sentinelPassword, (redis) => redis.call("SENTINEL", "MASTER", "registry"));
      const field = (name: string) => (fields as string[])[(fields as string[]).indexOf(name) + 1];
      if (field("num-other-sentinels") !== "2" || field("num-slaves") !== "2") return false;
    }
    for (const { port } of replicas) if (!(await infoOf(port, PASSWORD, "replication")).includes("master_link_status:up")) return false;
    return true;
  });
  const hosts = ports.map((port) => `127.0.0.1:${port}`).join(",");
  return {
    url: `redis-sentinel://:${encodeURIComponent(PASSWORD)}@${hosts}/registry`,
    sentinelPassword,
    servers,
    async master() {
      const port = await masterPort();
      const server = servers.find((one) => one.port === port);
      if (server === undefined) throw new Error(`port ${port} is none of the servers`);
      return server;
    },
  };
}

/** Three masters and a replica of each. */
export interface RedisClusterGroup {
  /** `redis-cluster://…` with the addresses of two nodes. */
  readonly url: string;
  readonly nodes: readonly RedisServer[];
  /** The nodes that are masters of slots now, as `viewer` (default: the last replica of the start) sees it. */
  masters(viewer?: RedisServer): Promise<readonly RedisServer[]>;
  /** Runs commands on one node. */
  ask<T>(node: RedisServer, run: (redis: Redis) => Promise<T>): Promise<T>;
}

/** Starts one; it ends with `t`. `lines` are further lines of every node's redis.conf. */
export async function startRedisCluster(t: Teardown, lines: readonly string[] = []): Promise<RedisClusterGroup> {
  const nodes: RedisServer[] = [];
  const busPorts: number[] = [];
  for (let n = 0; n < 6; n += 1) {
    const bus = await freePort();
    busPorts.push(bus);
    const own = ["cluster-enabled yes", `cluster-port ${bus}`, `cluster-node-timeout ${NODE_TIMEOUT_MS}`, "repl-diskless-sync-delay 0"];
    nodes.push(await started(t, { lines: [...own, "cluster-replica-validity-factor 0", ...lines] }));
  }
  const ask = <T>(node: RedisServer, run: (redis: Redis) => Promise<T>) => asked(node.port, null, run);
  const ids: string[] = [];
  for (const [at, node] of nodes.entries()) {
    await ask(node, async (redis) => {
      await redis.call("CLUSTER", "SET-CONFIG-EPOCH", at + 1);
      if (at < 3) await redis.call("CLUSTER", "ADDSLOTSRANGE", Math.ceil((at * 16384) / 3), Math.ceil(((at + 1) * 16384) / 3) - 1);
      for (const [other, { port }] of nodes.entries())
        if (other < at) await redis.call("CLUSTER", "MEET", "127.0.0.1", port, busPorts[other] ?? 0);
      ids.push(String(await redis.call("CLUSTER", "MYID")));
    });
  }
  await until("the nodes know each other", async () => {
    for (const node of nodes) if (!(await clusterInfo(ask, node)).includes("cluster_known_nodes:6")) return false;
    return true;
  });
  for (const [at, node] of nodes.entries()) if (at >= 3) await ask(node, (redis) => redis.call("CLUSTER", "REPLICATE", ids[at - 3] ?? ""));
  await until("the cluster is up and replicated", async () => {
    for (const [at, node] of nodes.entries()) {
      if (!(await clusterInfo(ask, node)).includes("cluster_state:ok")) return false;
      if (at >= 3 && !(await infoOf(node.port, null, "replication")).includes("master_link_status:up")) return false;
      const slots = (await ask(node, (redis) => redis.call("CLUSTER", "SLOTS"))) as unknown[][];
      if (slots.length !== 3 || slots.some((range) => range.length !== 4)) return false;
    }
    return true;
  });
  return {
    url: `redis-cluster://127.0.0.1:${nodes[0]?.port},127.0.0.1:${nodes[4]?.port}`,
    nodes,
    ask,
    async masters(viewer = nodes[5]) {
      if (viewer === undefined) throw new Error("no node");
      const slots = (await ask(viewer, (redis) => redis.call("CLUSTER", "SLOTS"))) as [number, number, [string, number]][];
      const ports = new Set(slots.map(([, , [, port]]) => port));
      return nodes.filter(({ port }) => ports.has(port));
    },
  };
}

async function started(t: Teardown, options: Parameters<typeof startRedis>[0]): Promise<RedisServer> {
  const server = await startRedis(options);
  t.teardown(() => server.close());
  return server;
}

async function asked<T>(port: number, password: string | null, run: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis({
    port,
    host: "127.0.0.1",
    lazyConnect: true,
    retryStrategy: () => null,
    ...(password === null ? {} : { password }),
  });
  redis.on("error", () => {}); // the command says it
  try {
    return await run(redis);
  } finally {
    redis.disconnect();
  }
}

function infoOf(port: number, password: string | null, section: string): Promise<string> {
  return asked(port, password, (redis) => redis.info(section));
}

async function clusterInfo(ask: RedisClusterGroup["ask"], node: RedisServer): Promise<string> {
  return String(await ask(node, (redis) => redis.call("CLUSTER", "INFO")));
}

async function until(what: string, holds: () => Promise<boolean>): Promise<void> {
  const deadline = Date.now() + READY_TIMEOUT_MS;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within ${READY_TIMEOUT_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
