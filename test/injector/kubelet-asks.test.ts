// What the kubelet asks of the app over the network, and what becomes of it: probes and http hooks of all containers that keep running.
import t from "tap";
import { injectPod } from "../../injector/inject.ts";
import { formatMarker, type Marker, parseMarker } from "../../injector/patch/marker.ts";
import { allContainers, type Container, type Pod } from "../../injector/pod/pod.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const PORTS = [
  { name: "web", containerPort: 8080 },
  { name: "api", containerPort: 9090, protocol: "TCP" },
];
type Place = "container" | "native sidecar";
const PLACES: readonly Place[] = ["container", "native sidecar"];

interface Outcome {
  readonly container: Container;
  readonly probes: unknown;
  readonly hooks: Readonly<Record<string, { readonly token: string }>> | undefined;
  readonly warnings: readonly string[];
  readonly pod: Pod;
  readonly original: Pod;
}

function inject(fields: object, annotations: Readonly<Record<string, string>> = {}, place: Place = "container", key = ""): Outcome {
  const own = { name: "app", image: "app:1", ports: PORTS, ...fields };
  const spec =
    place === "container"
      ? { containers: [own] }
      : { containers: [{ name: "main" }], initContainers: [{ ...own, restartPolicy: "Always" }] };
  const original = { metadata: { name: "web", annotations }, spec } as unknown as Pod;
  const { pod, warnings, decision } = injectPod(original, noSurroundings("shop"), { kind: "command" }, { ...SETTINGS, hookKey: key });
  t.equal(decision.action, "inject", decision.message);
  const find = (name: string) => allContainers(pod as Pod).find((container) => container.name === name) as Container;
  const env = (name: string) => {
    const variable = ((find("remora-sidecar")["env"] ?? []) as { name: string; value?: string }[]).find((one) => one.name === name);
    return variable?.value === undefined ? undefined : (JSON.parse(variable.value) as never);
  };
  return { container: find("app"), probes: env("REMORA_PROBES"), hooks: env("REMORA_HOOKS"), warnings, pod: pod as Pod, original };
}

const HEADERS = [{ name: "X-Check", value: "1" }];
const ASKS: readonly [string, object, object][] = [
  ["http", { httpGet: { path: "/h?x=1", port: 8080 } }, { httpGet: { path: "/h?x=1", port: 8080, scheme: "HTTP" } }],
  ["http by name", { httpGet: { port: "web" } }, { httpGet: { path: "/", port: 8080, scheme: "HTTP" } }],
  ["http with digits for a port", { httpGet: { port: "9090" } }, { httpGet: { path: "/", port: 9090, scheme: "HTTP" } }],
  [
    "https with headers",
    { httpGet: { path: "/h", port: "api", scheme: "HTTPS", httpHeaders: HEADERS } },
    { httpGet: { path: "/h", port: 9090, scheme: "HTTPS", httpHeaders: HEADERS } },
  ],
  ["http without a host", { httpGet: { path: "/", port: 8080, host: "" } }, { httpGet: { path: "/", port: 8080, scheme: "HTTP" } }],
  [
    "http with a header that has no value",
    { httpGet: { port: 80, httpHeaders: [{ name: "X-Empty" }] } },
    { httpGet: { path: "/", port: 80, scheme: "HTTP", httpHeaders: [{ name: "X-Empty", value: "" }] } },
  ],
  ["tcp", { tcpSocket: { port: 5432 } }, { tcpSocket: { port: 5432 } }],
  ["tcp by name", { tcpSocket: { port: "api" } }, { tcpSocket: { port: 9090 } }],
  ["gRPC", { grpc: { port: 9090 } }, { grpc: { port: 9090, service: "" } }],
  ["gRPC with a service", { grpc: { port: 9090, service: "shop.v1" } }, { grpc: { port: 9090, service: "shop.v1" } }],
];
const PACE = {
  initialDelaySeconds: 3,
  timeoutSeconds: 4,
  periodSeconds: 7,
  successThreshold: 1,
  failureThreshold: 9,
  terminationGracePeriodSeconds: 5,
};

t.test("every probe over the network asks the sidecar, which asks the app what was asked before", async (t) => {
  for (const place of PLACES) {
    for (const [field, kind] of [
      ["livenessProbe", "liveness"],
      ["readinessProbe", "readiness"],
      ["startupProbe", "startup"],
    ] as const) {
      for (const [what, handler, ask] of ASKS) {
        const { container, probes, pod, original } = inject({ [field]: { ...handler, ...PACE } }, {}, place);
        const name = `${what}, ${kind} of a ${place}`;
        t.strictSame(container[field], { httpGet: { path: `/app-health/app/${kind}`, port: 15020, scheme: "HTTP" }, ...PACE }, name);
        t.strictSame(probes, { [`app/${kind}`]: { ...ask, timeoutSeconds: 4 } }, name);
        t.strictSame(uninjectPod(pod), original, name);
      }
    }
  }
});

