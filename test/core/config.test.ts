import { inspect } from "node:util";
import t from "tap";
import { environmentName, loadConfig, setting, settingsMarkdown } from "../../core/config.ts";
import { ConfigError } from "../../core/errors.ts";
import { Secret } from "../../core/secret.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

const table = {
  outboundPort: setting.port({ default: 15001, doc: "Port for traffic from the app." }),
  mode: setting.choice({ values: ["strict", "permissive"], default: "strict", doc: "What unauthenticated clients get." }),
  drainTimeout: setting.duration({ default: "30s", min: "1s", max: "10m", doc: "Bound of the drain." }),
  maxBody: setting.size({ default: 65_536, doc: "Largest body." }),
  maxInflight: setting.integer({ default: 1024, min: 1, max: 100_000, doc: "Requests at once." }),
  ratio: setting.number({ default: 0.5, max: 1, doc: "Share of something." }),
  accessLog: setting.flag({ default: false, doc: "One line a request." }),
  opaquePorts: setting.list({ default: ["25"], pattern: /^\d+$/, allowed: "ports separated by commas", doc: "Ports left alone." }),
  bindAddress: setting.ip({ default: "::", doc: "Where to listen." }),
  channel: setting.text({ default: null, doc: "Version track." }),
  metricsToken: setting.secret({ default: null, doc: "Asked for at /metrics." }),
  exporter: setting.text({ name: "OTEL_EXPORTER_OTLP_ENDPOINT", default: null, doc: "Where spans go." }),
  pair: setting.parsed({
    default: null,
    allowed: "two words, a|b",
    doc: "A grammar of its own.",
    parse(text) {
      const [left, right, ...more] = text.split("|");
      if (left === undefined || right === undefined || more.length > 0) throw new Error("there must be one bar");
      return { left, right };
    },
  }),
};

function mistakesOf(env: Record<string, string>, alsoKnown: readonly string[] = []): readonly string[] {
  try {
    loadConfig("sidecar", table, env, { alsoKnown });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    t.equal(error.code, "invalid_settings");
    return error.fields["mistakes"] as readonly string[];
  }
  return [];
}

t.test("an empty environment gives the defaults, frozen", async (t) => {
  const config = loadConfig("sidecar", table, {});
  t.same(config, {
    outboundPort: 15001,
    mode: "strict",
    drainTimeout: 30_000,
    maxBody: 65_536,
    maxInflight: 1024,
    ratio: 0.5,
    accessLog: false,
    opaquePorts: ["25"],
    bindAddress: "::",
    channel: null,
    metricsToken: null,
    exporter: null,
    pair: null,
  });
  t.ok(Object.isFrozen(config));
  t.throws(() => Object.assign(config, { mode: "permissive" }), TypeError);
});

t.test("given values arrive typed, durations in ms and sizes in bytes", async (t) => {
  const config = loadConfig("sidecar", table, {
    REMORA_OUTBOUND_PORT: "0",
    REMORA_MODE: "permissive",
    REMORA_DRAIN_TIMEOUT: " 5m\n",
    REMORA_MAX_BODY: "1MiB",
    REMORA_MAX_INFLIGHT: "1",
    REMORA_RATIO: "0.25",
    REMORA_ACCESS_LOG: "true",
    REMORA_OPAQUE_PORTS: "25, 587",
    REMORA_BIND_ADDRESS: "127.0.0.1",
    REMORA_CHANNEL: "canary",
    REMORA_METRICS_TOKEN: "hunter2",
    OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318",
    REMORA_PAIR: "a|b",
    PATH: "/bin",
  });
  const { metricsToken, ...rest } = config;
  t.same(rest, {
    outboundPort: 0,
    mode: "permissive",
    drainTimeout: 300_000,
    maxBody: 1_048_576,
    maxInflight: 1,
    ratio: 0.25,
    accessLog: true,
    opaquePorts: ["25", "587"],
    bindAddress: "127.0.0.1",
    channel: "canary",
    exporter: "http://127.0.0.1:4318",
    pair: { left: "a", right: "b" },
  });
  t.ok(metricsToken instanceof Secret);
  t.equal(metricsToken?.reveal(), "hunter2");
  t.notMatch(inspect(config) + JSON.stringify(config), /hunter2/);
});

