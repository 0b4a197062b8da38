// `remora explain`: what the injector does with a workload and why, in a cluster or from a file. Everything shown comes from the functions that the
// webhook runs.
import { type Command, InvalidArgumentError, Option } from "commander";
import { buildInfo } from "../core/build-info.ts";
import { ConfigError } from "../core/errors.ts";
import { INJECT_LABEL } from "../injector/annotations/annotations.ts";
import type { Asker } from "../injector/decide/decide.ts";
import { readSwitch } from "../injector/decide/report.ts";
import { defaultInjectorSettings } from "../injector/settings.ts";
import { findPods } from "../injector/pod/workload.ts";
import type { Cluster } from "./explain/cluster.ts";
import { explain } from "./explain/explanation.ts";
import { kindFromWord, podFromTemplate, type WorkloadKind } from "./explain/kinds.ts";
import { subjectsOf } from "./explain/manifests.ts";
import { type FetchRegistry, readRegistries, registryAt } from "./explain/registry-view.ts";
import { explainPod, originalOf } from "./explain/running.ts";
import { type Printable, printExplanation } from "./explain/text.ts";
import { readManifests } from "./inject-command.ts";
import { createPaint } from "./paint.ts";

interface ExplainFlags {
  readonly filename?: readonly string[];
  readonly namespace?: string;
  readonly output: "text" | "json";
  readonly kubeconfig?: string;
  readonly context?: string;
  readonly controlNamespace: string;
  readonly controlAddress?: string;
}

/** A workload with more pods is explained by these. */
const MAX_PODS = 500;

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("explain")
    .summary("say what the injector does with a workload, and why")
    .description(
      "Explains what the injector makes of a pod or workload: the decision and its reason, every setting with where it came from, what is captured, which probes change, the patch, and how its running pods differ from that.",
    )
    .argument("[kind]", "pod, deployment, statefulset, daemonset, replicaset, job or cronjob; or KIND/NAME")
    .argument("[name]", "name of the workload")
    .option("-f, --filename <file...>", "explain the workloads of a manifest, without a cluster; - for standard input")
    .option("-n, --namespace <name>", "its namespace; without it the kubeconfig's, or default")
    .addOption(new Option("-o, --output <form>", "what to print").choices(["text", "json"]).default("text"))
    .option("--kubeconfig <file>", "kubeconfig to use")
    .option("--context <name>", "its context to use")
    .option("--control-namespace <name>", "the control plane's namespace", "remora-system")
    .option("--control-address <host:port>", "the control plane's admin port; without it, it is asked through the API server", parseAddress)
    .action(async (kind: string | undefined, name: string | undefined, flags: ExplainFlags) => {
      const asked = readSubject(kind, name);
      if (flags.filename === undefined && asked === null)
        throw new ConfigError("invalid_value", "name what is to be explained: KIND NAME in the cluster, or -f FILE");
      const found =
        flags.filename === undefined
          ? [await explainInCluster(asked as AskedSubject, flags)]
          : await explainFiles(flags.filename, asked, flags);
      // Whoever asks for one gets one, whoever asks for a file gets a list.
      await write(printAll(found, flags.output, asked === null));
    });
}

interface AskedSubject {
  readonly kind: WorkloadKind;
  readonly name: string;
}

/** `deploy web` and `deploy/web` are the same, as for kubectl. */
function readSubject(kind: string | undefined, name: string | undefined): AskedSubject | null {
  if (kind === undefined) return null;
  const [word = "", joined] = kind.split("/", 2);
  const found = joined ?? name;
  if (found === undefined || found === "" || (joined !== undefined && name !== undefined))
    throw new ConfigError("invalid_value", `which ${word}? Expected KIND NAME or KIND/NAME`);
  return { kind: kindFromWord(word), name: found };
}

async function explainFiles(files: readonly string[], asked: AskedSubject | null, flags: ExplainFlags): Promise<readonly Printable[]> {
  const defaults = defaultInjectorSettings(buildInfo().version);
  const { controlNamespace } = flags;
  const settings = { ...defaults, controlNamespace, controlAddress: `remora-control.${controlNamespace}.svc:15010` };
  const all = subjectsOf(await readManifests(files), flags.namespace ?? "default");
  const wanted = all.filter(({ subject }) => asked === null || (subject.kind === asked.kind.kind && subject.name === asked.name));
  if (wanted.length === 0) {
    const what = asked === null ? "workload" : `${asked.kind.kind.toLowerCase()}/${asked.name}`;
    throw new ConfigError("invalid_value", `there is no ${what} in ${files.join(", ")}`);
  }
  return wanted.map(({ subject, surroundings, asker, notes }) => ({
    ...explain(subject, surroundings, asker, settings, notes),
    pods: null,
    registry: null,
  }));
}

