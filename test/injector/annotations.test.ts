import t from "tap";
import { loadConfig } from "../../core/config.ts";
import { annotationMarkdown } from "../../injector/annotations/annotation-docs.ts";
import { ANNOTATIONS, type AnnotationName, readAnnotations } from "../../injector/annotations/annotations.ts";
import { injectPod } from "../../injector/inject.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";
import { parsePorts, parseCidrs } from "../../sidecar/capture/rules.ts";
import { sidecarSettings } from "../../sidecar/config.ts";

const GOOD: Record<AnnotationName, readonly string[]> = {
  mode: ["strict", "permissive", " strict "],
  capture: ["transparent", "explicit", "auto"],
  ports: ["8080", "8080=http1,9090=grpc", " 1=tcp , 65535=detect "],
  "opaque-ports": ["3306", "1, 2,65535"],
  "skip-inbound-ports": ["22"],
  "skip-outbound-ports": ["443,53"],
  "skip-outbound-cidrs": ["10.0.0.0/8", "192.0.2.1", "fd00::/8, ::1"],
  egress: ["allow", "deny"],
  allow: ["*", "shop/web", "shop/*, ops/cron", "spiffe://cluster.local/ns/shop/sa/web"],
  "rate-limit": ["100/s", "100/s burst=200 per=identity path=/api/ method=POST; 20/s per=ip shadow", "1/d\n per=all"],
  "max-inflight": ["1", "1000000"],
  routes: [
    "service=orders path=/shop.Orders/ method=POST timeout=2s answer-timeout=500ms idle-timeout=30s retry=idempotent attempts=3; service=ns/pay timeout=1s",
    "timeout=0s",
    "service=pay/*\n retry=undelivered attempts=10",
    "service=api.example.com timeout=1d",
  ],
  "request-timeout": ["0s", "2s", "1d"],
  "answer-timeout": ["500ms"],
  "stream-idle-timeout": ["5m"],
  "retry-budget": ["0%", "20%", "12.5%", "100%"],
  "breaker-failures": ["1", "7", "1000"],
  "breaker-min-backoff": ["10ms", "1s"],
  "breaker-max-backoff": ["60s", "1m"],
  engine: ["splice", "compat"],
  workers: ["1", "64"],
  signing: ["hmac", "sign", "mtls"],
  verify: ["hmac", "sign", "mtls"],
  "drain-timeout": ["30s", "1.5m", "250ms"],
  channel: ["canary", "v1-2"],
  image: ["remora:1.2.3", `registry.example:5000/team/remora@sha256:${"0a".repeat(32)}`, "localhost/remora"],
  "native-sidecar": ["true", "false"],
  "cpu-request": ["100m", "1", "0.5", "1.25"],
  "cpu-limit": ["2"],
  "memory-request": ["64Mi", "1Gi", "134217728"],
  "memory-limit": ["256Mi"],
  "log-level": ["trace", "debug", "info", "warn", "error"],
  "access-log": ["true", "false"],
};

const BAD: Record<AnnotationName, readonly string[]> = {
  mode: ["Strict", "none"],
  capture: ["Auto", "iptables"],
  ports: ["http", "8080=smtp", "0", "65536", "8080=http1=x", "80,80=tcp", "80,"],
  "opaque-ports": ["1-5", "x", "0", ",", Array(300).fill("1").join(",")],
  "skip-inbound-ports": ["-1"],
  "skip-outbound-ports": ["443;53"],
  "skip-outbound-cidrs": ["10.0.0.0/33", "fd00::/129", "example.org", "10.0.0.0/8/8", "fe80::1%eth0", "10.0.0.0/"],
  egress: ["true"],
  allow: [",", "web", "shop/", "* shop/web", "Shop/web", "spiffe://x/y", "shop/web; rm -rf /"],
  "rate-limit": [
    "100",
    "100/w",
    "0/s",
    "x/s",
    "10/s burst",
    "10/s per=user",
    "10/s per=ip per=ip",
    "10/s path=api",
    "10/s method=post",
    "10/s;",
    "10/s extra",
  ],
  routes: [
    ";",
    "timeout=2",
    "timeout=2s;",
    "timeout=2d",
    "service=Orders timeout=1s",
    "service=* timeout=1s",
    "service=a/b/c timeout=1s",
    "path=api timeout=1s",
    "path=/a%2fb timeout=1s",
    "method=post timeout=1s",
    "retry=always",
    "attempts=0",
    "attempts=11",
    "timeout=1s timeout=2s",
    "service=orders 2s",
    Array(65).fill("timeout=1s").join(";"),
  ],
  "request-timeout": ["2", "none", "-1s", "2d"],
  "answer-timeout": ["500"],
  "stream-idle-timeout": ["5 m"],
  "retry-budget": ["20", "0.2", "101%", "-1%"],
  "breaker-failures": ["0", "1001", "7x"],
  "breaker-min-backoff": ["1", "1ms", "2h"],
  "breaker-max-backoff": ["60", "0s", "2d"],
  "max-inflight": ["0", "1e6", "-1", "1000001"],
  engine: ["Splice", "nginx", "splice,compat"],
  workers: ["0", "65", "1.5", "auto"],
  signing: ["none"],
  verify: ["HMAC"],
  "drain-timeout": ["30", "s", "-1s", "1w"],
  channel: ["Stable", "a.b", "-a", "a".repeat(64)],
  image: ["remora:1 2", "Remora:1", "remora:", "remora@sha256:12", "a\nb", "$(id)", "a".repeat(600)],
  "native-sidecar": ["yes", "True"],
  "cpu-request": ["0", "0m", "100M", "1.2345", "0.00"],
  "cpu-limit": ["none"],
  "memory-request": ["0", "64MB", "64 Mi", "-1Mi"],
  "memory-limit": ["1e9x"],
  "log-level": ["verbose"],
  "access-log": ["on"],
};

