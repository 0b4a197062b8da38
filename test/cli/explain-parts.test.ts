// The parts of `remora explain` that need no process: what differs in a running pod, what the registry answers, the pod that a controller would make.
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import t from "tap";
import { differencesOf } from "../../cli/explain/drift.ts";
import { kindFromWord, podFromTemplate } from "../../cli/explain/kinds.ts";
import { readRegistries, readRegistry, registryAt } from "../../cli/explain/registry-view.ts";
import { explainPod, originalOf } from "../../cli/explain/running.ts";
import { createPaint, wrap } from "../../cli/paint.ts";
import { injectPod } from "../../injector/inject.ts";
import { ownerOf } from "../../injector/pod/owner.ts";
import type { Pod } from "../../injector/pod/pod.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const AROUND = noSurroundings("shop");
const NOWHERE = { known: false, why: "x" } as const;

function injected(annotations: Record<string, string> = {}, settings = SETTINGS): Pod {
  const pod = {
    metadata: { name: "web", uid: "u1", annotations },
    spec: { containers: [{ name: "app", image: "app:1", readinessProbe: { httpGet: { port: 80 } } }] },
  };
  const { pod: made } = injectPod(pod, AROUND, { kind: "command" }, settings);
  if (made === null) throw new Error("not injected");
  return made;
}

/** The pod as the API server gives it back: defaults filled in, quantities in its own form, its token mounted everywhere. */
function stored(pod: Pod): Pod {
  const containers = (list: Pod["spec"]["containers"]) =>
    list.map((container) => ({
      ...container,
      imagePullPolicy: "IfNotPresent",
      terminationMessagePath: "/dev/termination-log",
      volumeMounts: [...((container["volumeMounts"] ?? []) as object[]), { name: "kube-api-access", mountPath: "/var/run/secrets" }],
    }));
  const spec = {
    ...pod.spec,
    nodeName: "n",
    containers: containers(pod.spec.containers),
    initContainers: containers(pod.spec.initContainers ?? []),
  };
  return JSON.parse(JSON.stringify({ ...pod, spec, status: { phase: "Running" } }).replaceAll('"cpu":"0.5"', '"cpu":"500m"')) as Pod;
}

t.test("what the API server fills in is no difference; an image, a setting or a resource is", async (t) => {
  const wanted = injected({ "remora.io/cpu-request": "0.5" });
  t.strictSame(differencesOf(stored(wanted), wanted), []);
  const other = injected(
    { "remora.io/cpu-request": "0.5", "remora.io/mode": "permissive", "remora.io/log-level": "debug" },
    { ...SETTINGS, image: "remora:0.2.0" },
  );
  t.strictSame(differencesOf(stored(wanted), other), [
    "remora-sidecar image: remora:0.1.0, would be remora:0.2.0",
    "remora-sidecar env REMORA_MODE: nothing, would be permissive",
    "remora-sidecar env REMORA_LOG_LEVEL: nothing, would be debug",
    "remora-init image: remora:0.1.0, would be remora:0.2.0",
  ]);
  t.strictSame(differencesOf(stored(other), wanted).slice(1, 3), [
    "remora-sidecar env REMORA_MODE: permissive, would not be there",
    "remora-sidecar env REMORA_LOG_LEVEL: debug, would not be there",
  ]);
  t.strictSame(differencesOf(stored(wanted), injected({ "remora.io/cpu-request": "100m" })), [
    "remora-sidecar resources requests cpu: 500m, would be 100m",
  ]);
  t.strictSame(
    differencesOf(stored(wanted), injected({ "remora.io/cpu-request": "0.5", "remora.io/capture": "explicit" })).at(-1),
    "container remora-init would not be there",
  );
});

t.test("a running pod: its marker, whether it is as it would be now, and without a sidecar what it would get", async (t) => {
  const running = stored(injected());
  const asked = { kind: "command" } as const;
  t.match(explainPod(running, AROUND, asked, SETTINGS, NOWHERE), {
    name: "web",
    uid: "u1",
    phase: "Running",
    sidecar: { version: "0.1.0", kind: "native", capture: "transparent", image: "remora:0.1.0" },
    differences: [],
    instance: null,
  });
  t.notOk(JSON.stringify(originalOf(running)).includes("remora-"), "the original has nothing of ours");
  const naked = { metadata: { name: "web" }, spec: { containers: [{ name: "app" }] } };
  t.match(explainPod(naked, AROUND, asked, SETTINGS, NOWHERE), { sidecar: null, differences: ["it would get a sidecar (asked)"] });
  const label = { kind: "namespace", label: "disabled" } as const;
  t.match(explainPod(running, AROUND, label, SETTINGS, NOWHERE), { differences: [/it would get no sidecar \(namespace_disabled\)/] });
  for (const odd of [null, {}, { spec: 3 }, { metadata: { annotations: { "remora.io/injected": "{}" } }, spec: { containers: [] } }]) {
    t.match(explainPod(odd, AROUND, asked, SETTINGS, NOWHERE), { sidecar: null, differences: [] });
  }
});

