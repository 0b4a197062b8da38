// How a pod gets its sidecar: what kubelets, Pod Security, LimitRanges, quotas and the pod's own resources make of it.
import t from "tap";
import { injectPod } from "../../injector/inject.ts";
import { allContainers, type Container, type Pod } from "../../injector/pod/pod.ts";
import { parseQuantity } from "../../injector/pod/quantity.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../../injector/settings.ts";
import { type LimitRangeItemFacts, noSurroundings, type QuotaFacts, type Surroundings } from "../../injector/surroundings.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const ASKED = { kind: "command" } as const;
const MI = 2 ** 20;

interface Around {
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly kubelet?: string;
  readonly limits?: readonly Partial<LimitRangeItemFacts>[];
  readonly quota?: Readonly<Record<string, string>>;
}

function around({ labels = {}, annotations = {}, kubelet, limits = [], quota }: Around): Surroundings {
  const items = limits.map((item) => ({
    type: "Container",
    min: {},
    max: {},
    default: {},
    defaultRequest: {},
    maxLimitRequestRatio: {},
    ...item,
  }));
  const quotas: readonly QuotaFacts[] = quota === undefined ? [] : [{ name: "team", hard: quota, used: {}, scoped: false }];
  return {
    ...noSurroundings("shop"),
    namespace: { name: "shop", labels, annotations },
    oldestKubelet: kubelet ?? null,
    limitRanges: items.length === 0 ? [] : [{ name: "small", items }],
    quotas,
  };
}

function inject(
  spec: object,
  surroundings: Surroundings,
  annotations: Readonly<Record<string, string>> = {},
  settings: InjectorSettings = SETTINGS,
) {
  const pod = { metadata: { name: "web", annotations }, spec: { containers: [{ name: "app", image: "app:1" }], ...spec } };
  const injection = injectPod(pod, surroundings, ASKED, settings);
  const find = (name: string) => allContainers(injection.pod as Pod).find((container) => container.name === name);
  return { ...injection, sidecar: find("remora-sidecar") as Container, init: find("remora-init") };
}

function isNative(outcome: ReturnType<typeof inject>): boolean {
  return outcome.sidecar.restartPolicy === "Always";
}

t.test("the sidecar is native where the oldest kubelet can run it, and an annotation beats that", async (t) => {
  const cases: readonly [string | undefined, string | undefined, boolean][] = [
    [undefined, undefined, true],
    ["v1.33.0", undefined, true],
    ["v1.29.0", undefined, true],
    ["v1.29.7-gke.100", undefined, true],
    ["1.30+", undefined, true],
    ["v1.28.15", undefined, false],
    ["v1.9.1", undefined, false],
    ["v2.0.0", undefined, true],
    ["unknown", undefined, true],
    ["v1.28.15", "true", true],
    ["v1.33.0", "false", false],
    [undefined, "false", false],
  ];
  for (const [kubelet, annotation, native] of cases) {
    const annotations = annotation === undefined ? {} : { "remora.io/native-sidecar": annotation };
    const outcome = inject({}, around(kubelet === undefined ? {} : { kubelet }), annotations);
    t.equal(isNative(outcome), native, `kubelet ${kubelet}, annotation ${annotation}`);
  }
  t.match(inject({}, around({ kubelet: "v1.27.0" }), { "remora.io/native-sidecar": "true" }).warnings, [
    /a kubelet of v1\.27\.0 may wait for ever for a native sidecar to end; they run since 1\.29/,
  ]);
  t.equal(
    isNative(inject({}, around({ kubelet: "v1.33.0" }), {}, { ...SETTINGS, nativeSidecar: false })),
    false,
    "the installation's choice",
  );
  t.match(inject({}, around({ kubelet: "v1.28.0" })).details?.plan.why.kind, /the oldest kubelet is v1\.28\.0/);
});

