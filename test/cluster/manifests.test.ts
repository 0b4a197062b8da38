// A zoo of manifests against the real API server and the real injector. Each file says in its first lines what is to become of its pods; whatever
// that is, the rules of `checkInjected` hold for all of them. The same files go into a namespace without Remora, which proves that each is valid and
// shows what the API server makes of it by itself.
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import t, { type Test } from "tap";
import { injectPod } from "../../injector/inject.ts";
import { parsePod } from "../../injector/pod/pod.ts";
import { INJECT_REASONS, type InjectionReason, REFUSE_REASONS, SKIP_REASONS } from "../../injector/decide/reasons.ts";
import { defaultInjectorSettings } from "../../injector/settings.ts";
import { noSurroundings } from "../../injector/surroundings.ts";
import { uninjectPod } from "../../injector/patch/uninject.ts";
import { until } from "../e2e/until.ts";
import type { ApiError, ApiObject } from "../support/kubernetes/api-client.ts";
import { createPodOf, makesPods } from "../support/kubernetes/controllers.ts";
import { type HugePod, hugePods } from "./huge-pods.ts";
import { type Installation, install, kubectl, lacksCluster } from "./installation.ts";
import {
  changedFields,
  isInjected,
  ownContainers,
  probeTimes,
  sidecarOf,
  type StoredPod,
  storedPod,
  withoutNetworkProbes,
} from "./stored-pod.ts";

t.setTimeout(800_000);

const FOLDER = join(import.meta.dirname, "manifests");
const FILES = readdirSync(FOLDER).filter((name) => name.endsWith(".yaml"));
const LEAST_FILES = 60;
const LOG_TIMEOUT_MS = 30_000;
/** A namespace with sidecars, one without, and one that takes only pods of the restricted profile. */
const MESHED = "zoo";
const PLAIN = "plain";
const RESTRICTED = "restricted";
const ASKER = { kind: "namespace", label: "enabled" } as const;
const SETTINGS = defaultInjectorSettings("0.1.0");

/** From the comments at the top of a file. */
interface Expectation {
  readonly action: "injected" | "skipped" | "refused";
  readonly reason: InjectionReason;
  /** Words in warnings that kubectl prints. */
  readonly warns: readonly string[];
}

t.test("every manifest", { skip: lacksCluster }, async (t) => {
  t.ok(FILES.length >= LEAST_FILES, `${FILES.length} files`);
  const installation = await install(t);
  const { kubernetes } = installation;
  await kubernetes.createNamespace(MESHED, { labels: { "remora.io/inject": "enabled" } });
  await kubernetes.createNamespace(PLAIN);
  await kubernetes.createNamespace(RESTRICTED, { labels: { "pod-security.kubernetes.io/enforce": "restricted" } });
  await kubernetes.api.call("/apis/node.k8s.io/v1/runtimeclasses", {
    body: { metadata: { name: "sandbox" }, handler: "runsc", overhead: { podFixed: { cpu: "250m", memory: "120Mi" } } },
  });
  const plain = await createPlain(t, installation);

  for (const file of FILES) {
    const expected = readExpectation(file, readFileSync(join(FOLDER, file), "utf8"));
    await t.test(`${file} is ${expected.action}`, (t) => checkFile(t, installation, file, expected, plain));
  }
  for (const huge of hugePods()) {
    await t.test(`${huge.name} is ${huge.expect}`, (t) => checkHuge(t, installation, huge));
  }

  t.test("and nothing went wrong on the way", async (t) => {
    const answered = installation.admissions();
    t.ok(answered.length >= FILES.length / 2, `${answered.length} admissions`);
    t.strictSame(
      answered.filter(({ result }) => result === "error"),
      [],
    );
    t.notMatch(kubernetes.log(), /failed calling webhook/);
  });
});

/** Creates all files in the plain namespace; what is stored there, by {@link keyOf}. */
async function createPlain(t: Test, { kubernetes }: Installation): Promise<ReadonlyMap<string, ApiObject>> {
  const { code, stdout, stderr } = await kubernetes.kubectl(["create", "--validate=strict", "-n", PLAIN, "-f", FOLDER, "-o", "name"]);
  t.equal(code, 0, `every file is valid for the API server ${stderr}`);
  const objects = await readNamed(kubernetes, PLAIN, stdout);
  return new Map(objects.map((object) => [keyOf(object), object]));
}