t.test(
  "every replica of the registry is asked, page by page; who knows the load knows more; one that is away does not matter",
  async (t) => {
    const instance = (id: string, load: object | null) => ({
      instanceId: id,
      state: "ready",
      version: "0.1.0",
      channel: "stable",
      services: ["web"],
      certExpiresAtMs: 5,
      load,
    });
    const paths: string[] = [];
    const first = async (path: string) => {
      paths.push(path);
      return path.includes("after=a") ? { instances: [instance("b", null)], total: 1 } : { instances: [instance("a", null)], total: 2 };
    };
    const second = async () => ({ instances: [instance("a", { inFlight: 1, rps: 2, p99Ms: 3, errorRatio: 0.5 })], total: 1 });
    const away = async () => {
      throw new Error("it is away");
    };
    const view = await readRegistries(
      async () =>
        new Map<string, (path: string) => Promise<unknown>>([
          ["one", first],
          ["two", second],
          ["three", away],
        ]),
      "shop",
    );
    if (!view.known) throw new Error(view.why);
    t.strictSame(paths, ["/api/v1/instances?namespace=shop", "/api/v1/instances?namespace=shop&after=a"]);
    t.strictSame([...view.instances.keys()], ["a", "b"]);
    t.match(view.instances.get("a"), { services: ["web"], load: { rps: 2 } });
    t.strictSame(await readRegistries(async () => new Map([["three", away]]), "shop"), { known: false, why: "three: it is away" });
    t.strictSame(await readRegistries(async () => new Map(), "shop"), { known: false, why: "no replica of it runs" });
    t.strictSame(await readRegistries(() => Promise.reject(new Error("no rights")), "shop"), { known: false, why: "no rights" });
    t.strictSame(await readRegistry(async () => ({}), "shop"), { known: false, why: "the answer is not a list of instances" });
  },
);

t.test("the admin port of a control plane is asked over HTTP", async (t) => {
  const server = createServer((request, response) => {
    if (request.url?.startsWith("/api/v1/instances") === true) response.end('{"instances":[],"total":0}');
    else response.writeHead(404).end();
  });
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  t.teardown(() => server.close());
  const { port } = server.address() as AddressInfo;
  t.strictSame(await readRegistry(registryAt(`127.0.0.1:${port}`), "shop"), { known: true, instances: new Map() });
  await t.rejects(registryAt(`127.0.0.1:${port}`)("/else"), /404/);
});

t.test("a template becomes the pod that its controller would ask for, so that its owner is the real one", async (t) => {
  const template = { metadata: { labels: { app: "web" } }, spec: { containers: [{ name: "a" }] } };
  for (const [kind, name] of [
    ["Deployment", "web"],
    ["StatefulSet", "db"],
    ["DaemonSet", "agent"],
    ["Job", "once"],
    ["CronJob", "night"],
    ["ReplicaSet", "old"],
  ] as const) {
    t.strictSame(ownerOf(podFromTemplate(template, kind, name) as Pod, "shop"), { namespace: "shop", kind, name }, kind);
  }
  t.equal(podFromTemplate(template, "Pod", "x"), template);
  t.equal(podFromTemplate(null, "Deployment", "x"), null);
  t.equal(kindFromWord("STS").kind, "StatefulSet");
  t.throws(() => kindFromWord("service"), /no kind of workload/);
});

t.test("colours only where a terminal wants them; lines break at spaces", async (t) => {
  t.equal(createPaint({ isTTY: true, columns: 80 }, {}).red("x"), "\u001b[31mx\u001b[0m");
  for (const [out, env] of [
    [{ isTTY: false }, {}],
    [{ isTTY: true }, { NO_COLOR: "1" }],
    [{ isTTY: true }, { TERM: "dumb" }],
    [{}, {}],
  ] as const) {
    t.equal(createPaint(out, env).red("x"), "x");
  }
  t.equal(createPaint({ isTTY: true, columns: 10 }, {}).columns, 40);
  t.strictSame(wrap("one two three", 7), ["one two", "three"]);
  t.strictSame(wrap("a-very-long-word b", 5), ["a-very-long-word", "b"]);
});