t.test("our containers have their place among the user's", async (t) => {
  const spec = {
    initContainers: [{ name: "prepare" }, { name: "helper", restartPolicy: "Always" }],
    containers: [{ name: "app" }, { name: "side" }],
  };
  const names = (containers: readonly Container[] | undefined) => containers?.map(({ name }) => name);
  const native = inject(spec, around({})).pod;
  t.strictSame(names(native?.spec.initContainers), ["remora-init", "remora-sidecar", "prepare", "helper"]);
  t.strictSame(names(native?.spec.containers), ["app", "side"]);
  const legacy = inject(spec, around({ kubelet: "v1.27.0" })).pod;
  t.strictSame(names(legacy?.spec.initContainers), ["prepare", "helper", "remora-init"], "nothing is redirected before the sidecar runs");
  t.strictSame(names(legacy?.spec.containers), ["remora-sidecar", "app", "side"]);
  t.equal(legacy?.metadata?.annotations?.["kubectl.kubernetes.io/default-container"], "app", "kubectl still means the app");
  const explicit = inject(spec, around({}), { "remora.io/capture": "explicit" }).pod;
  t.strictSame(names(explicit?.spec.initContainers), ["remora-sidecar", "prepare", "helper"]);
});

t.test("a legacy sidecar is waited for at the start and waits for the app at the end; a native one needs neither", async (t) => {
  const hooks = (seconds?: number) =>
    inject(seconds === undefined ? {} : { terminationGracePeriodSeconds: seconds }, around({ kubelet: "v1.27.0" })).sidecar.lifecycle;
  t.match(hooks(), {
    postStart: { exec: { command: ["remora", "wait", "--timeout", "60s"] } },
    preStop: { exec: { command: ["remora", "wait", "--for-app-end", "--timeout", "27s"] } },
  });
  t.match(hooks(300)?.preStop, { exec: { command: [/.*/, /.*/, /.*/, /.*/, "297s"] } });
  t.match(hooks(0)?.preStop, { exec: { command: [/.*/, /.*/, /.*/, /.*/, "1s"] } });
  t.equal(inject({}, around({})).sidecar.lifecycle, undefined);
});

t.test("Jobs end with a native sidecar; with a legacy one somebody has to say so", async (t) => {
  for (const restartPolicy of ["Never", "OnFailure"]) {
    t.strictSame(inject({ restartPolicy }, around({})).warnings, []);
    t.match(inject({ restartPolicy }, around({ kubelet: "v1.27.0" })).warnings, [/completes only when the app ends with POST \/exit/]);
  }
  t.strictSame(inject({ restartPolicy: "Always" }, around({ kubelet: "v1.27.0" })).warnings, []);
});

t.test("a user's native sidecar that the kubelet asks over the network cannot wait for a legacy one", async (t) => {
  const helper = (fields: object) => ({
    initContainers: [{ name: "helper", restartPolicy: "Always", ports: [{ name: "x", containerPort: 80 }], ...fields }],
  });
  const old = around({ kubelet: "v1.27.0" });
  const asked = [
    { startupProbe: { httpGet: { port: "x" } } },
    { readinessProbe: { tcpSocket: { port: 80 } } },
    { livenessProbe: { grpc: { port: 80 } } },
    { lifecycle: { postStart: { httpGet: { port: 80 } } } },
  ];
  for (const fields of asked) {
    t.match(
      inject(helper(fields), old).decision,
      { action: "refuse", reason: "legacy_conflict", message: /helper .*native-sidecar: "true"/ },
      JSON.stringify(fields),
    );
    t.equal(inject(helper(fields), around({})).decision.action, "inject");
    t.equal(inject(helper(fields), old, { "remora.io/capture": "explicit" }).decision.action, "inject", "nothing is redirected");
  }
  t.equal(inject(helper({ startupProbe: { exec: { command: ["true"] } } }), old).decision.action, "inject");
});

