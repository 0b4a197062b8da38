// The smallest JSON Patch (RFC 6902) that we need: from a pod to the same pod with things added, replaced or taken out. Lists of named objects (containers,
// volumes, variables) are matched by name, so that putting one first is one operation and not a rewrite of all that follow.

/** One operation; `path` is a JSON pointer (RFC 6901). */
export type PatchOperation =
  | { readonly op: "add" | "replace"; readonly path: string; readonly value: unknown }
  | { readonly op: "remove"; readonly path: string };

/** Operations that turn `before` into `after` when applied in order. Empty exactly when they are equal. */
export function difference(before: unknown, after: unknown): readonly PatchOperation[] {
  const operations: PatchOperation[] = [];
  compare(before, after, "", operations);
  return operations;
}

/** A key as one step of a JSON pointer. */
export function escapePointer(key: string): string {
  return key.includes("~") || key.includes("/") ? key.replaceAll("~", "~0").replaceAll("/", "~1") : key;
}

function compare(before: unknown, after: unknown, path: string, operations: PatchOperation[]): void {
  if (before === after) return;
  if (isObject(before) && isObject(after)) compareObjects(before, after, path, operations);
  else if (Array.isArray(before) && Array.isArray(after)) compareLists(before, after, path, operations);
  else operations.push({ op: "replace", path, value: after });
}

function compareObjects(before: Fields, after: Fields, path: string, operations: PatchOperation[]): void {
  for (const key of Object.keys(before)) {
    if (after[key] !== before[key] && !hasValue(after, key)) operations.push({ op: "remove", path: `${path}/${escapePointer(key)}` });
  }
  for (const key of Object.keys(after)) {
    const value = after[key];
    if (value === undefined) continue;
    const isThere = hasValue(before, key);
    if (isThere && before[key] === value) continue; // nearly all of a pod: no path has to be made for it
    const place = `${path}/${escapePointer(key)}`;
    if (isThere) compare(before[key], value, place, operations);
    else operations.push({ op: "add", path: place, value });
  }
}

function compareLists(before: readonly unknown[], after: readonly unknown[], path: string, operations: PatchOperation[]): void {
  const places = match(before, after);
  if (places === null) {
    if (JSON.stringify(before) !== JSON.stringify(after)) operations.push({ op: "replace", path, value: after });
    return;
  }
  // From the end, so that a removal moves nothing that is still to be removed.
  for (let index = before.length - 1; index >= 0; index -= 1) {
    if (!places.includes(index)) operations.push({ op: "remove", path: `${path}/${index}` });
  }
  // In ascending order, each insertion leaves everything up to it in its final place.
  after.forEach((value, index) => {
    const place = places[index];
    if (place === undefined || place === null) operations.push({ op: "add", path: `${path}/${index}`, value });
    else compare(before[place], value, `${path}/${index}`, operations);
  });
}

/** For each item of `after` the place it had in `before`, or null when it is new. Null as a whole when items have no names or changed places. */
function match(before: readonly unknown[], after: readonly unknown[]): readonly (number | null)[] | null {
  const known = namesOf(before);
  const wanted = namesOf(after);
  if (known === null || wanted === null) return null;
  const places = wanted.map((name) => known.indexOf(name)).map((place) => (place === -1 ? null : place));
  const kept = places.filter((place) => place !== null);
  return kept.every((place, index) => index === 0 || place > (kept[index - 1] ?? -1)) ? places : null;
}

/** The names of the items, or null when one has none or two have the same. */
function namesOf(items: readonly unknown[]): readonly string[] | null {
  const names: string[] = [];
  for (const item of items) {
    if (!isObject(item) || typeof item["name"] !== "string") return null;
    names.push(item["name"]);
  }
  return new Set(names).size === names.length ? names : null;
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function hasValue(fields: Fields, key: string): boolean {
  return Object.hasOwn(fields, key) && fields[key] !== undefined;
}
