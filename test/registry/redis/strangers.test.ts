// Servers that are not what they should be: redirections to strangers, replicas, old versions, users that may not do enough. At the start each is a
// clear error; none of them makes the registry connect to a server that is not of the installation.
import type { Test } from "tap";
import t from "tap";
import { systemClock } from "../../../core/clock.ts";
import { silentLogger } from "../../../core/log.ts";
import { Secret } from "../../../core/secret.ts";
import { REDIS_ACL } from "../../../registry/redis/probe.ts";
import type { RedisStoreOptions } from "../../../registry/redis/store.ts";
import { startRedisStore } from "../../../registry/redis/store.ts";
import type { FakeReply } from "../../support/fake-redis.ts";
import { startFakeRedis } from "../../support/fake-redis.ts";
import { requires } from "../../support/requires.ts";
import { idsOf, leaseOf, LOAD, redisOf, storeOf, until } from "./stores.ts";

const skip = requires("redis-server", "setpriv", "openssl");

async function refusal(url: string, changes: Partial<RedisStoreOptions> = {}): Promise<string> {
  const started = startRedisStore({ url: new Secret(url), clock: systemClock, random: Math.random, log: silentLogger(), ...changes });
  return started.then(
    async (store) => {
      await store.close();
      return "it started";
    },
    (error: Error) => error.message,
  );
}

/** A server that answers as a Redis of one user would, apart from what `answer` answers. */
async function fake(t: Test, answer: (command: readonly string[], port: number) => FakeReply | undefined) {
  const usual = new Map<string, FakeReply>([
    ["PING", "PONG"],
    ["ROLE", ["master", 0, []]],
    ["INFO", "redis_version:7.0.15\r\n"],
    ["CLIENT", "OK"],
    ["ASKING", "OK"],
  ]);
  const server = await startFakeRedis(([name = "", ...args], port) => {
    const command = name.toUpperCase();
    const own = answer([command, ...args], port);
    return own !== undefined ? own : (usual.get(command) ?? "-ERR unknown command");
  });
  t.teardown(() => server.close());
  return server;
}

/** A cluster of one node, which has all slots. */
const slotsOf = (port: number): FakeReply => [[0, 16383, ["127.0.0.1", port, "a".repeat(40)]]];

for (const kind of ["MOVED", "ASK"]) {
  t.test(`${kind} to a server that is not of the cluster is not followed`, async (t) => {
    const stranger = await fake(t, () => undefined);
    const node = await fake(t, ([command], port) => {
      if (command === "CLUSTER") return slotsOf(port);
      return command?.startsWith("EVAL") ? `-${kind} 1 127.0.0.1:${stranger.port}` : undefined;
    });
    const message = await refusal(`redis-cluster://127.0.0.1:${node.port}`);
    t.match(message, new RegExp(`redirected to 127\\.0\\.0\\.1:${stranger.port}, which is no server of the cluster`));
    t.equal(stranger.connections, 0, "nobody connected there");
    t.ok(
      node.asked.some(([command]) => command?.toUpperCase().startsWith("EVAL")),
      "it was asked, and redirected",
    );
  });
}

t.test("one node of three that lies about slots and names a stranger is outvoted", async (t) => {
  const stranger = await fake(t, () => undefined);
  const view: FakeReply[] = [];
  const honest = () =>
    fake(t, ([command]) =>
      command === "CLUSTER" ? [[0, 16383, ...view]] : command === "PING" || command === "CLIENT" ? "OK" : "-ERR asked an honest one",
    );
  const [one, two] = [await honest(), await honest()];
  const liar = await fake(t, ([command]) => (command === "CLUSTER" ? slotsOf(stranger.port) : undefined));
  view.push(...[one, two, liar].map(({ port }) => ["127.0.0.1", port, "id"]));
  const addresses = [liar, one, two].map(({ port }) => `127.0.0.1:${port}`).join(",");
  t.match(await refusal(`redis-cluster://${addresses}`), /asked an honest one/);
  t.equal(stranger.connections, 0);
});

t.test("a redirection on a plain redis:// address says what to write instead", async (t) => {
  const stranger = await fake(t, () => undefined);
  const node = await fake(t, ([command]) => (command?.startsWith("EVAL") ? `-MOVED 1 127.0.0.1:${stranger.port}` : undefined));
  t.match(await refusal(`redis://127.0.0.1:${node.port}`), /node of a Redis Cluster; write redis-cluster:\/\//);
  t.equal(stranger.connections, 0);
});

t.test("too old a server, a replica, a server that is no cluster, and Sentinels that know nobody are told apart", { skip }, async (t) => {
  const old = await fake(t, ([command]) => (command === "INFO" ? "# Server\r\nredis_version:5.0.14\r\n" : undefined));
  t.match(await refusal(`redis://127.0.0.1:${old.port}`), /version 5\.0\.14 is too old, 6\.2 or later/);

  const redis = await redisOf(t);
  const replica = await redisOf(t, { lines: [`replicaof 127.0.0.1 ${redis.port}`] });
  t.match(await refusal(replica.url), /is a replica, not a master/);
  t.match(await refusal(`redis-cluster://127.0.0.1:${redis.port}`), /cluster support disabled/);

  const sentinel = await fake(t, ([command]) => (command === "SENTINEL" ? null : undefined));
  t.match(await refusal(`redis-sentinel://127.0.0.1:${sentinel.port}/registry`), /no Sentinel knows a master called registry/);
  t.match(await refusal("redis-sentinel://127.0.0.1:1,127.0.0.1:2/registry"), /ECONNREFUSED/);
});

t.test("an ACL user with just the documented permissions, over mutual TLS", { skip }, async (t) => {
  const acl = `user registry on >s3cret ${REDIS_ACL}`;
  const redis = await redisOf(t, { tls: "mutual", lines: ["user default off", acl, "user reader on >s3cret ~remora:* +@read +ping"] });
  const tls = { caPem: redis.caPem ?? "", certPem: redis.caPem ?? "", keyPem: redis.keyPem ?? "" };
  const url = (user: string, password = "s3cret") => `rediss://${user}:${password}@127.0.0.1:${redis.port}`;
  const [a, b] = [await storeOf(t, { url: url("registry") }, { tls }), await storeOf(t, { url: url("registry") }, { tls })];
  await a.renew(leaseOf("i1"), LOAD);
  await until("the other replica knows", () => idsOf(b).join() === "i1");
  await until("it expires", () => idsOf(a).length + idsOf(b).length === 0);

  t.match(await refusal(url("registry", "wrong-one"), { tls }), /WRONGPASS/);
  t.notMatch(await refusal(url("registry", "wrong-one"), { tls }), /wrong-one/);
  const lacking = await refusal(url("reader"), { tls });
  t.match(lacking, /the user lacks a permission: .*(eval|permission).*; it needs ~remora:\* \+@hash/i);
  t.notMatch(lacking, /s3cret/);
  t.match(await refusal(url("registry"), { tls, keyPrefix: "elsewhere" }), /the user lacks a permission: .*key/i);
  t.match(
    await refusal(url("registry"), { tls: { caPem: redis.caPem ?? "" } }),
    /certificate required|connection to .* lost|socket hang up|ECONNRESET/,
  );
});