t.test("the Pod Security level of the namespace decides about redirecting", async (t) => {
  const level = (enforce: string) => around({ labels: { "pod-security.kubernetes.io/enforce": enforce } });
  for (const forbids of ["baseline", "restricted", "Restricted"]) {
    const plain = inject({}, level(forbids));
    t.match(plain.decision, { action: "refuse", reason: "pod_security", message: /NET_ADMIN.*remora\.io\/capture: auto/ }, forbids);
    t.strictSame(plain.patch, []);
    for (const [annotations, surroundings] of [
      [{ "remora.io/capture": "auto" }, level(forbids)],
      [{}, { ...level(forbids), namespace: { ...level(forbids).namespace, annotations: { "remora.io/capture": "auto" } } }],
    ] as const) {
      const auto = inject({}, surroundings, annotations);
      t.equal(auto.decision.action, "inject", forbids);
      t.equal(auto.init, undefined, "no container that needs NET_ADMIN");
      t.match(auto.warnings, [/capture is explicit.*enforces the Pod Security level/]);
      t.match(auto.sidecar["env"], [/.*/, /.*/, /.*/, /.*/, /.*/, { name: "REMORA_CAPTURE", value: "explicit" }]);
    }
    t.equal(inject({}, level(forbids), {}, { ...SETTINGS, capture: "auto" }).decision.action, "inject", "the installation's default");
    t.strictSame(inject({}, level(forbids), { "remora.io/capture": "explicit" }).warnings, [], "asked for");
  }
  for (const surroundings of [level("privileged"), around({}), around({ labels: { "pod-security.kubernetes.io/warn": "restricted" } })]) {
    const auto = inject({}, surroundings, { "remora.io/capture": "auto" });
    t.equal(auto.init?.name, "remora-init");
    t.strictSame(auto.warnings, []);
  }
});

t.test("the sidecar passes the restricted profile in every form", async (t) => {
  for (const kubelet of ["v1.33.0", "v1.27.0"]) {
    for (const capture of ["transparent", "explicit"]) {
      const { sidecar, pod } = inject({ securityContext: { runAsNonRoot: false, runAsUser: 0 } }, around({ kubelet }), {
        "remora.io/capture": capture,
      });
      t.strictSame(
        sidecar.securityContext,
        {
          allowPrivilegeEscalation: false,
          capabilities: { drop: ["ALL"] },
          privileged: false,
          readOnlyRootFilesystem: true,
          runAsGroup: 1337,
          runAsNonRoot: true,
          runAsUser: 1337,
          seccompProfile: { type: "RuntimeDefault" },
        },
        `${kubelet} ${capture}`,
      );
      t.ok(
        pod?.spec.volumes?.every((volume) => "projected" in volume || "emptyDir" in volume),
        "volumes of the kinds that it allows",
      );
      t.notOk((sidecar.ports ?? []).some(({ hostPort }) => hostPort !== undefined));
    }
  }
});

interface Resources {
  readonly requests: Readonly<Record<string, string>>;
  readonly limits: Readonly<Record<string, string>>;
}

