// What must hold for every pod, whatever it looks like: seeded odd pods, applied operation by operation, injected twice, and taken back.
import jsonPatch from "fast-json-patch";
import t from "tap";
import { difference } from "../../injector/patch/difference.ts";
import { injectPod } from "../../injector/inject.ts";
import type { Container, Pod } from "../../injector/pod/pod.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../../injector/settings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";
import { noSurroundings, type Surroundings } from "../../injector/surroundings.ts";
import { createAppProbes } from "../../sidecar/admin/app-probes.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const ASKED = { kind: "command" } as const;

/** A small generator of numbers (mulberry32), so that a failing pod can be made again from its seed. */
function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

function oddPod(seed: number): Pod {
  const next = numbers(seed);
  const chance = (share: number) => next() < share;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const maybe = (share: number, key: string, make: () => unknown) => (chance(share) ? { [key]: make() } : {});
  const handler = () =>
    pick<object>([
      { httpGet: { path: "/h", port: pick<number | string>([8080, "http", "8081", "missing"]), ...maybe(0.3, "scheme", () => "HTTPS") } },
      { httpGet: { port: 80, host: "example.org" } },
      { tcpSocket: { port: pick<number | string>([5432, "db"]) } },
      { grpc: { port: 9090, service: "x" } },
      { exec: { command: ["true"] } },
    ]);
  const hook = () =>
    pick<object>([
      {
        httpGet: { path: "/bye?x=1", port: pick<number | string>([8080, "http", "missing", "0"]), ...maybe(0.4, "scheme", () => "HTTPS") },
      },
      { httpGet: { port: 80, host: "example.org" } },
      { exec: { command: ["sleep", "1"] } },
      { sleep: { seconds: 3 } },
      { tcpSocket: { port: 8080 } },
    ]);
  const probe = () => ({ ...maybe(0.5, "initialDelaySeconds", () => 3), ...handler(), ...maybe(0.5, "timeoutSeconds", () => 4) });
  const container = (name: string) => ({
    name,
    image: `${name}:1`,
    ...maybe(0.6, "ports", () =>
      pick<object[]>([
        [],
        [{ name: "http", containerPort: 8080 }],
        [
          { name: "db", containerPort: 5432, protocol: "TCP" },
          { containerPort: 53, protocol: "UDP" },
        ],
      ]),
    ),
    ...maybe(0.5, "livenessProbe", probe),
    ...maybe(0.5, "readinessProbe", probe),
    ...maybe(0.3, "startupProbe", probe),
    ...maybe(0.3, "env", () => [{ name: "A", value: "$(B)" }]),
    ...maybe(0.4, "lifecycle", () => ({
      ...maybe(0.7, "preStop", hook),
      ...maybe(0.5, "postStart", hook),
      ...maybe(0.2, "stopSignal", () => "SIGUSR1"),
    })),
    ...maybe(0.3, "resources", () =>
      pick<object>([{}, { limits: { memory: "64Mi" } }, { requests: { cpu: "1" }, limits: { cpu: "2", memory: "1Gi" } }]),
    ),
    ...maybe(0.2, "volumeMounts", () => [{ name: "data", mountPath: "/data" }]),
    ...maybe(0.2, "weird/field~name", () => ({ "a/b": [1, null, { c: "~" }] })),
  });
  const annotations = () => ({
    ...maybe(0.5, "a/b~c", () => 'quote " and \n newline'),
    ...maybe(0.3, "remora.io/native-sidecar", () => pick(["true", "false"])),
    ...maybe(0.3, "remora.io/capture", () => pick(["transparent", "explicit"])),
    ...maybe(0.2, "remora.io/skip-inbound-ports", () => "8080,5432"),
    ...maybe(0.2, "kubectl.kubernetes.io/default-container", () => "app"),
    ...maybe(0.2, "remora.io/unknown", () => "x"),
  });
  const metadata = chance(0.85)
    ? {
        ...maybe(0.5, "labels", () => ({ app: "x" })),
        ...maybe(0.6, "annotations", () => pick([null, {}, annotations(), annotations()])),
        ...maybe(0.3, "creationTimestamp", () => null),
      }
    : pick([undefined, null]);
  const init = () => [{ ...container("prepare") }, { ...container("helper"), restartPolicy: "Always" }].slice(0, Math.floor(next() * 3));
  return {
    ...(metadata === undefined ? {} : { metadata }),
    spec: {
      ...maybe(0.4, "initContainers", () => pick([null, init(), init()])),
      containers: ["app", "side", "third"].slice(0, 1 + Math.floor(next() * 3)).map(container),
      ...maybe(0.5, "volumes", () => pick([null, [], [{ name: "data", emptyDir: {} }]])),
      ...maybe(0.3, "terminationGracePeriodSeconds", () => pick([0, 5, 300])),
      ...maybe(0.3, "restartPolicy", () => "Never"),
    },
  } as unknown as Pod;
}

