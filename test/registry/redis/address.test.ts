import t from "tap";
import { loadControlConfig } from "../../../cli/control/config.ts";
import { endpointName, parseEndpoint, parseRedisAddress } from "../../../registry/redis/address.ts";
import { slotOf } from "../../../registry/redis/slot.ts";

function refusalOf(url: string): Error | null {
  try {
    parseRedisAddress(url);
    return null;
  } catch (error) {
    return error as Error;
  }
}

t.test("addresses of one server, of Sentinels and of a cluster are read as they are written", async (t) => {
  t.match(parseRedisAddress("redis://host"), {
    mode: "single",
    tls: false,
    login: null,
    endpoint: { host: "host", port: 6379 },
    database: 0,
  });
  t.match(parseRedisAddress("rediss://user:p%40ss%2Fword@[fd00::1]:7000/3"), {
    mode: "single",
    tls: true,
    login: { user: "user", password: "p@ss/word" },
    endpoint: { host: "fd00::1", port: 7000 },
    database: 3,
    shown: "rediss://[fd00::1]:7000/3",
  });
  t.match(parseRedisAddress("redis://:only@password@host/"), { login: { user: null, password: "only@password" } });
  t.match(parseRedisAddress("redis-sentinel://:pw@s1,s2:1,10.0.0.3/my-master/2"), {
    mode: "sentinel",
    sentinels: [
      { host: "s1", port: 26379 },
      { host: "s2", port: 1 },
      { host: "10.0.0.3", port: 26379 },
    ],
    master: "my-master",
    database: 2,
    shown: "redis-sentinel://s1:26379,s2:1,10.0.0.3:26379/my-master",
  });
  t.match(parseRedisAddress("rediss-cluster://n1,n2:7001"), { mode: "cluster", tls: true, nodes: [{ port: 6379 }, { port: 7001 }] });
});

t.test("what contradicts itself is refused with what to write instead, and without the password", async (t) => {
  for (const [url, expected] of [
    ["http://:s3cret@host", /must be redis:\/\/HOST.*got http:\/\//],
    ["s3cret", /no URL/],
    ["redis://:s3cret@a,b", /several servers: write redis-cluster/],
    ["redis-sentinel://:s3cret@a,b", /name of the master/],
    ["redis-sentinel://:s3cret@a/b/1/2", /name of the master/],
    ["redis-cluster://:s3cret@a/2", /only database 0/],
    ["redis://:s3cret@host:0", /port from 1 to 65535/],
    ["redis://:s3cret@host:70000", /port from 1 to 65535/],
    ["redis://:s3cret@", /a host is a name/],
    ["redis://:s3cret@ho st", /a host is a name/],
    ["redis://:s3cret@host/first", /database that is no number/],
    ["redis://user@host", /user without a password/],
    ["redis://:s3cret%@host", /write %25/],
    [`redis-cluster://${"a,".repeat(64)}a`, /at most 64/],
  ] as const) {
    const error = refusalOf(url);
    t.match(error, { code: "bad_request", message: expected }, url);
    t.notMatch(error?.message, /s3cret/);
  }
});

t.test("settings that do not go together are told all at once", async (t) => {
  const mistakes = (env: Record<string, string>) => {
    try {
      loadControlConfig({ REMORA_STORE: "redis", ...env });
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };
  t.equal(mistakes({ REMORA_REDIS_URL: "redis-sentinel://a,b/master", REMORA_REDIS_SENTINEL_PASSWORD: "x" }), "");
  t.equal(mistakes({ REMORA_REDIS_URL: "rediss-cluster://a,b", REMORA_REDIS_CA_FILE: "/ca.pem" }), "");
  const all = mistakes({ REMORA_REDIS_URL: "redis://a", REMORA_REDIS_CERT_FILE: "/c", REMORA_REDIS_SENTINEL_USER: "u" });
  t.match(all, /are for TLS/);
  t.match(all, /CERT_FILE and REMORA_REDIS_KEY_FILE go together/);
  t.match(all, /are for redis-sentinel:\/\//);
  t.match(all, /SENTINEL_USER needs REMORA_REDIS_SENTINEL_PASSWORD/);
  t.match(mistakes({ REMORA_REDIS_URL: "redis://:s3cret@a,b" }), /several servers/);
  t.notMatch(mistakes({ REMORA_REDIS_URL: "redis://:s3cret@a,b" }), /s3cret/);
});

t.test("slots are those of the cluster specification", async (t) => {
  t.equal(slotOf("123456789"), 0x31c3);
  t.equal(slotOf("foo{hash}bar"), slotOf("hash"));
  t.equal(slotOf("foo{}{bar}"), 8363, "an empty tag is none");
  t.not(slotOf("foo{{bar}}zap"), slotOf("bar"));
  t.equal(slotOf("foo{{bar}}zap"), slotOf("{bar"));
});

t.test("names of servers survive printing and parsing", async (t) => {
  for (const endpoint of [
    { host: "a.b", port: 1 },
    { host: "fd00::1", port: 65535 },
    { host: "10.0.0.1", port: 6379 },
  ])
    t.strictSame(parseEndpoint(endpointName(endpoint)), endpoint);
  for (const text of ["", ":", "a", "a:0", "a:65536", "a:b", ":6379"]) t.equal(parseEndpoint(text), null, text);
});
