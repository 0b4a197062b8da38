// Values that were made to break things, as annotation names and values, pushed through everything that reads, shows or stores them: the patch, the
// environment of the containers, warnings and refusals, the marker, and the way back. Seeded, so that a failure can be repeated.
import { isDeepStrictEqual } from "node:util";
import jsonPatch from "fast-json-patch";
import t, { type Test } from "tap";
import { stringify } from "yaml";
import { loadConfig } from "../../core/config.ts";
import { ANNOTATION_NAMES } from "../../injector/annotations/annotations.ts";
import type { PatchOperation } from "../../injector/patch/difference.ts";
import { formatReview } from "../../injector/webhook/envelope.ts";
import { injectPod } from "../../injector/inject.ts";
import { formatManifests, parseManifests, patchDocument } from "../../injector/manifest.ts";
import type { Pod } from "../../injector/pod/pod.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";
import { validate } from "../../injector/validate/validate.ts";
import { sidecarSettings } from "../../sidecar/config.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

const SETTINGS = defaultInjectorSettings("0.1.0");
const SEED = 20260117;
const ROUNDS = 400;

/** What goes wrong in one notation or another. */
const PIECES = [
  "/",
  "~",
  "~0",
  "~1",
  "a/b~c",
  "-",
  "..", // JSON pointers
  "\n",
  "\r\n",
  "\t",
  "---\n",
  "- ",
  ": ",
  "#",
  "&a",
  "*a",
  "!!js",
  "|",
  ">",
  "%YAML",
  "{{",
  "}}",
  "[",
  "]",
  "{",
  "}",
  "@",
  "`",
  "y",
  "null",
  "~", // YAML and templates
  "'",
  '"',
  "\\",
  "$(id)",
  "$(REMORA_MODE)",
  "$$",
  "$" + "{HOME}",
  "`id`",
  "; rm -rf /",
  "&& id",
  "| sh",
  "> /etc/passwd",
  "--", // shells and the kubelet
  "\u0000",
  "\u001b[31m",
  "\u0007",
  "\u0085",
  "\u2028",
  "\u202e",
  "\ufeff",
  "\ud800",
  "\ud83d\ude00",
  "é",
  "İ", // Unicode
  "__proto__",
  "constructor",
  "prototype",
  "toString",
  "hasOwnProperty",
  "length",
  "0",
  "-1",
  "1e309",
  "NaN", // JavaScript
  "</script><b>",
  "\u00a0",
  "%2e%2e%2f",
  "%00",
  "<!--",
  "](javascript:x)", // pages and documents
  "strict",
  "100/s",
  "8080=http1",
  "timeout=1s",
  "*",
  "shop/web",
  ",",
  ";",
  "=",
  " ", // halves of what is allowed
];

const WORDS = [
  "100/s",
  "path=/$(id)/",
  "method=$",
  "path=/$$(A)/",
  "timeout=1s",
  "service=a",
  "8080",
  "80=grpc",
  "10.0.0.0/8",
  "a/b",
  "*",
  "strict",
  "true",
  "5s",
  "64Mi",
  "1",
  "50%",
  "canary",
  "a:1",
];

const { next, below, pick } = createSeededRandom(SEED);
const hostile = () => Array.from({ length: 1 + below(6) }, () => pick(PIECES)).join("");

/** Made of halves of what is allowed, so that some of it is. */
const plausible = () => Array.from({ length: 1 + below(3) }, () => pick(WORDS)).join(pick(["", " ", ",", ";", "; "]));

function podWith(annotations: Readonly<Record<string, string>>): Pod {
  // Object.fromEntries defines, so that a key __proto__ is a key.
  const own = Object.fromEntries(Object.entries(annotations));
  return {
    metadata: { name: "web", annotations: own },
    spec: { containers: [{ name: "app", image: "app:1", ports: [{ containerPort: 80 }] }] },
  };
}

function entry(key: string, value: string): Readonly<Record<string, string>> {
  return Object.fromEntries([[key, value]]);
}

/** Applies the patch as the API server does, operation by operation. */
function applied(pod: Pod, patch: readonly PatchOperation[]): unknown {
  const copy = JSON.parse(JSON.stringify(pod)) as object;
  return jsonPatch.applyPatch(copy, JSON.parse(JSON.stringify(patch)) as jsonPatch.Operation[], true, true, false).newDocument;
}

/** What is not shown as it is, anywhere. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/u;

/** The checks of one round; what does not hold is told by round, because no test output should carry such values as they are. */
function createChecks() {
  const failed: string[] = [];
  let count = 0;
  return {
    holds(round: number, what: string, isSo: boolean) {
      count += 1;
      if (!isSo) failed.push(`round ${round}: ${what}`);
    },
    tell(t: Test, atLeast: number) {
      t.strictSame(failed, []);
      t.ok(count >= atLeast, `${count} checks`);
    },
  };
}

