// Is a running pod's sidecar the one that a pod made now would get? What the API server filled in by itself is no difference; what we would write is
// compared, part by part, and said in words.
import { allContainers, type Container, type Pod } from "../../injector/pod/pod.ts";
import { INIT_CONTAINER, SIDECAR_CONTAINER } from "../../injector/pod/names.ts";
import { parseQuantity } from "../../injector/pod/quantity.ts";

const MAX_SHOWN_LENGTH = 80;
const MAX_DIFFERENCES = 50;

/** Sentences about what is not as `wanted` has it; empty when the sidecars are the same. */
export function differencesOf(running: Pod, wanted: Pod): readonly string[] {
  const found = [SIDECAR_CONTAINER, INIT_CONTAINER].flatMap((name) => {
    const [is, should] = [containerOf(running, name), containerOf(wanted, name)];
    if (should === null) return is === null ? [] : [`container ${name} would not be there`];
    if (is === null) return [`container ${name} is missing`];
    return compare(is, should, name);
  });
  return found.slice(0, MAX_DIFFERENCES);
}

function containerOf(pod: Pod, name: string): Container | null {
  return allContainers(pod).find((container) => container.name === name) ?? null;
}

/** Everything that `should` says has to be so in `is`. */
function compare(is: unknown, should: unknown, path: string): readonly string[] {
  if (Array.isArray(should)) return compareLists(Array.isArray(is) ? is : [], should, path);
  if (isObject(should)) {
    const fields = isObject(is) ? is : {};
    return Object.entries(should).flatMap(([key, value]) => (value === undefined ? [] : compare(fields[key], value, `${path} ${key}`)));
  }
  return is === should || isSameQuantity(is, should) ? [] : [`${path}: ${shown(is)}, would be ${shown(should)}`];
}

function compareLists(is: readonly unknown[], should: readonly unknown[], path: string): readonly string[] {
  if (!should.every(isNamed))
    return JSON.stringify(is) === JSON.stringify(should) ? [] : [`${path}: ${shown(is)}, would be ${shown(should)}`];
  const named = is.filter(isNamed);
  const wanted = new Set(should.map(({ name }) => name));
  const differing = should.flatMap((item) =>
    compareNamed(
      named.find(({ name }) => name === item.name),
      item,
      `${path} ${item.name}`,
    ),
  );
  // Of lists that others add to (volume mounts) only ours count; the environment is all ours.
  const more = path.endsWith(" env") ? named.filter(({ name }) => !wanted.has(name)) : [];
  return [...differing, ...more.map((item) => `${path} ${item.name}: ${shown(contentOf(item))}, would not be there`)];
}

function compareNamed(is: Named | undefined, should: Named, path: string): readonly string[] {
  const isVariable = typeof should["value"] === "string";
  if (is === undefined || isVariable) {
    return is?.["value"] === should["value"]
      ? []
      : [`${path}: ${shown(is === undefined ? undefined : contentOf(is))}, would be ${shown(contentOf(should))}`];
  }
  return compare(is, should, path);
}

/** What a named item says besides its name: the value of a variable, or all the rest. */
function contentOf({ name: _name, ...rest }: Named): unknown {
  return typeof rest["value"] === "string" ? rest["value"] : rest;
}

/** The API server writes quantities in its own way: 0.5 comes back as 500m. */
function isSameQuantity(is: unknown, should: unknown): boolean {
  if (typeof is !== "string" || typeof should !== "string") return false;
  const amount = parseQuantity(should, "milli");
  return amount !== null && amount === parseQuantity(is, "milli");
}

interface Named {
  readonly name: string;
  readonly [field: string]: unknown;
}

function isNamed(value: unknown): value is Named {
  return isObject(value) && typeof value["name"] === "string";
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : typeof value === "string" ? value : JSON.stringify(value);
  return text.length <= MAX_SHOWN_LENGTH ? text : `${text.slice(0, MAX_SHOWN_LENGTH)}…`;
}