async function checkFile(
  t: Test,
  installation: Installation,
  file: string,
  expected: Expectation,
  plain: ReadonlyMap<string, ApiObject>,
): Promise<void> {
  const { kubernetes } = installation;
  const args = ["create", "--validate=strict", "-n", MESHED, "-f", join(FOLDER, file), "-o", "name"];
  const { code, stdout, stderr } = await kubernetes.kubectl(args);
  if (expected.action === "refused") {
    t.not(code, 0, "kubectl fails");
    return checkRefusal(t, stderr, expected.reason);
  }
  t.equal(code, 0, stderr);
  for (const word of expected.warns) t.match(stderr, new RegExp(`Warning: remora: .*${word}`), `warns about ${word}`);
  let pods = 0;
  for (const object of await readNamed(kubernetes, MESHED, stdout)) {
    const twin = plain.get(keyOf(object));
    if (twin === undefined || (object.kind !== "Pod" && !makesPods(object.kind))) continue;
    pods += 1;
    const [before, after] =
      object.kind === "Pod" ? [twin, object] : [await createPodOf(kubernetes.api, twin), await createPodOf(kubernetes.api, object)];
    if (expected.action === "injected") await checkInjected(t, installation, storedPod(before), storedPod(after));
    else await checkSkipped(t, installation, storedPod(before), after, expected.reason);
  }
  t.ok(pods > 0, `${pods} pods`);
}

async function checkHuge(t: Test, installation: Installation, { name, pod, expect }: HugePod): Promise<void> {
  const { api } = installation.kubernetes;
  const expected = readExpectation(name, `# expect: ${expect}`);
  const before = storedPod(await api.object(`/api/v1/namespaces/${PLAIN}/pods`, { body: pod }));
  const answer = await api.object(`/api/v1/namespaces/${MESHED}/pods`, { body: pod }).catch((error: ApiError) => error);
  if (expected.action === "refused") return checkRefusal(t, answer instanceof Error ? answer.message : "it was admitted", expected.reason);
  if (answer instanceof Error) throw answer;
  await checkInjected(t, installation, before, storedPod(answer));
}

function checkRefusal(t: Test, message: string, reason: InjectionReason): void {
  t.match(message, `(${reason})`, "the message gives the reason");
  t.match(message, "denied the request: remora refuses");
  t.notMatch(message, /Internal error|failed calling webhook/);
}

async function checkSkipped(
  t: Test,
  installation: Installation,
  before: StoredPod,
  after: ApiObject,
  reason: InjectionReason,
): Promise<void> {
  t.strictSame(comparable(storedPod(after)), comparable(before), "nothing was changed");
  const answered = () => installation.admissions().find(({ namespace, pod }) => namespace === MESHED && isNamed(after, pod));
  // The API server does not even ask about pods that opted out.
  if (reason === "pod_disabled") return void t.equal(answered(), undefined, "the injector was not asked");
  await until("the injector has logged its answer", LOG_TIMEOUT_MS, () => answered() !== undefined);
  t.match(answered(), { result: "skipped", reason });
}

/** The rules that hold for every pod that gets a sidecar. */
async function checkInjected(t: Test, installation: Installation, before: StoredPod, after: StoredPod): Promise<void> {
  t.ok(isInjected(after), "it has a sidecar");
  for (const list of ["containers", "initContainers"] as const) {
    const [own, owned] = [ownContainers(before.spec[list]), ownContainers(after.spec[list])];
    t.strictSame(owned.map(withoutNetworkProbes), own.map(withoutNetworkProbes), `${list} are the owner's, but for probes`);
    t.strictSame(owned.map(probeTimes), own.map(probeTimes), `${list} are probed as often`);
  }
  const kept = (after.spec.volumes ?? []).filter(({ name }) => before.spec.volumes?.some((volume) => volume.name === name));
  t.strictSame(kept, before.spec.volumes ?? [], "volumes are the owner's");
  t.strictSame(changedFields(before, after), [], "the rest of the spec is the owner's");
  t.strictSame(after.metadata.labels, before.metadata.labels, "labels are the owner's");
  for (const [key, value] of Object.entries(before.metadata.annotations)) t.equal(after.metadata.annotations[key], value, key);
  checkSecondRun(t, after);
  checkUninject(t, before, after);
  await checkRestricted(t, installation, after);
}