t.test("whatever annotations say, the injector answers, its patch fits, nothing else changes and all can be taken back", async (t) => {
  const checks = createChecks();
  const seen = new Set<string>();
  for (let round = 0; round < ROUNDS; round += 1) {
    const ours = next() < 0.5;
    const key = ours ? `remora.io/${next() < 0.5 ? pick(ANNOTATION_NAMES) : hostile()}` : hostile();
    const pod = podWith({ ...entry(key, hostile()), ...entry(hostile(), hostile()) });
    const { decision, patch, pod: desired, warnings } = injectPod(pod, noSurroundings("shop"), { kind: "command" }, SETTINGS);
    seen.add(decision.action);
    for (const text of [decision.message, ...warnings])
      checks.holds(round, "texts are short and printable", text.length < 4_000 && !UNPRINTABLE.test(text));
    if (decision.action !== "inject" || desired === null) {
      checks.holds(round, "only a bad annotation is refused", decision.reason === "invalid_annotation" && patch.length === 0);
      continue;
    }
    checks.holds(round, "the patch gives the pod", isDeepStrictEqual(applied(pod, patch), JSON.parse(JSON.stringify(desired))));
    checks.holds(round, "and back", isDeepStrictEqual(JSON.parse(JSON.stringify(uninjectPod(desired))), JSON.parse(JSON.stringify(pod))));
    const after = desired.metadata?.annotations ?? {};
    const kept = Object.entries(pod.metadata?.annotations ?? {}).every(
      ([name, text]) => Object.hasOwn(after, name) && after[name] === text,
    );
    checks.holds(round, "the owner's annotations stay", kept);
  }
  checks.tell(t, ROUNDS);
  t.strictSame(seen, new Set(["inject", "refuse"]));
  t.equal(({} as Record<string, unknown>)["polluted"], undefined);
});

t.test("a value that is allowed reaches the container as it is, and cannot become anything else there", async (t) => {
  const checks = createChecks();
  for (let round = 0; round < ROUNDS * 5; round += 1) {
    const name = pick(ANNOTATION_NAMES);
    const { decision, pod } = injectPod(
      podWith(entry(`remora.io/${name}`, next() < 0.7 ? plausible() : hostile())),
      noSurroundings("shop"),
      { kind: "command" },
      SETTINGS,
    );
    if (decision.action !== "inject") continue;
    const sidecar = [...(pod?.spec.initContainers ?? []), ...(pod?.spec.containers ?? [])].find(
      (container) => container.name === "remora-sidecar",
    );
    const variables = (sidecar?.["env"] ?? []) as readonly { readonly name: string; readonly value?: string }[];
    // What the kubelet makes of it: $(NAME) is replaced unless it is written $$(NAME).
    const expanded = variables.flatMap(({ name: key, value }) => {
      if (value === undefined) return [];
      checks.holds(round, `nothing for the kubelet to replace in ${key}`, !/\$\(/.test(value.replaceAll("$$", "")));
      return [[key, value.replaceAll("$$", "$")] as const];
    });
    checks.holds(round, `the sidecar starts with ${name}`, starts(Object.fromEntries(expanded)));
  }
  checks.tell(t, 100);
});

function starts(env: Readonly<Record<string, string>>): boolean {
  try {
    loadConfig("sidecar", sidecarSettings, env);
    return true;
  } catch {
    return false;
  }
}

t.test("a megabyte in any place is refused or carried, and no answer grows with it", async (t) => {
  const megabyte = "x,".repeat(500_000);
  for (const key of [...ANNOTATION_NAMES.map((name) => `remora.io/${name}`), `remora.io/${megabyte}`, megabyte]) {
    const { decision, patch, warnings } = injectPod(podWith(entry(key, megabyte)), noSurroundings("shop"), { kind: "command" }, SETTINGS);
    t.ok(decision.message.length + warnings.join("").length < 2_000, key.slice(0, 40));
    t.ok(JSON.stringify(patch).length < 50_000);
  }
});

t.test("the answers of both webhooks are JSON with warnings that fit a header", async (t) => {
  const checks = createChecks();
  for (let round = 0; round < ROUNDS; round += 1) {
    const annotations = entry(`remora.io/${next() < 0.5 ? pick(ANNOTATION_NAMES) : hostile()}`, hostile());
    const object = {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: hostile(), annotations },
      spec: { template: podWith(annotations) },
    };
    const request = {
      uid: "u",
      operation: "CREATE",
      kind: { group: "apps", kind: "Deployment" },
      resource: { group: "apps", resource: "deployments" },
    };
    const rest = { subResource: "", namespace: "shop", name: "web", dryRun: false, oldObject: null };
    const surroundings = noSurroundings("shop");
    const around = { ...surroundings, namespace: { ...surroundings.namespace, labels: { "remora.io/inject": "enabled" } } };
    const { answer } = validate({ ...request, ...rest, object }, around, SETTINGS);
    const { response } = JSON.parse(formatReview("u", answer)) as {
      readonly response: { readonly warnings?: readonly string[]; readonly status?: { readonly message: string } };
    };
    for (const text of [...(response.warnings ?? []), response.status?.message ?? ""])
      checks.holds(round, "printable", !UNPRINTABLE.test(text));
  }
  checks.tell(t, ROUNDS);
});

t.test("manifests with such values come back with them", async (t) => {
  const checks = createChecks();
  for (let round = 0; round < 100; round += 1) {
    // A lone surrogate and the control characters are not YAML: whoever writes them writes escapes, as `stringify` does.
    const value = hostile().toWellFormed();
    const pod = { apiVersion: "v1", kind: "Pod", ...podWith({ note: value, other: "x" }) };
    const source = stringify(pod, { version: "1.1" });
    const [document] = parseManifests(source, "test");
    if (document === undefined) throw new Error("no document");
    checks.holds(round, "read", isDeepStrictEqual((document.value as typeof pod).metadata, pod.metadata));
    const { patch, pod: desired } = injectPod(document.value, noSurroundings("shop"), { kind: "command" }, SETTINGS);
    const printed = formatManifests([document], new Map([[document, patchDocument(document, [{ path: [], operations: patch }])]]));
    const [again] = parseManifests(printed, "again");
    checks.holds(round, "printed", isDeepStrictEqual(again?.value, JSON.parse(JSON.stringify(desired))));
  }
  checks.tell(t, 200);
});