const SETTINGS = { ...defaultInjectorSettings("0.1.0"), trustPins: [] };

/** The environment that our two containers get for one annotation. */
function environmentFor(name: string, value: string): { sidecar: Record<string, string>; init: Record<string, string> } {
  const pod = {
    metadata: { annotations: { [`remora.io/${name}`]: value } },
    spec: { containers: [{ name: "a", ports: [{ containerPort: 80 }] }] },
  };
  const injected = injectPod(pod, noSurroundings("shop"), { kind: "command" }, SETTINGS).pod;
  const read = (container: string) => {
    const found = [...(injected?.spec.initContainers ?? []), ...(injected?.spec.containers ?? [])].find(
      (candidate) => candidate.name === container,
    );
    const entries = ((found?.["env"] ?? []) as { name: string; value?: string }[]).flatMap(({ name: key, value: text }) =>
      text === undefined ? [] : [[key, text]],
    );
    return Object.fromEntries(entries) as Record<string, string>;
  };
  return { sidecar: read("remora-sidecar"), init: read("remora-init") };
}

t.test("what an annotation allows, the sidecar and its init container understand", async (t) => {
  for (const [name, values] of Object.entries(GOOD)) {
    for (const value of values) {
      t.strictSame(readAnnotations({ [`remora.io/${name}`]: value }).mistakes, [], `${name}: ${JSON.stringify(value)}`);
      const { sidecar, init } = environmentFor(name, value);
      t.doesNotThrow(() => loadConfig("sidecar", sidecarSettings, sidecar), `the sidecar starts with ${JSON.stringify(value)}`);
      parsePorts("skip", (init["REMORA_SKIP_INBOUND_PORTS"] ?? "").split(","));
      parsePorts("skip", (init["REMORA_SKIP_OUTBOUND_PORTS"] ?? "").split(","));
      parseCidrs("skip", (init["REMORA_SKIP_OUTBOUND_CIDRS"] ?? "").split(","));
    }
  }
});

t.test(
  "the engine that a pod asks for is the one that its sidecar gets; without the annotation it is the sidecar's own default",
  async (t) => {
    for (const engine of ["splice", "compat"]) t.equal(environmentFor("engine", engine).sidecar["REMORA_ENGINE"], engine);
    t.notOk("REMORA_ENGINE" in environmentFor("mode", "strict").sidecar);
  },
);

t.test("what is outside is refused with annotation, value and what is allowed", async (t) => {
  for (const [name, values] of Object.entries(BAD)) {
    for (const value of ["", "   ", ...values]) {
      const { mistakes } = readAnnotations({ [`remora.io/${name}`]: value });
      t.equal(mistakes.length, 1, `${name}: ${JSON.stringify(value.slice(0, 60))}`);
      t.ok(mistakes[0]?.startsWith(`annotation remora.io/${name}: ${JSON.stringify(value.slice(0, 100))}`), mistakes[0] ?? "nothing");
      t.ok(mistakes[0]?.endsWith(`allowed: ${ANNOTATIONS[name as AnnotationName].type.allowed}`));
    }
  }
});

t.test("all mistakes are told at once", async (t) => {
  t.equal(readAnnotations({ "remora.io/mode": "x", "remora.io/egress": "y", "remora.io/allow": "*" }).mistakes.length, 2);
});

t.test("hostile names and values do no harm", async (t) => {
  const hostile = [
    "a/b~1c",
    "'; DROP TABLE",
    "\u0000\u001b[31m",
    "---\nkind: Pod",
    "x".repeat(1_000_000),
    "__proto__",
    '"}],"op":"remove"',
  ];
  for (const value of hostile) {
    for (const name of Object.keys(ANNOTATIONS)) {
      const { mistakes } = readAnnotations({ [`remora.io/${name}`]: value });
      t.equal(mistakes.length, 1, name);
      t.ok((mistakes[0] ?? "").length < 1000, "the message stays short");
      t.notMatch(mistakes[0], /\p{Cc}/u, "and printable");
    }
    const { warnings } = readAnnotations({ [`remora.io/${value}`]: "x", [value]: "not ours" });
    t.equal(warnings.length, 1);
    t.ok((warnings[0] ?? "").length < 1000);
    t.notMatch(warnings[0], /\p{Cc}/u);
  }
});

t.test("a name that we do not know warns with the nearest one; the label as an annotation is named as such", async (t) => {
  t.strictSame(readAnnotations({ "remora.io/mod": "strict" }).warnings, [
    'annotation "remora.io/mod" is unknown and has no effect; did you mean remora.io/mode?',
  ]);
  t.strictSame(readAnnotations({ "remora.io/something-else": "x" }).warnings, [
    'annotation "remora.io/something-else" is unknown and has no effect',
  ]);
  t.strictSame(readAnnotations({ "remora.io/inject": "enabled" }).warnings, ['annotation "remora.io/inject" has no effect: it is a label']);
  t.strictSame(readAnnotations({ "remora.io/injected": "x", "other.io/mod": "x" }).warnings, []);
});

t.test("the table documents every annotation", async (t) => {
  const lines = annotationMarkdown().split("\n");
  t.equal(lines.length, Object.keys(ANNOTATIONS).length + 2);
  for (const line of lines) t.equal(line.replaceAll("\\|", "").split("|").length, 8, line);
});