t.test("requests and limits fit the LimitRange of the namespace", async (t) => {
  const usual = { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "256Mi" } };
  const cases: readonly [string, Around, Resources | RegExp, Readonly<Record<string, string>>?][] = [
    ["nothing said", {}, usual],
    ["bounds that it is within", { limits: [{ min: { cpu: "10m", memory: "16Mi" }, max: { memory: "1Gi" } }] }, usual],
    ["a largest CPU wants a limit", { limits: [{ max: { cpu: "2" } }] }, { ...usual, limits: { cpu: "1", memory: "256Mi" } }],
    ["a smaller largest CPU", { limits: [{ max: { cpu: "300m" } }] }, { ...usual, limits: { cpu: "300m", memory: "256Mi" } }],
    [
      "the namespace's own usual limit",
      { limits: [{ max: { cpu: "2" }, default: { cpu: "400m" } }] },
      { ...usual, limits: { cpu: "400m", memory: "256Mi" } },
    ],
    ["a largest memory", { limits: [{ max: { memory: "128Mi" } }] }, { ...usual, limits: { memory: "128Mi" } }],
    [
      "a smallest request",
      { limits: [{ min: { cpu: "100m", memory: "128Mi" } }] },
      { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "256Mi" } },
    ],
    [
      "a smallest above our limit",
      { limits: [{ min: { memory: "512Mi" } }] },
      { requests: { cpu: "50m", memory: "512Mi" }, limits: { memory: "512Mi" } },
    ],
    [
      "a ratio of memory",
      { limits: [{ maxLimitRequestRatio: { memory: "2" } }] },
      { requests: { cpu: "50m", memory: "128Mi" }, limits: { memory: "256Mi" } },
    ],
    [
      "a ratio of CPU",
      { limits: [{ maxLimitRequestRatio: { cpu: "4" } }] },
      { requests: { cpu: "50m", memory: "64Mi" }, limits: { cpu: "200m", memory: "256Mi" } },
    ],
    [
      "a narrow ratio of CPU",
      { limits: [{ maxLimitRequestRatio: { cpu: "1" } }] },
      { requests: { cpu: "100m", memory: "64Mi" }, limits: { cpu: "100m", memory: "256Mi" } },
    ],
    [
      "a ratio that is no whole number",
      { limits: [{ maxLimitRequestRatio: { memory: "1.6" } }] },
      { requests: { cpu: "50m", memory: "160Mi" }, limits: { memory: "256Mi" } },
    ],
    [
      "the strictest of two",
      { limits: [{ max: { memory: "200Mi" } }, { max: { memory: "150Mi" } }] },
      { ...usual, limits: { memory: "150Mi" } },
    ],
    [
      "no room",
      { limits: [{ max: { memory: "64Mi" } }] },
      /LimitRange small would make the sidecar's memory limit 64Mi instead of 256Mi; .*remora\.io\/memory-limit/,
    ],
    ["no CPU", { limits: [{ max: { cpu: "50m" } }] }, /LimitRange small would make the sidecar's cpu limit 50m/],
    [
      "a smallest that nobody would reserve",
      { limits: [{ min: { memory: "4Gi" } }] },
      /LimitRange small would make the sidecar's memory request 4Gi/,
    ],
    [
      "which the owner may still want",
      { limits: [{ min: { memory: "4Gi" } }] },
      { requests: { cpu: "50m", memory: "4Gi" }, limits: { memory: "4Gi" } },
      { "remora.io/memory-request": "4Gi", "remora.io/memory-limit": "4Gi" },
    ],
    [
      "limits that the owner made small",
      { limits: [{ max: { memory: "64Mi" } }] },
      { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "64Mi" } },
      { "remora.io/memory-limit": "64Mi" },
    ],
    [
      "bounds on other things",
      { limits: [{ type: "PersistentVolumeClaim", min: { storage: "1Gi" } }, { max: { "nvidia.com/gpu": "1" } }] },
      usual,
    ],
    ["a quota that counts CPU limits", { quota: { "limits.cpu": "10" } }, { ...usual, limits: { cpu: "1", memory: "256Mi" } }],
    ["a quota that counts what is set anyway", { quota: { "requests.cpu": "1", memory: "1Gi", "limits.memory": "1Gi", pods: "3" } }, usual],
  ];
  for (const [what, surroundings, expected, annotations] of cases) {
    // Without the init container, which has bounds of its own.
    const outcome = inject({}, around(surroundings), { "remora.io/capture": "explicit", ...annotations });
    if (expected instanceof RegExp) {
      t.match(outcome.decision, { action: "refuse", reason: "resource_bounds", message: expected }, what);
      t.strictSame(outcome.patch, [], what);
    } else {
      t.equal(outcome.decision.action, "inject", what);
      t.strictSame(outcome.sidecar["resources"], expected, what);
      const isChanged = JSON.stringify(expected) !== JSON.stringify(usual) && annotations === undefined;
      t.equal(
        outcome.warnings.some((warning) => /^the sidecar gets .*: (LimitRange small|ResourceQuota team)/.test(warning)),
        isChanged,
        `${what}: said`,
      );
    }
  }
});

t.test("the init container respects the same bounds", async (t) => {
  t.strictSame(inject({}, around({})).init?.["resources"], { requests: { cpu: "10m", memory: "32Mi" }, limits: { memory: "128Mi" } });
  const bounded = inject({}, around({ limits: [{ min: { cpu: "20m" }, max: { cpu: "1", memory: "100Mi" } }] }));
  t.strictSame(bounded.init?.["resources"], { requests: { cpu: "20m", memory: "32Mi" }, limits: { cpu: "500m", memory: "100Mi" } });
  t.match(inject({}, around({ limits: [{ max: { memory: "60Mi" } }] }), { "remora.io/memory-limit": "60Mi" }).decision, {
    reason: "resource_bounds",
    message: /container remora-init's memory limit 60Mi instead of 128Mi; change that$/,
  });
});