function allContainers(pod: Pod): readonly Container[] {
  return [...(pod.spec.initContainers ?? []), ...pod.spec.containers];
}

/** A container without what an injection may change: its probes, and the handlers of its http hooks. */
function withoutProbes(container: Container): object {
  const { livenessProbe: _l, readinessProbe: _r, startupProbe: _s, lifecycle, ...rest } = container;
  if (lifecycle == null) return rest;
  const { postStart, preStop, ...others } = lifecycle;
  return {
    ...rest,
    lifecycle: {
      ...others,
      postStart: postStart?.httpGet == null ? postStart : "http",
      preStop: preStop?.httpGet == null ? preStop : "http",
    },
  };
}

/** What surrounds an odd pod: kubelets old and new, bounds that leave room, and namespaces that forbid redirecting. */
function oddSurroundings(seed: number): Surroundings {
  const next = numbers(seed + 1_000_000);
  const chance = (share: number) => next() < share;
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const item = {
    type: pick(["Container", "Pod"]),
    min: chance(0.5) ? { cpu: "20m" } : {},
    max: chance(0.5) ? { memory: "16Gi", cpu: "32" } : {},
    default: chance(0.3) ? { cpu: "500m" } : {},
    defaultRequest: {},
    maxLimitRequestRatio: {},
  };
  return {
    ...noSurroundings("shop"),
    namespace: {
      name: "shop",
      labels: chance(0.3) ? { "pod-security.kubernetes.io/enforce": pick(["baseline", "restricted", "privileged"]) } : {},
      annotations: { "remora.io/capture": "auto", ...(chance(0.3) ? { "remora.io/mode": "permissive" } : {}) },
    },
    oldestKubelet: pick([null, "v1.33.1", "v1.27.9"]),
    limitRanges: chance(0.5) ? [{ name: "small", items: [item] }] : [],
    quotas: chance(0.3) ? [{ name: "team", hard: { "limits.cpu": "40" }, used: {}, scoped: false }] : [],
  };
}

interface Loose {
  metadata?: { annotations?: Record<string, string> | null; labels?: Record<string, string> | null } | null;
  spec: { containers: LooseContainer[]; initContainers?: LooseContainer[] | null; volumes?: object[] | null };
}
interface LooseContainer {
  name: string;
  image?: string;
  env?: object[];
  volumeMounts?: object[];
  resources?: object;
}

/** What other webhooks do to a pod, with or without our sidecar in it: to what is the user's the same in both cases, and to ours whatever they like. */
function changeByOthers(pod: unknown, seed: number): unknown {
  const next = numbers(seed + 2_000_000);
  const chance = (share: number) => next() < share;
  const changed = structuredClone(pod) as Loose;
  const { spec } = changed;
  if (chance(0.6)) {
    changed.metadata ??= {};
    changed.metadata.annotations = { ...changed.metadata.annotations, "other.example/seen": "yes" };
  }
  if (chance(0.3)) {
    changed.metadata ??= {};
    changed.metadata.labels = { ...changed.metadata.labels, other: "x" };
  }
  if (chance(0.5)) spec.containers.push({ name: "other-agent", image: "agent:1" });
  if (chance(0.3)) spec.containers.unshift({ name: "other-first", image: "first:1" });
  if (chance(0.4)) spec.containers.reverse();
  if (chance(0.4)) spec.initContainers = [{ name: "other-init", image: "init:1" }, ...(spec.initContainers ?? [])];
  if (chance(0.4)) spec.initContainers?.reverse();
  if (chance(0.4)) spec.volumes = [{ name: "other-volume", emptyDir: {} }, ...(spec.volumes ?? [])];
  const everywhere = { env: chance(0.5), mounts: chance(0.5), registry: chance(0.5) };
  const [ownResources] = [chance(0.5)];
  for (const container of [...(spec.initContainers ?? []), ...spec.containers]) {
    const isOurs = container.name.startsWith("remora-");
    if (everywhere.env) container.env = [...(container.env ?? []), { name: "OTHER", value: "1" }];
    if (everywhere.mounts) container.volumeMounts = [{ name: "other-volume", mountPath: "/other" }, ...(container.volumeMounts ?? [])];
    if (everywhere.registry && container.image !== undefined) container.image = `mirror.example/${container.image}`;
    if (isOurs && ownResources) container.resources = { limits: { cpu: "7" } };
  }
  return changed;
}

