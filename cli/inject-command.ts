// `remora inject`: shows or makes what the webhook would make of a manifest, without a cluster. Manifests go to stdout, the report to stderr.
import { readFile } from "node:fs/promises";
import { type Command, InvalidArgumentError, Option } from "commander";
import { buildInfo } from "../core/build-info.ts";
import { ConfigError } from "../core/errors.ts";
import { INJECT_LABEL } from "../injector/annotations/annotations.ts";
import type { Asker } from "../injector/decide/decide.ts";
import { givenSurroundings } from "../injector/given-surroundings.ts";
import { injectPod } from "../injector/inject.ts";
import { readSwitch } from "../injector/decide/report.ts";
import { formatManifests, type ManifestDocument, parseManifests, patchDocument, printUnchanged } from "../injector/manifest.ts";
import { defaultInjectorSettings, type InjectorSettings } from "../injector/settings.ts";
import type { Surroundings } from "../injector/surroundings.ts";
import { unifiedDiff } from "../injector/unified-diff.ts";
import { findPods, type PodPlace } from "../injector/pod/workload.ts";

type Output = "yaml" | "patch" | "diff";

/** What `remora inject` and `remora uninject` share. */
export interface ManifestFlags {
  readonly filename: readonly string[];
  readonly output: Output;
}

interface InjectFlags extends ManifestFlags {
  readonly namespace: string;
  readonly image?: string;
  readonly controlAddress?: string;
  readonly controlNamespace?: string;
  readonly trustDomain?: string;
  readonly trustPin?: readonly string[];
  readonly mode?: "strict" | "permissive";
  readonly capture?: InjectorSettings["capture"];
  readonly channel?: string;
  readonly legacy?: boolean;
  readonly with?: readonly string[];
  readonly namespaceLabel?: Readonly<Record<string, string>>;
  readonly namespaceAnnotation?: Readonly<Record<string, string>>;
  readonly kubelet?: string;
}

/** Adds the command. */
export function register(program: Command): void {
  withManifestFlags(program.command("inject"))
    .summary("add the sidecar to the pods in a manifest")
    .description(
      "Prints a manifest with the sidecar added to every pod and workload in it, as the webhook would add it. Pods labelled disabled stay as they are.\n" +
        "What surrounds the pods (Namespace, LimitRange, ResourceQuota, Node, ConfigMap remora-platform) is taken from the same files, from those of --with, and from flags.",
    )
    .option("-n, --namespace <name>", "namespace of objects that name none", "default")
    .option("--image <image>", "the sidecar's image")
    .option("--control-address <host:port>", "the control plane's gRPC address", parseAddress)
    .option("--control-namespace <name>", "the control plane's namespace")
    .option("--trust-domain <name>", "the trust domain of identities")
    .option("--trust-pin <sha256:hex>", "pin of a root that a new sidecar trusts; may be repeated", collectPins)
    .addOption(new Option("--mode <mode>", "what happens to callers without mesh identity").choices(["strict", "permissive"]))
    .addOption(new Option("--capture <how>", "how traffic reaches the sidecar").choices(["transparent", "explicit", "auto"]))
    .option("--channel <name>", "the version track that the sidecar follows")
    .option("--legacy", "run the sidecar as a plain first container, for clusters without native sidecars")
    .option("--with <file...>", "manifests of what surrounds the pods, which are not printed")
    .option("--namespace-label <key=value>", "label of the pods' namespaces; may be repeated", collectText)
    .option("--namespace-annotation <key=value>", "annotation of the pods' namespaces; may be repeated", collectText)
    .option("--kubelet <version>", "the oldest kubelet that the pods may run on, such as v1.31.2", parseKubelet)
    .action(async (flags: InjectFlags) => {
      const documents = await readManifests(flags.filename);
      const surroundings = surroundingsFrom([...documents, ...(await readManifests(flags.with ?? []))], flags);
      process.exitCode = await printOutcome(documents, flags, (place) =>
        injectPlace(place, surroundings, flags.namespace, settingsFrom(flags)),
      );
    });
}

/** One pod's outcome: a line for the report, and operations when something changes. A failure stops the output. */
export interface PlaceOutcome {
  readonly line: string;
  readonly warnings: readonly string[];
  readonly operations: Parameters<typeof patchDocument>[1][number]["operations"];
  readonly failed: boolean;
}

/** The flags of every command that reads manifests and prints them changed. */
export function withManifestFlags(command: Command): Command {
  return command
    .requiredOption("-f, --filename <file...>", "manifest to read, - for standard input")
    .addOption(new Option("-o, --output <form>", "what to print").choices(["yaml", "patch", "diff"]).default("yaml"));
}

/** Reads and parses every file, in order. */
export async function readManifests(names: readonly string[]): Promise<readonly ManifestDocument[]> {
  const parsed: ManifestDocument[] = [];
  for (const name of names) parsed.push(...parseManifests(await readText(name), name === "-" ? "standard input" : name));
  return parsed;
}