t.test("the sum over the pod fits too, as far as the app leaves room", async (t) => {
  const app = (requests: object, limits: object) => ({ containers: [{ name: "app", resources: { requests, limits } }] });
  const pod = (item: Partial<LimitRangeItemFacts>) => around({ limits: [{ type: "Pod", ...item }] });
  const roomy = inject(app({}, { memory: "300Mi" }), pod({ max: { memory: "500Mi" } }));
  t.match(roomy.sidecar["resources"], { requests: { memory: "64Mi" }, limits: { memory: "200Mi" } });
  t.match(roomy.warnings, [/memory limit 200Mi instead of 256Mi: LimitRange small/]);
  t.match(inject(app({}, { memory: "450Mi" }), pod({ max: { memory: "500Mi" } })).decision, {
    reason: "resource_bounds",
    message: /LimitRange small would make the sidecar's memory limit 50Mi/,
  });
  t.equal(
    inject(app({}, { memory: "600Mi" }), pod({ max: { memory: "500Mi" } })).decision.action,
    "inject",
    "broken without us: not ours to say",
  );
  const ratio = inject(app({ memory: "200Mi" }, { memory: "400Mi" }), pod({ maxLimitRequestRatio: { memory: "2" } }));
  t.match(ratio.sidecar["resources"], { requests: { memory: "128Mi" }, limits: { memory: "256Mi" } });
  const peak = {
    initContainers: [{ name: "big", resources: { limits: { memory: "400Mi" } } }],
    containers: [{ name: "app", resources: { limits: { memory: "100Mi" } } }],
  };
  t.match(
    inject(peak, pod({ max: { memory: "500Mi" } })).sidecar["resources"],
    { limits: { memory: "100Mi" } },
    "a native sidecar runs next to the init containers",
  );
});

t.test("what the pod reserves as a whole is enough for all", async (t) => {
  const spec = (resources: object, own: object) => ({ resources, containers: [{ name: "app", resources: own }] });
  const left = inject(spec({ requests: { cpu: "100m", memory: "200Mi" } }, { requests: { cpu: "70m", memory: "100Mi" } }), around({}));
  t.match(left.sidecar["resources"], { requests: { cpu: "30m", memory: "64Mi" }, limits: { memory: "256Mi" } });
  const none = inject(spec({ requests: { cpu: "100m" } }, { requests: { cpu: "100m" } }), around({}));
  t.match(none.sidecar["resources"], { requests: { cpu: "0", memory: "64Mi" } });
  const capped = inject(spec({ limits: { memory: "128Mi" } }, {}), around({}));
  t.match(capped.sidecar["resources"], { requests: { memory: "64Mi" }, limits: { memory: "128Mi" } });
  t.strictSame(capped.pod?.spec["resources"], { limits: { memory: "128Mi" } }, "the pod's own resources are never touched");
  t.match(inject(spec({ limits: { memory: "50Mi" } }, {}), around({})).decision, {
    reason: "resource_bounds",
    message: /resources of the pod itself would make the sidecar's memory limit 50Mi/,
  });
});

