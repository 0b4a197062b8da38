import t from "tap";
import { parsePlatform } from "../../injector/platform/platform.ts";
import { readNamespaceDefaults, resolveSettings } from "../../injector/annotations/resolve-settings.ts";
import { noSurroundings, type Surroundings } from "../../injector/surroundings.ts";

function around(annotations: Record<string, string> = {}, platform = ""): Surroundings {
  return { ...noSurroundings("shop"), namespace: { name: "shop", labels: {}, annotations }, platform: parsePlatform(platform) };
}

t.test("the pod's annotation beats the namespace's, which beats what is enforced for all; each value knows who gave it", async (t) => {
  const { values, origins, mistakes } = resolveSettings(
    { "remora.io/log-level": "warn", "remora.io/ports": "80" },
    around(
      { "remora.io/log-level": "debug", "remora.io/allow": "shop/*", "remora.io/verify": "sign" },
      "enforced: {minimumMode: strict, minimumVerify: hmac}",
    ),
  );
  t.strictSame(mistakes, []);
  t.match(values, { "log-level": "warn", allow: "shop/*", verify: "sign", mode: "strict" });
  t.strictSame(Object.fromEntries(origins), {
    "log-level": "pod",
    ports: "pod",
    allow: "namespace",
    verify: "namespace",
    mode: "platform",
  });
});

t.test("without annotations and enforcement nothing is set, so that the defaults of the sidecar hold", async (t) => {
  for (const annotations of [undefined, null, {}, { "other.io/mode": "x", "remora.io/injected": "{}" }]) {
    t.strictSame(resolveSettings(annotations, around()), { values: {}, origins: new Map(), mistakes: [], warnings: [] });
  }
});

t.test("a mistake of the namespace refuses its pods, unless the pod says it right", async (t) => {
  const wrong = around({ "remora.io/mode": "soft" });
  t.strictSame(resolveSettings({}, wrong).mistakes, [
    'namespace shop, annotation remora.io/mode: "soft" is not allowed; allowed: strict, permissive',
  ]);
  t.strictSame(resolveSettings({ "remora.io/mode": "strict" }, wrong).mistakes, []);
});

t.test("what is for pods has no effect on a namespace, and is said to who writes it there", async (t) => {
  const surroundings = around({ "remora.io/ports": "80=grpc", "remora.io/unknown": "x" });
  t.strictSame(resolveSettings({}, surroundings), { values: {}, origins: new Map(), mistakes: [], warnings: [] });
  t.strictSame(readNamespaceDefaults(surroundings).warnings, [
    'annotation "remora.io/unknown" is unknown and has no effect',
    "annotation remora.io/ports has no effect on a namespace: it is for a pod",
  ]);
});

t.test("automatic capture is what the platform enforces; stronger is allowed, weaker is not", async (t) => {
  const platform = "enforced: {capture: transparent, minimumSigning: hmac, egress: deny}";
  const auto = resolveSettings({ "remora.io/capture": "auto", "remora.io/signing": "sign" }, around({}, platform));
  t.strictSame(auto.mistakes, []);
  t.match(auto.values, { capture: "transparent", signing: "sign", egress: "deny" });
  t.equal(auto.origins.get("capture"), "platform");
  const weak = resolveSettings(
    { "remora.io/capture": "explicit", "remora.io/signing": "mtls", "remora.io/egress": "allow" },
    around({}, platform),
  );
  t.equal(weak.mistakes.length, 3);
});

t.test("names that objects have by nature are names like any other", async (t) => {
  const hostile = JSON.parse('{"__proto__": "x", "remora.io/__proto__": "x", "remora.io/constructor": "x"}') as Record<string, string>;
  const { values, warnings } = resolveSettings(hostile, around(hostile));
  t.strictSame(values, {});
  t.equal(warnings.length, 2);
});
