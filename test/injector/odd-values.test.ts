// Objects that no API server would store: whatever stands where, the injector answers with a decision and never with an exception, and what it would patch
// applies. Seeded, so that a case can be made again.
import jsonPatch from "fast-json-patch";
import t from "tap";
import { injectPod } from "../../injector/inject.ts";
import type { Pod } from "../../injector/pod/pod.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");

const FULL = {
  metadata: {
    name: "web",
    labels: { app: "web" },
    annotations: { "remora.io/mode": "strict", "remora.io/injected": "{}" },
    ownerReferences: [{ apiVersion: "apps/v1", kind: "ReplicaSet", name: "web-1", controller: true }],
  },
  spec: {
    os: { name: "linux" },
    nodeSelector: { "kubernetes.io/os": "linux" },
    affinity: {
      nodeAffinity: {
        requiredDuringSchedulingIgnoredDuringExecution: {
          nodeSelectorTerms: [{ matchExpressions: [{ key: "kubernetes.io/os", operator: "In", values: ["linux"] }] }],
        },
      },
    },
    dnsPolicy: "None",
    dnsConfig: { nameservers: ["1.1.1.1"], searches: ["x"] },
    hostAliases: [{ ip: "1.1.1.1", hostnames: ["a"] }],
    resources: { requests: { cpu: "1" }, limits: { cpu: "2" } },
    overhead: { cpu: "10m" },
    securityContext: { runAsUser: 1000, windowsOptions: { hostProcess: false } },
    terminationGracePeriodSeconds: 30,
    volumes: [{ name: "data", emptyDir: {} }],
    initContainers: [{ name: "helper", image: "h", restartPolicy: "Always", startupProbe: { grpc: { port: 7000, service: "x" } } }],
    containers: [
      {
        name: "app",
        image: "app:1",
        command: ["run"],
        args: ["now"],
        ports: [{ name: "web", containerPort: 80, hostPort: 8080, protocol: "TCP" }],
        resources: { requests: { cpu: "1", memory: "1Gi" }, limits: { cpu: "1" } },
        securityContext: { runAsUser: 5 },
        volumeMounts: [{ name: "data", mountPath: "/data" }],
        livenessProbe: {
          httpGet: { path: "/", port: "web", scheme: "HTTP", host: "", httpHeaders: [{ name: "a", value: "b" }] },
          timeoutSeconds: 1,
        },
        readinessProbe: { tcpSocket: { port: 80, host: "" } },
        lifecycle: { postStart: { exec: { command: ["x"] } }, preStop: { httpGet: { path: "/", port: 80 } } },
      },
    ],
  },
};

const ODD: readonly unknown[] = [
  null,
  undefined,
  true,
  0,
  -1,
  1.5,
  1e300,
  "",
  "x",
  "1337",
  "__proto__",
  [],
  [null],
  [[]],
  {},
  { name: "x" },
  { name: 1 },
  { port: {} },
];

function numbers(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Every place in the object, as a list of keys. */
function places(value: unknown, at: readonly (string | number)[] = []): readonly (readonly (string | number)[])[] {
  if (typeof value !== "object" || value === null) return [at];
  const keys = Array.isArray(value) ? value.map((_, index) => index) : Object.keys(value);
  return [at, ...keys.flatMap((key) => places((value as Record<string | number, unknown>)[key], [...at, key]))];
}

function put(root: unknown, path: readonly (string | number)[], value: unknown): unknown {
  if (path.length === 0) return value;
  let parent = root as Record<string | number, unknown>;
  for (const key of path.slice(0, -1)) {
    const next = parent[key];
    if (typeof next !== "object" || next === null) return root; // an earlier change took it away
    parent = next as Record<string | number, unknown>;
  }
  parent[path.at(-1) as string | number] = value;
  return root;
}

/** Null when all holds. What is undefined is not in JSON, and so not there. */
function checkOne(odd: unknown): string | null {
  const value: unknown = odd === undefined ? null : JSON.parse(JSON.stringify(odd));
  try {
    const before = JSON.stringify(value);
    const { decision, patch, pod } = injectPod(value, noSurroundings("shop"), { kind: "command" }, SETTINGS);
    if (JSON.stringify(value) !== before) return "the value was changed";
    if (decision.message === "") return "no message";
    if (decision.action !== "inject") return patch.length === 0 ? null : "a patch without an injection";
    const applied = jsonPatch.applyPatch(JSON.parse(before), patch as jsonPatch.Operation[], true).newDocument as Pod;
    if (injectPod(applied, noSurroundings("shop"), { kind: "command" }, SETTINGS).patch.length > 0) return "a second run changes something";
    if (pod === null || uninjectPod(applied) === null) return "it cannot be taken back";
    return null;
  } catch (error) {
    return error instanceof Error ? (error.stack ?? error.message) : String(error);
  }
}

t.test("any single value in any place", async (t) => {
  let cases = 0;
  for (const path of places(FULL)) {
    for (const odd of ODD) {
      cases += 1;
      const problem = checkOne(put(structuredClone(FULL), path, structuredClone(odd)));
      if (problem !== null) t.fail(`${path.join(".")} = ${JSON.stringify(odd)}: ${problem}`);
    }
  }
  t.ok(cases > 1500, `${cases} cases`);
});

t.test("several at once", async (t) => {
  const all = places(FULL);
  for (let seed = 1; seed <= 1500; seed += 1) {
    const next = numbers(seed);
    let value: unknown = structuredClone(FULL);
    for (let count = 1 + Math.floor(next() * 4); count > 0; count -= 1) {
      value = put(value, all[Math.floor(next() * all.length)] ?? [], structuredClone(ODD[Math.floor(next() * ODD.length)]));
    }
    const problem = checkOne(value);
    if (problem !== null) t.fail(`seed ${seed}: ${problem}`);
  }
  t.pass("a decision each time");
});
