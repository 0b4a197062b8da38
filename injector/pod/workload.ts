// Where pods hide in Kubernetes objects: in a Pod itself, in the templates of the built-in workloads, and in Lists of them. Anything else, custom
// resources included, has no pod that we could know of.

/** A pod or pod template found in an object. */
export interface PodPlace {
  /** Keys from the object's root to the pod; empty for a Pod. List items are numbers. */
  readonly path: readonly (string | number)[];
  /** The pod as it stands there, unchecked. */
  readonly value: unknown;
  /** `kind/name` of the object that holds it, e.g. "deployment/web". */
  readonly owner: string;
  /** Namespace of the object, or null when it does not say. */
  readonly namespace: string | null;
  /** True when the holder carries the inject label, which means nothing there unless the holder is the pod. */
  readonly labelMisplaced: boolean;
}

/** An object without a pod. */
export interface OtherObject {
  readonly path: null;
  readonly owner: string;
  readonly namespace: string | null;
}

const TEMPLATE: readonly string[] = ["spec", "template"];
const TEMPLATE_PATHS: ReadonlyMap<string, readonly string[]> = new Map([
  ["Pod", []],
  ["PodTemplate", ["template"]],
  ["ReplicationController", TEMPLATE],
  ["Deployment", TEMPLATE],
  ["ReplicaSet", TEMPLATE],
  ["StatefulSet", TEMPLATE],
  ["DaemonSet", TEMPLATE],
  ["Job", TEMPLATE],
  ["CronJob", ["spec", "jobTemplate", "spec", "template"]],
]);
/** A kind of the same name in any other group is somebody else's. `extensions` is where Deployments came from. */
const GROUPS: ReadonlySet<string> = new Set(["", "apps", "batch", "extensions"]);
const MAX_NESTED_LISTS = 8;

/** Finds every pod in `object`, and names every object that has none, in the order in which they stand. */
export function findPods(object: unknown, injectLabel: string): readonly (PodPlace | OtherObject)[] {
  return find(object, [], injectLabel, 0);
}

function find(object: unknown, at: PodPlace["path"], injectLabel: string, depth: number): readonly (PodPlace | OtherObject)[] {
  if (!isObject(object)) return [];
  const kind = text(object["kind"]);
  const items = object["items"];
  if (kind.endsWith("List") && Array.isArray(items)) {
    if (depth === MAX_NESTED_LISTS) return [{ path: null, owner: ownerOf(object), namespace: null }];
    return items.flatMap((item, index) => find(withKindOfList(item, kind, object), [...at, "items", index], injectLabel, depth + 1));
  }
  const metadata = isObject(object["metadata"]) ? object["metadata"] : {};
  const found = { owner: ownerOf(object), namespace: typeof metadata["namespace"] === "string" ? metadata["namespace"] : null };
  const steps = GROUPS.has(groupOf(object)) ? TEMPLATE_PATHS.get(kind) : undefined;
  const value = steps === undefined ? undefined : follow(object, steps);
  if (steps === undefined || value === undefined || value === null) return [{ path: null, ...found }];
  const labelMisplaced = steps.length > 0 && isObject(metadata["labels"]) && Object.hasOwn(metadata["labels"], injectLabel);
  return [{ path: [...at, ...steps], value, ...found, labelMisplaced }];
}

/** The items of a `DeploymentList` as the API returns it do not repeat their kind. */
function withKindOfList(item: unknown, listKind: string, list: Fields): unknown {
  if (!isObject(item) || item["kind"] !== undefined || listKind === "List") return item;
  return { apiVersion: list["apiVersion"], kind: listKind.slice(0, -"List".length), ...item };
}

function follow(object: Fields, steps: readonly string[]): unknown {
  let value: unknown = object;
  for (const step of steps) value = isObject(value) && Object.hasOwn(value, step) ? value[step] : undefined;
  return value;
}

function groupOf(object: Fields): string {
  const [group = "", version] = text(object["apiVersion"]).split("/");
  return version === undefined ? "" : group;
}

function ownerOf(object: Fields): string {
  const metadata = isObject(object["metadata"]) ? object["metadata"] : {};
  const name = text(metadata["name"]) || (text(metadata["generateName"]) === "" ? "(unnamed)" : `${text(metadata["generateName"])}*`);
  return `${text(object["kind"]).toLowerCase() || "object"}/${name}`;
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}