async function explainInCluster({ kind, name }: AskedSubject, flags: ExplainFlags): Promise<Printable> {
  // With what only a cluster needs: a file is explained in half the time.
  const { connectCluster, readInstalledSettings } = await import("./explain/cluster.ts");
  const cluster = await connectCluster(flags);
  const namespace = flags.namespace ?? cluster.namespace;
  const { controlNamespace } = flags;
  const notes: string[] = [];
  const note = (sentence: string) => void notes.push(sentence);
  const folder = kind.path.replace("{namespace}", encodeURIComponent(namespace));
  const object = await cluster.get(`${folder}/${encodeURIComponent(name)}`);
  if (object === null) throw new ConfigError("invalid_value", `there is no ${kind.words[0]} ${name} in namespace ${namespace}`);
  const [surroundings, settings, registry, running] = await Promise.all([
    cluster.surroundings(namespace, controlNamespace, note),
    readInstalledSettings(cluster, controlNamespace, note),
    readRegistries(() => registriesFor(cluster, flags), namespace),
    kind.kind === "Pod" ? [object] : podsOf(cluster, object, namespace, note),
  ]);
  const asker: Asker = { kind: "namespace", label: readSwitch(surroundings.namespace.labels[INJECT_LABEL]) };
  const pod = kind.kind === "Pod" ? originalOf(object) : podFromTemplate(templateIn(object, kind.kind), kind.kind, name);
  return {
    ...explain({ kind: kind.kind, name, namespace, pod }, surroundings, asker, settings, notes),
    pods: running.map((one) => explainPod(one, surroundings, asker, settings, registry)),
    registry: { known: registry.known, why: registry.known ? null : registry.why },
  };
}

async function registriesFor(
  cluster: Cluster,
  { controlAddress, controlNamespace }: ExplainFlags,
): Promise<ReadonlyMap<string, FetchRegistry>> {
  return controlAddress === undefined ? cluster.registries(controlNamespace) : new Map([[controlAddress, registryAt(controlAddress)]]);
}

/** An object as it is read alone says its kind; `findPods` knows where its template is. */
function templateIn(object: unknown, kind: string): unknown {
  const [place] = findPods({ kind, ...(object as object) }, INJECT_LABEL);
  return place === undefined || place.path === null ? null : place.value;
}

/** The pods that the workload's selector finds; a CronJob has none, its Jobs have. */
async function podsOf(cluster: Cluster, object: unknown, namespace: string, note: (sentence: string) => void): Promise<readonly unknown[]> {
  const selector = (object as { readonly spec?: { readonly selector?: { readonly matchLabels?: Readonly<Record<string, string>> } } }).spec
    ?.selector;
  const labels = Object.entries(selector?.matchLabels ?? {}).map(([key, value]) => `${key}=${value}`);
  if (labels.length === 0) return [];
  const query = new URLSearchParams({ labelSelector: labels.join(","), limit: String(MAX_PODS) });
  try {
    const list = await cluster.get(`/api/v1/namespaces/${encodeURIComponent(namespace)}/pods?${query}`);
    return (list as { readonly items?: readonly unknown[] } | null)?.items ?? [];
  } catch (error) {
    note(`its pods cannot be listed: ${error instanceof Error ? error.message : String(error)}`);
    return [];
  }
}

function printAll(found: readonly Printable[], output: ExplainFlags["output"], isList: boolean): string {
  if (output === "json") return `${JSON.stringify(isList ? found : found[0], null, 2)}\n`;
  const paint = createPaint(process.stdout, process.env);
  return found.map((one) => printExplanation(one, paint, Date.now())).join("\n\n");
}

function parseAddress(text: string): string {
  const port = Number(/^[^/]+:([0-9]{1,5})$/.exec(text)?.[1] ?? "0");
  if (port < 1 || port > 65535) throw new InvalidArgumentError("expected HOST:PORT.");
  return text;
}

function write(text: string): Promise<void> {
  return new Promise((resolve) => process.stdout.write(text, () => resolve()));
}
