// The objects of an installation: manifests/base as it stands, with a few values changed on request. The files are the one source; kubectl reads
// them too (`kubectl apply -k`), and a test holds both to the same result.
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { Document, parse, parseAllDocuments } from "yaml";
import { ConfigError } from "../core/errors.ts";
import { nearestName } from "../core/nearest.ts";
import { type AnnotationType, choice, cpu, flag, image, integer, label, memory } from "./annotations/annotation-types.ts";

const CONTROL_NAMESPACE = "remora-system";
const MAX_REPLICAS = 100;

/** A Kubernetes object as plain data. */
export type KubernetesObject = Readonly<Record<string, unknown>>;

/** One value that can be changed. */
interface Choice {
  readonly type: AnnotationType<unknown>;
  readonly doc: string;
  apply(objects: readonly KubernetesObject[], text: string): readonly KubernetesObject[];
}

const TRUST_DOMAIN: AnnotationType<string> = {
  kind: "name",
  allowed: "a DNS name in lower case",
  parse: (text) => (/^[a-z0-9]([a-z0-9.-]{0,253}[a-z0-9])?$/.test(text) ? text : null),
};

/** The keys of `remora install --set KEY=VALUE`. */
const CHOICES: ReadonlyMap<string, Choice> = new Map([
  ["image", { type: image, doc: "image of the control plane and of new sidecars", apply: setImage }],
  ["namespace", { type: label, doc: "namespace of the control plane", apply: setNamespace }],
  ["trust-domain", { type: TRUST_DOMAIN, doc: "trust domain of identities", apply: inEvery("REMORA_TRUST_DOMAIN") }],
  ["injector-replicas", { type: integer(1, MAX_REPLICAS), doc: "replicas of the injector", apply: setInjectorReplicas }],
  ["mode", { type: choice(["strict", "permissive"]), doc: "mode of workloads that name none", apply: inInjector("REMORA_SIDECAR_MODE") }],
  [
    "capture",
    {
      type: choice(["transparent", "explicit", "auto"]),
      doc: "capture of workloads that name none",
      apply: inInjector("REMORA_SIDECAR_CAPTURE"),
    },
  ],
  ["native-sidecar", { type: flag, doc: "whether sidecars are restarting init containers", apply: inInjector("REMORA_SIDECAR_NATIVE") }],
  ["sidecar-cpu-request", { type: cpu, doc: "CPU reserved for a sidecar", apply: inInjector("REMORA_SIDECAR_CPU_REQUEST") }],
  ["sidecar-memory-limit", { type: memory, doc: "the most memory of a sidecar", apply: inInjector("REMORA_SIDECAR_MEMORY_LIMIT") }],
  [
    "log-level",
    { type: choice(["debug", "info", "warn", "error"]), doc: "log level of the control plane", apply: inEvery("REMORA_LOG_LEVEL") },
  ],
]);

/** Reads the objects of the kustomization in `folder`, in order. Only plain `resources` are understood, which is all that the base uses. */
export async function readInstallation(folder: string): Promise<readonly KubernetesObject[]> {
  const kustomization = parse(await readFile(join(folder, "kustomization.yaml"), "utf8")) as { readonly resources: readonly string[] };
  const objects: KubernetesObject[] = [];
  for (const resource of kustomization.resources) {
    for (const document of parseAllDocuments(await readFile(join(folder, resource), "utf8"), { version: "1.1" })) {
      const object = document.toJS() as KubernetesObject | null;
      if (object !== null) objects.push(object);
    }
  }
  return objects;
}

/** Applies `KEY=VALUE` texts in order. Throws `ConfigError("invalid_value")` listing everything that is wrong. */
export function changeInstallation(objects: readonly KubernetesObject[], changes: readonly string[]): readonly KubernetesObject[] {
  const mistakes: string[] = [];
  let changed = objects;
  for (const change of changes) {
    const equals = change.indexOf("=");
    const key = equals < 0 ? change : change.slice(0, equals);
    const text = equals < 0 ? "" : change.slice(equals + 1);
    const known = CHOICES.get(key);
    if (known === undefined) mistakes.push(describeUnknown(key));
    else if (known.type.parse(text) === null)
      mistakes.push(`${key}: ${JSON.stringify(text.slice(0, 100))} is not allowed; allowed: ${known.type.allowed}`);
    else changed = known.apply(changed, text);
  }
  if (mistakes.length > 0) throw new ConfigError("invalid_value", mistakes.join("\n"));
  return changed;
}