/** Handles every pod, prints the result to stdout and the report to stderr, and returns the exit code. */
export async function printOutcome(
  documents: readonly ManifestDocument[],
  flags: Pick<ManifestFlags, "output">,
  handle: (place: PodPlace) => PlaceOutcome,
): Promise<number> {
  const changes = new Map<ManifestDocument, string>();
  const printed: string[] = [];
  let failed = false;
  for (const document of documents) {
    const patches: { path: PodPlace["path"]; operations: PlaceOutcome["operations"] }[] = [];
    for (const place of findPods(document.value, INJECT_LABEL)) {
      if (place.path === null) {
        report(place.owner, place.namespace, "left as it is: no pod in it");
        continue;
      }
      const outcome = handle(place);
      report(place.owner, place.namespace, outcome.line);
      for (const warning of outcome.warnings) process.stderr.write(`  warning: ${warning}\n`);
      failed ||= outcome.failed;
      if (outcome.operations.length === 0) continue;
      patches.push({ path: place.path, operations: outcome.operations });
      if (flags.output === "patch")
        printed.push(`${JSON.stringify({ target: place.owner, path: place.path, patch: outcome.operations })}\n`);
    }
    if (patches.length === 0) continue;
    const text = patchDocument(document, patches);
    changes.set(document, text);
    if (flags.output === "diff") printed.push(unifiedDiff(printUnchanged(document), text, titleOf(document)));
  }
  // Half a result would be applied by the next command of a pipe.
  if (failed) return 1;
  await writeOut(flags.output === "yaml" ? formatManifests(documents, changes) : printed.join(""));
  return 0;
}

function injectPlace(
  place: PodPlace,
  surroundingsOf: (namespaceName: string) => Surroundings,
  fallbackNamespace: string,
  settings: InjectorSettings,
): PlaceOutcome {
  const surroundings = surroundingsOf(place.namespace ?? fallbackNamespace);
  const { decision, patch, warnings } = injectPod(place.value, surroundings, askerFor(place, surroundings), settings);
  const misplaced = place.labelMisplaced
    ? [`the label ${INJECT_LABEL} has no effect on ${place.owner}; it belongs on the pod template`]
    : [];
  const verb = { inject: "injected", skip: "left as it is", refuse: "refused" }[decision.action];
  const detail = decision.action === "inject" ? decision.reason : `${decision.reason}: ${decision.message}`;
  return { line: `${verb} (${detail})`, warnings: [...warnings, ...misplaced], operations: patch, failed: decision.action === "refuse" };
}

/** Who runs the command asks for sidecars, but not against what a Namespace of the manifest says of itself. */
function askerFor({ owner, path }: PodPlace, { namespace }: Surroundings): Asker {
  const label = readSwitch(namespace.labels[INJECT_LABEL]);
  const [kind = "", ...name] = owner.split("/");
  const known = path.length === 0 ? {} : { owner: { namespace: namespace.name, kind, name: name.join("/") } };
  return label === "disabled" || label === "unknown" ? { kind: "namespace", label, ...known } : { kind: "command", ...known };
}

/** Flags beat what the manifests say, because they are closer to who runs the command. */
function surroundingsFrom(documents: readonly ManifestDocument[], flags: InjectFlags): (namespaceName: string) => Surroundings {
  const given = givenSurroundings(
    documents.map(({ value }) => value),
    flags.namespace,
  );
  return (namespaceName) => {
    const found = given(namespaceName);
    const { labels, annotations } = found.namespace;
    return {
      ...found,
      namespace: {
        name: namespaceName,
        labels: { ...labels, ...flags.namespaceLabel },
        annotations: { ...annotations, ...flags.namespaceAnnotation },
      },
      oldestKubelet: flags.kubelet ?? found.oldestKubelet,
    };
  };
}

function settingsFrom(flags: InjectFlags): InjectorSettings {
  const defaults = defaultInjectorSettings(buildInfo().version);
  const controlNamespace = flags.controlNamespace ?? defaults.controlNamespace;
  return {
    ...defaults,
    image: flags.image ?? defaults.image,
    controlNamespace,
    controlAddress: flags.controlAddress ?? `remora-control.${controlNamespace}.svc:15010`,
    trustDomain: flags.trustDomain ?? defaults.trustDomain,
    trustPins: flags.trustPin ?? defaults.trustPins,
    mode: flags.mode ?? defaults.mode,
    capture: flags.capture ?? defaults.capture,
    nativeSidecar: flags.legacy !== true,
    channel: flags.channel ?? defaults.channel,
  };
}

function report(owner: string, namespace: string | null, line: string): void {
  process.stderr.write(`${owner}${namespace === null ? "" : ` in ${namespace}`}: ${line}\n`);
}

function titleOf(document: ManifestDocument): string {
  return findPods(document.value, INJECT_LABEL)
    .map(({ owner }) => owner)
    .join(", ");
}

async function readText(name: string): Promise<string> {
  if (name === "-") return readStandardInput();
  try {
    return await readFile(name, "utf8");
  } catch (cause) {
    throw new ConfigError("invalid_value", `cannot read ${name}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
}

async function readStandardInput(): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of process.stdin as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function writeOut(text: string): Promise<void> {
  return new Promise((resolve) => process.stdout.write(text, () => resolve()));
}

function parseAddress(text: string): string {
  const port = Number(/:([0-9]{1,5})$/.exec(text)?.[1] ?? "0");
  if (port < 1 || port > 65535) throw new InvalidArgumentError("expected HOST:PORT.");
  return text;
}

function collectText(text: string, before: Readonly<Record<string, string>> | undefined): Readonly<Record<string, string>> {
  const at = text.indexOf("=");
  if (at < 1) throw new InvalidArgumentError("expected KEY=VALUE.");
  return { ...before, [text.slice(0, at)]: text.slice(at + 1) };
}

function parseKubelet(text: string): string {
  if (!/^v?[0-9]+\.[0-9]+/.test(text)) throw new InvalidArgumentError("expected a version such as v1.31.2.");
  return text;
}

function collectPins(text: string, before: readonly string[] | undefined): readonly string[] {
  if (!/^sha256:[0-9a-f]{64}$/.test(text)) throw new InvalidArgumentError("expected sha256: and 64 hexadecimal digits in lower case.");
  return [...(before ?? []), text];
}