t.test("500 odd pods in odd surroundings", async (t) => {
  let [refused, native, legacy, explicit] = [0, 0, 0, 0];
  for (let seed = 1; seed <= 500; seed += 1) {
    const original = oddPod(seed);
    const surroundings = oddSurroundings(seed);
    const untouched = JSON.stringify(original);
    const { decision, patch, pod, details } = injectPod(original, surroundings, ASKED, SETTINGS);
    const problems: string[] = [];
    const check = (holds: boolean, what: string) => (holds ? undefined : problems.push(what));
    const same = (a: unknown, b: unknown, what: string) => check(JSON.stringify(a) === JSON.stringify(b), what);
    const equal = (a: unknown, b: unknown, what: string) => {
      const found = difference(a, b);
      check(found.length === 0, `${what}: ${JSON.stringify(found).slice(0, 300)}`);
    };
    same(JSON.parse(untouched), original, "the original was changed");
    if (decision.action === "refuse") {
      refused += 1;
      check(decision.reason === "legacy_conflict" || decision.reason === "pod_security", `refused: ${decision.message}`);
      same([patch, pod], [[], original], "a refusal changes nothing");
      if (problems.length > 0) t.fail(`seed ${seed}: ${problems.join("; ")}`);
      continue;
    }
    check(decision.action === "inject", `not injected: ${decision.message}`);
    if (pod === null || details === null) throw new Error(`seed ${seed}: ${decision.message}`);
    if (details.plan.kind === "native") native += 1;
    else legacy += 1;
    if (details.plan.capture === "explicit") explicit += 1;

    let applied: unknown = structuredClone(original);
    for (const operation of patch) applied = jsonPatch.applyOperation(applied, operation as jsonPatch.Operation, true).newDocument;
    equal(applied, pod, "the patch does not lead to the pod");
    check(
      patch.every(({ op, path }) => op === "add" || !/^\/spec\/(containers|initContainers)\/[0-9]+$/.test(path)),
      "a container was replaced or removed",
    );
    check(new Set(patch.map(({ op, path }) => `${op} ${path}`)).size === patch.length, "an operation comes twice");

    same(injectPod(applied, surroundings, ASKED, SETTINGS).patch, [], "a second run changes something");
    equal(uninjectPod(applied as Pod), original, "uninject does not restore");
    same(
      (uninjectPod(applied as Pod) as Pod).spec.containers.map(withoutProbes),
      original.spec.containers.map(withoutProbes),
      "containers restored",
    );

    const later = changeByOthers(applied, seed);
    same(injectPod(later, surroundings, ASKED, SETTINGS).patch, [], "a second run after other webhooks changes something");
    equal(uninjectPod(later as Pod), changeByOthers(original, seed), "uninject after other webhooks takes more or less than ours");

    const users = allContainers(pod).filter(({ name }) => !name.startsWith("remora-"));
    same(
      users.map(withoutProbes),
      allContainers(original).map(withoutProbes),
      "a user's container changed in more than its probes and http hooks",
    );
    const names = allContainers(pod).map(({ name }) => name);
    check(names.includes("remora-sidecar"), "no sidecar");
    check(new Set(names).size === names.length, "a name comes twice");
    if (problems.length > 0) t.fail(`seed ${seed}: ${problems.join("; ")}`);
  }
  t.ok(native > 150 && legacy > 50 && explicit > 50, `${native} native, ${legacy} legacy, ${explicit} explicit, ${refused} refused`);
});

t.test("a patch is as small as the change", async (t) => {
  const pod = {
    metadata: { annotations: { a: "b" } },
    spec: { containers: [{ name: "app", livenessProbe: { httpGet: { path: "/", port: 1, scheme: "HTTP" } } }], volumes: [{ name: "v" }] },
  };
  const paths = (value: object) => injectPod(value, noSurroundings("shop"), ASKED, SETTINGS).patch.map(({ op, path }) => `${op} ${path}`);
  t.strictSame(paths(pod), [
    "add /metadata/annotations/kubectl.kubernetes.io~1default-container",
    "add /metadata/annotations/remora.io~1injected",
    "replace /spec/containers/0/livenessProbe/httpGet/path",
    "replace /spec/containers/0/livenessProbe/httpGet/port",
    "add /spec/volumes/1",
    "add /spec/volumes/2",
    "add /spec/initContainers",
  ]);
});

t.test("what another webhook adds later stays when the sidecar is taken out", async (t) => {
  const original = { metadata: {}, spec: { containers: [{ name: "app", image: "a" }] } };
  const { pod } = injectPod(original, noSurroundings("shop"), ASKED, SETTINGS);
  const later = structuredClone(pod) as unknown as {
    metadata: { annotations: Record<string, string> };
    spec: { volumes: object[]; containers: object[] };
  };
  later.metadata.annotations["other"] = "kept";
  later.spec.volumes.unshift({ name: "other", emptyDir: {} });
  later.spec.containers.push({ name: "other", image: "o" });
  t.strictSame(uninjectPod(later as unknown as Pod), {
    metadata: { annotations: { other: "kept" } },
    spec: {
      containers: [
        { name: "app", image: "a" },
        { name: "other", image: "o" },
      ],
      volumes: [{ name: "other", emptyDir: {} }],
    },
  });
});