/** Prints objects as one YAML stream, quoted so that kubectl reads what we mean. */
export function formatInstallation(objects: readonly KubernetesObject[]): string {
  return objects.map((object) => new Document(object, { version: "1.1" }).toString({ lineWidth: 0, indentSeq: false })).join("---\n");
}

/** The keys with what they set, for help. */
export function describeChoices(): string {
  const width = Math.max(...[...CHOICES.keys()].map((key) => key.length));
  return [...CHOICES].map(([key, { doc, type }]) => `  ${key.padEnd(width)}  ${doc} (${type.allowed})`).join("\n");
}

function describeUnknown(key: string): string {
  const nearest = nearestName(key.slice(0, 100), [...CHOICES.keys()]);
  return `${JSON.stringify(key.slice(0, 100))} is unknown${nearest === null ? "" : `; did you mean ${nearest}?`}`;
}

function setImage(objects: readonly KubernetesObject[], text: string): readonly KubernetesObject[] {
  const withImages = objects.map((object) => mapContainers(object, (container) => ({ ...container, image: text })));
  return inInjector("REMORA_SIDECAR_IMAGE")(withImages, text);
}

/** The name stands only where the namespace is meant, so a replacement of the whole word is exact. */
function setNamespace(objects: readonly KubernetesObject[], text: string): readonly KubernetesObject[] {
  return objects.map((object) => mapTexts(object, (value) => (value === CONTROL_NAMESPACE ? text : value)) as KubernetesObject);
}

function setInjectorReplicas(objects: readonly KubernetesObject[], text: string): readonly KubernetesObject[] {
  return objects.map((object) =>
    isDeployment(object, "remora-injector") ? { ...object, spec: { ...(object["spec"] as object), replicas: Number(text) } } : object,
  );
}

function inEvery(variable: string): Choice["apply"] {
  return (objects, text) => objects.map((object) => mapContainers(object, (container) => withVariable(container, variable, text)));
}

function inInjector(variable: string): Choice["apply"] {
  return (objects, text) =>
    objects.map((object) =>
      isDeployment(object, "remora-injector") ? mapContainers(object, (container) => withVariable(container, variable, text)) : object,
    );
}

interface ContainerFields {
  readonly env?: readonly { readonly name: string }[];
  readonly [field: string]: unknown;
}

function withVariable(container: ContainerFields, name: string, value: string): ContainerFields {
  const variables = container.env ?? [];
  const known = variables.some((variable) => variable.name === name);
  const env = known ? variables.map((variable) => (variable.name === name ? { name, value } : variable)) : [...variables, { name, value }];
  return { ...container, env };
}

/** Changes the containers of a Deployment; other objects have none. */
function mapContainers(object: KubernetesObject, change: (container: ContainerFields) => ContainerFields): KubernetesObject {
  if (object["kind"] !== "Deployment") return object;
  const spec = object["spec"] as { readonly template: { readonly spec: { readonly containers: readonly ContainerFields[] } } }; // our own file
  const { template } = spec;
  const containers = template.spec.containers.map(change);
  return { ...object, spec: { ...spec, template: { ...template, spec: { ...template.spec, containers } } } };
}

function isDeployment(object: KubernetesObject, name: string): boolean {
  return object["kind"] === "Deployment" && (object["metadata"] as { readonly name?: unknown }).name === name;
}

function mapTexts(value: unknown, change: (text: string) => string): unknown {
  if (typeof value === "string") return change(value);
  if (Array.isArray(value)) return value.map((item) => mapTexts(item, change));
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, mapTexts(item, change)]));
}
