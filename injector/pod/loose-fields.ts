// Reading of fields whose shape nobody vouched for: what is not what it should be counts as not there. For the parts of a pod that `parsePod` leaves to
// the API server.

/** The fields of an object; none for anything else. */
export function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Readonly<Record<string, unknown>>) : {};
}

/** The entry `key` of an object as {@link textsOf} would have it; undefined where it has none. */
export function textOf(value: unknown, key: string): string | undefined {
  const fields = fieldsOf(value);
  const text = Object.hasOwn(fields, key) ? fields[key] : undefined;
  return typeof text === "string" ? text : typeof text === "number" ? String(text) : undefined;
}

/** The items of a list; none for anything else. */
export function itemsOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

/** The entries of an object that are texts, numbers written as such included, as YAML readers leave them. */
export function textsOf(value: unknown): Readonly<Record<string, string>> {
  const entries = Object.entries(fieldsOf(value)).filter(([, text]) => typeof text === "string" || typeof text === "number");
  return Object.fromEntries(entries.map(([key, text]) => [key, String(text)]));
}