t.test("every http hook asks the sidecar, under a path that nobody guesses", async (t) => {
  for (const place of PLACES) {
    for (const hook of ["postStart", "preStop"] as const) {
      for (const [what, handler, ask] of ASKS.filter(([, one]) => "httpGet" in one)) {
        const { container, hooks, probes, pod, original } = inject({ lifecycle: { [hook]: handler, stopSignal: "SIGUSR1" } }, {}, place);
        const token = hooks?.[`app/${hook}`]?.token;
        const name = `${what}, ${hook} of a ${place}`;
        t.match(token, /^[0-9a-f]{32}$/, name);
        t.strictSame(
          container.lifecycle,
          { [hook]: { httpGet: { path: `/app-hook/app/${hook}/${token}`, port: 15020, scheme: "HTTP" } }, stopSignal: "SIGUSR1" },
          name,
        );
        t.strictSame(hooks, { [`app/${hook}`]: { ...ask, token } }, name);
        t.equal(probes, undefined, name);
        t.strictSame(uninjectPod(pod), original, name);
      }
    }
  }
});

t.test("the path of a hook depends on the installation's key and on the pod, and on nothing else", async (t) => {
  const token = (key: string, path = "/bye") =>
    inject({ lifecycle: { preStop: { httpGet: { path, port: 80 } } } }, {}, "container", key).hooks?.["app/preStop"]?.token;
  t.equal(token("a"), token("a"));
  t.not(token("a"), token("b"));
  t.not(token("a"), token("a", "/other"));
});

t.test("what the kubelet can do by itself stays", async (t) => {
  const skips = { "remora.io/skip-inbound-ports": "8080" };
  const cases: readonly [string, object, Readonly<Record<string, string>>][] = [
    ["exec probes", { livenessProbe: { exec: { command: ["true"] } }, startupProbe: { exec: { command: ["true"] } } }, {}],
    ["exec hooks", { lifecycle: { postStart: { exec: { command: ["true"] } }, preStop: { exec: { command: ["true"] } } } }, {}],
    ["a sleep hook", { lifecycle: { preStop: { sleep: { seconds: 5 } } } }, {}],
    ["a tcp hook, which no kubelet runs", { lifecycle: { preStop: { tcpSocket: { port: 8080 } } } }, {}],
    ["a probe of another host", { livenessProbe: { httpGet: { port: 80, host: "example.org" } } }, {}],
    ["a tcp probe of another host", { livenessProbe: { tcpSocket: { port: 80, host: "10.0.0.1" } } }, {}],
    ["a hook to another host", { lifecycle: { postStart: { httpGet: { port: 80, host: "example.org" } } } }, {}],
    [
      "ports that are not captured",
      {
        livenessProbe: { httpGet: { port: "web" } },
        readinessProbe: { tcpSocket: { port: 8080 } },
        lifecycle: { preStop: { httpGet: { port: 8080 } } },
      },
      skips,
    ],
    [
      "explicit capture",
      { livenessProbe: { httpGet: { port: "web" } }, lifecycle: { preStop: { httpGet: { port: 8080 } } } },
      { "remora.io/capture": "explicit" },
    ],
    ["a container without any", {}, {}],
  ];
  for (const [what, fields, annotations] of cases) {
    for (const place of PLACES) {
      const { container, probes, hooks, original, warnings } = inject(fields, annotations, place);
      t.strictSame(
        container,
        allContainers(original).find(({ name }) => name === "app"),
        `${what}, ${place}`,
      );
      t.strictSame([probes, hooks, warnings], [undefined, undefined, []], `${what}, ${place}`);
    }
  }
});

t.test("a port that the container does not have is pointed out, and the probe stays", async (t) => {
  const { container, warnings } = inject({
    livenessProbe: { httpGet: { port: "nope" } },
    lifecycle: { preStop: { httpGet: { port: "gone" } } },
  });
  t.match(container, { livenessProbe: { httpGet: { port: "nope" } }, lifecycle: { preStop: { httpGet: { port: "gone" } } } });
  t.match(warnings, [/container app: livenessProbe names the port "nope"/, /container app: the preStop hook names the port "gone"/]);
});

t.test("init containers that end have no probes to redirect", async (t) => {
  const value = { spec: { containers: [{ name: "app" }], initContainers: [{ name: "once", livenessProbe: { httpGet: { port: 80 } } }] } };
  const { pod } = injectPod(value, noSurroundings("shop"), { kind: "command" }, SETTINGS);
  t.strictSame(pod?.spec.initContainers?.at(-1), value.spec.initContainers[0]);
});

t.test("two containers may have probes of the same kind, and a shared port", async (t) => {
  const probe = { httpGet: { port: 8080 } };
  const value = {
    spec: {
      containers: [
        { name: "a", livenessProbe: probe },
        { name: "b", livenessProbe: probe },
      ],
    },
  };
  const { pod, details } = injectPod(value, noSurroundings("shop"), { kind: "command" }, SETTINGS);
  t.strictSame(
    pod?.spec.containers.map((container) => container.livenessProbe?.httpGet?.path),
    ["/app-health/a/liveness", "/app-health/b/liveness"],
  );
  t.strictSame(details?.redirected, ["a/liveness", "b/liveness"]);
});