t.test("a quota with room for the pod but not for its sidecar is pointed out", async (t) => {
  const app = { containers: [{ name: "app", resources: { requests: { memory: "100Mi" }, limits: { memory: "100Mi" } } }] };
  const left = (hard: Readonly<Record<string, string>>, used: Readonly<Record<string, string>>, scoped = false) => {
    const surroundings = { ...around({}), quotas: [{ name: "team", hard, used, scoped }] };
    const { decision, warnings } = inject(app, surroundings);
    t.equal(decision.action, "inject", "the API server counts by itself");
    return warnings.filter((warning) => warning.startsWith("ResourceQuota"));
  };
  t.strictSame(left({ "requests.memory": "1Gi" }, { "requests.memory": "900Mi" }), [
    "ResourceQuota team has 124Mi of requests.memory left, and the pod with its sidecar takes 164Mi",
  ]);
  t.strictSame(left({ memory: "1Gi" }, { memory: "900Mi" }).length, 1, "under its short name");
  t.strictSame(left({ "requests.memory": "1Gi" }, { "requests.memory": "800Mi" }), [], "enough");
  t.strictSame(left({ "requests.memory": "1Gi" }, { "requests.memory": "1Gi" }), [], "not enough for the pod alone");
  t.strictSame(left({ "requests.memory": "1Gi" }, { "requests.memory": "900Mi" }, true), [], "for some pods only");
  t.strictSame(left({ "limits.memory": "300Mi" }, {}), [
    "ResourceQuota team has 300Mi of limits.memory left, and the pod with its sidecar takes 356Mi",
  ]);
});

/** The rules of the LimitRanger (kubernetes, plugin/pkg/admission/limitranger), written down once more. */
function violations(resources: Resources, items: readonly Partial<LimitRangeItemFacts>[]): readonly string[] {
  return items.flatMap(({ min = {}, max = {}, maxLimitRequestRatio = {} }) => {
    const amount = (text: string | undefined) => (text === undefined ? null : parseQuantity(text, "milli"));
    return ["cpu", "memory"].flatMap((name) => {
      const [request, limit] = [amount(resources.requests[name]), amount(resources.limits[name])];
      const [least, most, ratio] = [amount(min[name]), amount(max[name]), amount(maxLimitRequestRatio[name])];
      return [
        ...(least !== null && (request === null || request < least) ? [`${name} request below min`] : []),
        ...(least !== null && limit !== null && limit < least ? [`${name} limit below min`] : []),
        ...(most !== null && (limit === null || limit > most) ? [`${name} limit above max`] : []),
        ...(most !== null && request !== null && request > most ? [`${name} request above max`] : []),
        ...(ratio !== null && (request === null || request === 0 || limit === null || limit / request > ratio / 1000)
          ? [`${name} ratio`]
          : []),
        ...(request !== null && limit !== null && request > limit ? [`${name} request above limit`] : []),
      ];
    });
  });
}

t.test("whatever the bounds are, the pod is accepted or refused with a reason, and never left to the API server", async (t) => {
  let state = 20261121;
  const next = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  const pick = <T>(items: readonly T[]): T => items[Math.floor(next() * items.length)] as T;
  const some = (texts: Readonly<Record<string, readonly string[]>>) =>
    Object.fromEntries(Object.entries(texts).flatMap(([name, choices]) => (next() < 0.4 ? [[name, pick(choices)]] : [])));
  let [fitted, refused] = [0, 0];
  for (let round = 0; round < 2000; round += 1) {
    const item = {
      min: some({ cpu: ["1m", "50m", "100m", "0.5"], memory: ["1Mi", "64Mi", "100M", "300Mi", "2Gi"] }),
      max: some({ cpu: ["60m", "100m", "1", "1500m"], memory: ["64Mi", "100Mi", "256Mi", "1G", "8Gi"] }),
      maxLimitRequestRatio: some({ cpu: ["1", "1.5", "4", "20"], memory: ["1", "1.5", "3", "10"] }),
    };
    const { decision, sidecar, init } = inject({}, around({ limits: [item] }));
    if (decision.action === "refuse") {
      refused += 1;
      if (decision.reason !== "resource_bounds") t.fail(`round ${round}: ${decision.message}`);
      continue;
    }
    fitted += 1;
    for (const container of [sidecar, init]) {
      const found = violations(container?.["resources"] as Resources, [item]);
      if (found.length > 0) t.fail(`round ${round}: ${found.join(", ")} in ${JSON.stringify([container?.["resources"], item])}`);
    }
    const memory = parseQuantity((sidecar["resources"] as Resources).limits["memory"] ?? "0", "one") ?? 0;
    if (memory < 96 * MI) t.fail(`round ${round}: too little memory to live with`);
  }
  t.ok(fitted > 500 && refused > 200, `${fitted} fitted, ${refused} refused`);
});