function checkSecondRun(t: Test, after: StoredPod): void {
  const again = injectPod(after, noSurroundings(MESHED), ASKER, SETTINGS);
  t.match(again.decision, { action: "skip", reason: "already_injected" });
  t.strictSame(again.patch, [], "a second run changes nothing");
}

function checkUninject(t: Test, before: StoredPod, after: StoredPod): void {
  const restored = uninjectPod(parsePod(after));
  t.not(restored, null, "it can be taken back");
  t.strictSame(comparable(restored as unknown as StoredPod), comparable(before), "uninject restores the pod");
}

/** Our sidecar alone, as the only container of a pod: what the restricted profile asks of it must be its own, not its pod's. */
async function checkRestricted(t: Test, { kubernetes }: Installation, pod: StoredPod): Promise<void> {
  const { restartPolicy: _restart, ...sidecar } = sidecarOf(pod) as { readonly restartPolicy?: unknown; readonly volumeMounts?: unknown };
  const mounted = (sidecar.volumeMounts as ReadonlyArray<{ readonly name: string }> | undefined)?.map(({ name }) => name) ?? [];
  const volumes = (pod.spec.volumes ?? []).filter(({ name }) => mounted.includes(name));
  const path = `/api/v1/namespaces/${RESTRICTED}/pods?dryRun=All`;
  const body = { metadata: { generateName: "sidecar-" }, spec: { automountServiceAccountToken: false, containers: [sidecar], volumes } };
  const refusal = await kubernetes.api.call(path, { body }).then(
    () => null,
    (error: Error) => error.message,
  );
  t.equal(refusal, null, "the sidecar meets the restricted profile");
}

/** Empty lists and maps mean the same as none; the API server drops them in its own time. */
function comparable({ metadata, spec }: StoredPod): object {
  const annotations = Object.fromEntries(Object.entries(metadata.annotations ?? {}));
  const { initContainers = [], volumes = [], ...rest } = spec;
  return { annotations, spec: { ...rest, initContainers: initContainers ?? [], volumes: volumes ?? [] } };
}

/** Objects by the names that kubectl printed, such as `deployment.apps/web`. */
async function readNamed(kubernetes: Installation["kubernetes"], namespace: string, names: string): Promise<readonly ApiObject[]> {
  const given = names.split("\n").filter((name) => name !== "");
  if (given.length === 0) return [];
  const printed = JSON.parse(await kubectl(kubernetes, ["get", "-n", namespace, "-o", "json", ...given])) as ApiObject;
  return printed.kind === "List" ? (printed["items"] as readonly ApiObject[]) : [printed];
}

/** The same object in another namespace has the same key. */
function keyOf({ kind, metadata }: ApiObject): string {
  return `${kind}/${metadata.generateName ?? metadata.name}`;
}

/** How the injector's log names a pod: before it is stored, one that is made from a prefix has no name. */
function isNamed({ metadata }: ApiObject, logged: unknown): boolean {
  return logged === metadata.name || (metadata.generateName !== undefined && logged === `${metadata.generateName}*`);
}

function readExpectation(file: string, text: string): Expectation {
  const [, action, reason = "namespace_enabled"] = /^# expect: (injected|skipped|refused)(?: (\w+))?$/m.exec(text) ?? [];
  const known = { injected: INJECT_REASONS, skipped: SKIP_REASONS, refused: REFUSE_REASONS };
  if (action === undefined || !(reason in known[action as keyof typeof known])) throw new Error(`${file} does not say what it expects`);
  const warns = [...text.matchAll(/^# warns: (.+)$/gm)].map(([, words = ""]) => words);
  return { action: action as Expectation["action"], reason: reason as InjectionReason, warns };
}