t.test("all mistakes are reported at once, with the value, what is allowed and what was meant", async (t) => {
  const mistakes = mistakesOf({
    REMORA_OUTBOND_PORT: "15001",
    REMORA_OUTBOUND_PORT: "70000",
    REMORA_MODE: "stict",
    REMORA_DRAIN_TIMEOUT: "30",
    REMORA_MAX_BODY: "10MB",
    REMORA_MAX_INFLIGHT: "0",
    REMORA_RATIO: "1e-1",
    REMORA_ACCESS_LOG: "yes",
    REMORA_OPAQUE_PORTS: "25,,587",
    REMORA_BIND_ADDRESS: "localhost",
    REMORA_PAIR: "a|b|c",
  });
  t.same(mistakes, [
    "REMORA_OUTBOND_PORT is not a setting here; did you mean REMORA_OUTBOUND_PORT?",
    'REMORA_OUTBOUND_PORT="70000" is not valid: expected a port from 0 to 65535',
    'REMORA_MODE="stict" is not valid: expected one of strict, permissive (did you mean strict?)',
    'REMORA_DRAIN_TIMEOUT="30" is not valid: expected a number with a unit: "250ms", "5s", "1m", "2h" or "1d", at least 1s, at most 10m (it has no unit)',
    'REMORA_MAX_BODY="10MB" is not valid: expected a number with a unit: "64B", "64KiB", "10MiB" or "1GiB"',
    'REMORA_MAX_INFLIGHT="0" is not valid: expected a whole number from 1 to 100000',
    'REMORA_RATIO="1e-1" is not valid: expected a number from 0 to 1',
    'REMORA_ACCESS_LOG="yes" is not valid: expected true or false',
    'REMORA_OPAQUE_PORTS="25,,587" is not valid: expected ports separated by commas (an item is empty)',
    'REMORA_BIND_ADDRESS="localhost" is not valid: expected an IPv4 or IPv6 address',
    'REMORA_PAIR="a|b|c" is not valid: expected two words, a|b (there must be one bar)',
  ]);
});

t.test("the message begins with the count and has one line per mistake", async (t) => {
  t.throws(() => loadConfig("sidecar", table, { REMORA_MODE: "x", REMORA_RATIO: "2" }), {
    message: /^2 mistakes in the settings of sidecar:\n {2}REMORA_MODE.*\n {2}REMORA_RATIO.*$/,
  });
  t.throws(() => loadConfig("sidecar", table, { REMORA_MODE: "x" }), { message: /^1 mistake in/ });
});

t.test("a list names the item that is wrong", async (t) => {
  t.match(mistakesOf({ REMORA_OPAQUE_PORTS: "25,x1" }), [/expected ports separated by commas \(not "x1"\)$/]);
});

t.test("a duration out of bounds is refused", async (t) => {
  t.match(mistakesOf({ REMORA_DRAIN_TIMEOUT: "11m" }), [/at most 10m/]);
  t.match(mistakesOf({ REMORA_DRAIN_TIMEOUT: "999ms" }), [/at least 1s/]);
});

t.test("a required setting that is missing is named with its meaning", async (t) => {
  const required = { joinToken: setting.secret({ doc: "From `remora token`." }) };
  t.throws(() => loadConfig("sidecar", required, {}), {
    message: /REMORA_JOIN_TOKEN is missing: expected a secret text \(From `remora token`\.\)/,
  });
});

t.test("a secret's value is in no message, error field or cause", async (t) => {
  for (const value of ["hunter2\u0007", `hunter2${"x".repeat(70_000)}`]) {
    try {
      loadConfig("sidecar", table, { REMORA_METRICS_TOKEN: value });
      t.fail("must be refused");
    } catch (error) {
      t.match(error, { message: /REMORA_METRICS_TOKEN=\[redacted\] is not valid/ });
      t.notMatch(inspect(error, { depth: 9 }), /hunter2/);
    }
  }
});

t.test("an empty value is a mistake where it could only be an accident", async (t) => {
  t.match(mistakesOf({ REMORA_METRICS_TOKEN: "" }), [/REMORA_METRICS_TOKEN is set but empty/], "an empty secret would leave a door open");
  t.match(mistakesOf({ REMORA_METRICS_TOKEN: " \n" }), [/is set but empty/]);
  t.match(mistakesOf({ REMORA_MODE: "" }), [/REMORA_MODE is set but empty/]);
  t.match(mistakesOf({ REMORA_OUTBOUND_PORT: "" }), [/is set but empty/]);
  const config = loadConfig("sidecar", table, { REMORA_CHANNEL: "", REMORA_OPAQUE_PORTS: "", REMORA_PAIR: " " });
  t.equal(config.channel, null);
  t.equal(config.pair, null);
  t.same(config.opaquePorts, [], "an empty list is a list, not the default");
});

t.test("names of other components are refused unless they are declared as known", async (t) => {
  t.match(mistakesOf({ REMORA_REDIS_URL: "redis://x" }), [/^REMORA_REDIS_URL is not a setting here$/]);
  t.same(mistakesOf({ REMORA_REDIS_URL: "redis://x" }, ["REMORA_REDIS_URL"]), []);
});

