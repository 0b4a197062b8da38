// Reading of plain JSON whose shape nobody has promised: objects of an API server that may be older, newer or edited by hand.

/** An object of the API. */
export type ApiObject = Readonly<Record<string, unknown>>;

/** The value at a path; undefined where anything on the way is missing. */
export function at(value: unknown, ...path: readonly string[]): unknown {
  let found = value;
  for (const key of path) {
    if (typeof found !== "object" || found === null || !Object.hasOwn(found, key)) return undefined;
    found = (found as ApiObject)[key];
  }
  return found;
}

/** A text at a path; empty where there is none. */
export function textAt(value: unknown, ...path: readonly string[]): string {
  const found = at(value, ...path);
  return typeof found === "string" ? found : "";
}

/** A number at a path; 0 where there is none. */
export function numberAt(value: unknown, ...path: readonly string[]): number {
  const found = at(value, ...path);
  return typeof found === "number" ? found : 0;
}

/** A list of objects at a path; empty where there is none. */
export function listAt(value: unknown, ...path: readonly string[]): readonly ApiObject[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found.filter((item): item is ApiObject => typeof item === "object" && item !== null) : [];
}

/** Texts in a list at a path. */
export function textsAt(value: unknown, ...path: readonly string[]): readonly string[] {
  const found = at(value, ...path);
  return Array.isArray(found) ? found.filter((item) => typeof item === "string") : [];
}

/** `metadata.name`. */
export function nameOf(object: unknown): string {
  return textAt(object, "metadata", "name");
}

/** `metadata.namespace`. */
export function namespaceOf(object: unknown): string {
  return textAt(object, "metadata", "namespace");
}

/** "namespace/name". */
export function longNameOf(object: unknown): string {
  return `${namespaceOf(object)}/${nameOf(object)}`;
}

/** "a, b, c and 4 more". */
export function some(names: readonly string[], most = 3): string {
  return names.length <= most ? names.join(", ") : `${names.slice(0, most).join(", ")} and ${names.length - most} more`;
}