t.test("a container that another webhook adds later keeps its probes, and its owner is told", async (t) => {
  const { pod } = inject({ livenessProbe: { httpGet: { port: "web" } } });
  const late = {
    ...pod,
    spec: { ...pod.spec, containers: [...pod.spec.containers, { name: "late", livenessProbe: { httpGet: { port: 7000 } } }] },
  };
  const again = injectPod(late, noSurroundings("shop"), { kind: "command" }, SETTINGS);
  t.strictSame(again.patch, []);
  t.match(again.warnings, [/container late came after the sidecar.*skip-inbound-ports/]);
  t.strictSame(injectPod(pod, noSurroundings("shop"), { kind: "command" }, SETTINGS).warnings, [], "ours are nobody's surprise");
});

t.test("probes and hooks that somebody changed after the injection are theirs", async (t) => {
  const { pod } = inject({
    livenessProbe: { httpGet: { port: "web" } },
    lifecycle: { preStop: { httpGet: { port: 80 } }, postStart: { httpGet: { port: 80 } } },
  });
  const changed = JSON.parse(JSON.stringify(pod)) as { spec: { containers: Record<string, unknown>[] } };
  const [app] = changed.spec.containers;
  if (app === undefined) throw new Error("no container");
  app["livenessProbe"] = { tcpSocket: { port: 1 } };
  app["lifecycle"] = { ...(app["lifecycle"] as object), preStop: { sleep: { seconds: 1 } } };
  t.match(uninjectPod(changed as unknown as Pod)?.spec.containers[0], {
    livenessProbe: { tcpSocket: { port: 1 } },
    lifecycle: { preStop: { sleep: { seconds: 1 } }, postStart: { httpGet: { port: 80 } } },
  });
});

t.test("a marker reads as it was printed, and those of earlier versions still do", async (t) => {
  const marker: Marker = {
    version: "0.1.0",
    channel: "stable",
    sidecar: "native",
    capture: "transparent",
    defaultContainer: "app",
    made: { "spec.volumes": "null" },
    probes: { app: { livenessProbe: { httpGet: { port: "web" } } } },
    hooks: { app: { preStop: { httpGet: { port: 80 } } } },
  };
  t.strictSame(parseMarker(formatMarker(marker)), marker);
  const earlier = { version: "0.0.9", sidecar: "legacy", capture: "explicit", defaultContainer: true, made: {}, probes: {} };
  t.strictSame(parseMarker(JSON.stringify(earlier)), earlier);
  const wrong = [
    "",
    "null",
    "[]",
    "{}",
    JSON.stringify({ ...earlier, sidecar: "other" }),
    JSON.stringify({ ...marker, hooks: { app: { other: {} } } }),
    JSON.stringify({ ...marker, hooks: [] }),
    JSON.stringify({ ...marker, probes: { app: { livenessProbe: 1 } } }),
  ];
  for (const text of wrong) t.equal(parseMarker(text), null, text);
});

t.test("the default container of kubectl goes back, unless somebody chose another", async (t) => {
  const key = "kubectl.kubernetes.io/default-container";
  const { pod } = inject({});
  t.equal(pod.metadata?.annotations?.[key], "app");
  t.notOk(Object.hasOwn(uninjectPod(pod)?.metadata?.annotations ?? {}, key));
  const chosen = { ...pod, metadata: { ...pod.metadata, annotations: { ...pod.metadata?.annotations, [key]: "other" } } };
  t.equal(uninjectPod(chosen)?.metadata?.annotations?.[key], "other");
});

t.test("a pod with more probes than fit is refused before Kubernetes or Linux would fail", async (t) => {
  const probe = (bytes: number) => ({ httpGet: { port: 80, httpHeaders: [{ name: "x", value: "v".repeat(bytes) }] } });
  const containers = (count: number, bytes: number) =>
    Array.from({ length: count }, (_, index) => ({ name: `c${index}`, livenessProbe: probe(bytes) }));
  const outcome = (count: number, bytes: number, annotations = {}) =>
    injectPod(
      { metadata: { annotations }, spec: { containers: containers(count, bytes) } },
      noSurroundings("shop"),
      { kind: "command" },
      SETTINGS,
    );
  t.equal(outcome(100, 1000).decision.action, "inject");
  t.match(outcome(100, 1400), {
    patch: [],
    decision: { action: "refuse", reason: "too_large", message: /REMORA_PROBES of the sidecar would have [0-9]+ bytes/ },
  });
  t.match(outcome(100, 800, { big: "x".repeat(200 * 1024) }), {
    patch: [],
    decision: { reason: "too_large", message: /annotations would have [0-9]+ bytes.*262144/ },
  });
});