t.test("an unknown name's value is not repeated, and control characters never reach a terminal", async (t) => {
  const mistakes = mistakesOf({ "REMORA_X\u001b[31m": "s3cret", REMORA_MODE: "a\u001b[31mb" });
  t.notMatch(mistakes.join("\n"), /s3cret/);
  t.notOk(mistakes.join("\n").includes("\u001b"));
});

t.test("a very long value is cut in the message", async (t) => {
  const [mistake = ""] = mistakesOf({ REMORA_MODE: "z".repeat(50_000) });
  t.ok(mistake.length < 300, `${mistake.length}`);
});

t.test("what Kubernetes sets for Services called remora-… is no mistake and no setting", async (t) => {
  const links = {
    REMORA_CONTROL_SERVICE_HOST: "10.0.0.7",
    REMORA_CONTROL_SERVICE_PORT: "15010",
    REMORA_CONTROL_SERVICE_PORT_GRPC: "15010",
    REMORA_CONTROL_PORT: "tcp://10.0.0.7:15010",
    REMORA_CONTROL_PORT_15010_TCP: "tcp://10.0.0.7:15010",
    REMORA_CONTROL_PORT_15010_TCP_PROTO: "tcp",
    REMORA_CONTROL_PORT_15010_TCP_PORT: "15010",
    REMORA_CONTROL_PORT_15010_TCP_ADDR: "10.0.0.7",
    REMORA_OUTBOUND_SERVICE_HOST: "10.0.0.8",
    REMORA_OUTBOUND_SERVICE_PORT: "80",
    REMORA_OUTBOUND_PORT: "tcp://10.0.0.8:80",
  };
  t.equal(loadConfig("sidecar", table, links).outboundPort, 15001, "a Service remora-outbound does not set the port");
  t.equal(loadConfig("sidecar", table, { ...links, REMORA_OUTBOUND_PORT: "16001" }).outboundPort, 16001, "a value that someone set does");
  t.equal(mistakesOf({ REMORA_CONTROL_PORT: "tcp://10.0.0.7:15010" }).length, 1, "without its host variable it is just unknown");
  t.equal(mistakesOf({ ...links, REMORA_CONTROL_TOKEN: "x" }).length, 1, "the prefix alone excuses nothing");
});

t.test("whatever the environment holds, the answer is settings or one ConfigError", async (t) => {
  const random = createSeededRandom(4);
  const names = Object.entries(table).map(([key, declared]) => environmentName(key, declared));
  const pieces = [
    "",
    "0",
    "-1",
    "1e9",
    "9".repeat(400),
    "5s",
    "1KiB",
    "true",
    ",",
    "|",
    "a|b",
    "::",
    "strict",
    "\u0000",
    "\n",
    "\ud800",
    "ü",
    "__proto__",
    " ",
    "%s",
    "{{x}}",
  ];
  for (let round = 0; round < 2000; round++) {
    const env: Record<string, string> = Object.create(null) as Record<string, string>;
    for (let n = random.below(6); n > 0; n--) {
      const name = random.below(5) === 0 ? `REMORA_${random.pick(pieces)}` : random.pick(names);
      env[name] = Array.from({ length: 1 + random.below(3) }, () => random.pick(pieces)).join("");
    }
    try {
      loadConfig("fuzz", table, env);
    } catch (error) {
      if (!(error instanceof ConfigError)) t.fail(`${JSON.stringify(env)}: ${String(error)}`);
    }
  }
});

t.test("a name follows from the key", async (t) => {
  t.equal(environmentName("maxInflight", { env: null }), "REMORA_MAX_INFLIGHT");
  t.equal(environmentName("podIps", { env: null }), "REMORA_POD_IPS");
  t.equal(environmentName("mode", { env: "MODE" }), "MODE");
});

t.test("a default that breaks its own rules is a mistake of the programmer", async (t) => {
  t.throws(() => setting.duration({ default: "30", doc: "" }), RangeError);
  t.throws(() => setting.integer({ default: 0, min: 1, doc: "" }), RangeError);
});

t.test("the README table has a row per setting, with no secret and no broken cell", async (t) => {
  const lines = settingsMarkdown(table).split("\n");
  t.equal(lines.length, Object.keys(table).length + 2);
  t.ok(lines.includes("| `REMORA_OUTBOUND_PORT` | `15001` | a port from 0 to 65535 | Port for traffic from the app. |"));
  t.ok(lines.includes('| `REMORA_MAX_BODY` | `64KiB` | a number with a unit: "64B", "64KiB", "10MiB" or "1GiB" | Largest body. |'));
  t.ok(lines.includes("| `REMORA_PAIR` | none | two words, a\\|b | A grammar of its own. |"));
  t.ok(lines.includes("| `OTEL_EXPORTER_OTLP_ENDPOINT` | none | text | Where spans go. |"));
});