t.test("the sidecar meets the restricted Pod Security Standard, and the init container has two capabilities and no more", async (t) => {
  const { pod } = injectPod({ spec: { containers: [{ name: "app" }] } }, noSurroundings("shop"), ASKED, SETTINGS);
  const byName = (name: string) => pod?.spec.initContainers?.find((container) => container.name === name);
  t.match(byName("remora-sidecar")?.securityContext, {
    allowPrivilegeEscalation: false,
    capabilities: { drop: ["ALL"], add: undefined },
    readOnlyRootFilesystem: true,
    runAsNonRoot: true,
    runAsUser: 1337,
    seccompProfile: { type: "RuntimeDefault" },
  });
  t.match(byName("remora-init")?.securityContext, {
    allowPrivilegeEscalation: false,
    privileged: false,
    capabilities: { drop: ["ALL"], add: ["NET_ADMIN", "NET_RAW"] },
  });
  t.match(byName("remora-sidecar")?.["resources"], { requests: { cpu: "50m", memory: "64Mi" } }, "CPU is always requested");
});

function environment(value: object, settings: InjectorSettings = SETTINGS): Record<string, string | undefined> {
  const { pod } = injectPod(value, noSurroundings("shop"), ASKED, settings);
  const sidecar = allContainers(pod as Pod).find(({ name }) => name === "remora-sidecar");
  return Object.fromEntries(((sidecar?.["env"] ?? []) as { name: string; value?: string }[]).map(({ name, value: text }) => [name, text]));
}

t.test("ports get their protocols from their names, and from the annotation first", async (t) => {
  const ports = ["http", "http-admin", "http2", "grpc", "grpc-web", "tcp-x", "https", "redis", "", "other"].map((name, index) => ({
    containerPort: 8000 + index,
    ...(name === "" ? {} : { name }),
  }));
  const pod = { metadata: { annotations: { "remora.io/ports": "8000=http1, 7000=grpc" } }, spec: { containers: [{ name: "app", ports }] } };
  t.equal(environment(pod)["REMORA_PORTS"], "7000=grpc,8000=http1,8001,8002=http2,8003=grpc,8004,8005=tcp,8006=tcp,8007=tcp,8008,8009");
});

t.test("draining ends before the pod's grace period", async (t) => {
  const drain = (terminationGracePeriodSeconds?: number) =>
    environment({
      spec: { containers: [{ name: "a" }], ...(terminationGracePeriodSeconds === undefined ? {} : { terminationGracePeriodSeconds }) },
    })["REMORA_DRAIN_TIMEOUT"];
  t.strictSame([drain(), drain(0), drain(3), drain(20), drain(3600)], ["25s", "1s", "1s", "15s", "30s"]);
});

t.test("the kubelet's expansion of $(NAME) cannot be used to read other variables", async (t) => {
  const pod = { spec: { containers: [{ name: "app", livenessProbe: { httpGet: { port: 1, path: "/$(REMORA_POD_IPS)?a=$$b" } } }] } };
  t.match(environment(pod)["REMORA_PROBES"], /\/\$\$\(REMORA_POD_IPS\)\?a=\$\$\$\$b/);
});

t.test("probes that the kubelet can make by itself stay", async (t) => {
  const probes = {
    livenessProbe: { httpGet: { port: 8080 } },
    readinessProbe: { exec: { command: ["x"] } },
    startupProbe: { httpGet: { port: 80, host: "example.org" } },
  };
  const value = {
    metadata: { annotations: { "remora.io/skip-inbound-ports": "8080" } },
    spec: { containers: [{ name: "app", ...probes }] },
  };
  t.match(injectPod(value, noSurroundings("shop"), ASKED, SETTINGS).pod?.spec.containers[0], probes);
});

t.test("probes that are odd but accepted never keep the sidecar from starting", async (t) => {
  const odd = [
    { httpGet: { port: 0 } },
    { httpGet: { port: 70000 } },
    { tcpSocket: { port: "99999" } },
    { grpc: { port: 1.5 } },
    { httpGet: { port: 80 }, timeoutSeconds: 0 },
    { httpGet: { port: 80, path: "no-slash", httpHeaders: null }, timeoutSeconds: 1_000_000 },
    { tcpSocket: { port: "80" } },
  ];
  for (const livenessProbe of odd) {
    const env = environment({ spec: { containers: [{ name: "app", livenessProbe }] } });
    t.doesNotThrow(() => createAppProbes(env["REMORA_PROBES"] ?? "{}", { appHost: "127.0.0.1" }), JSON.stringify(livenessProbe));
  }
});
