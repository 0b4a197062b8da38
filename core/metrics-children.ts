// The label sets of one metric. Each is resolved to an object once, which the path then uses; how many there can be is bounded, because label
// values may come from outside.

/** Label values by label name. */
export type Labels = Readonly<Record<string, string | number>>;

/** Most label sets of one metric. Above it, new sets are counted together under {@link OVERFLOW_LABEL}. */
export const MAX_CHILDREN = 2000;

/** Every label value of what came after {@link MAX_CHILDREN} label sets. */
export const OVERFLOW_LABEL = "other";

/** The children of one metric by label set, at most {@link MAX_CHILDREN} and one for the rest. */
export interface Children<Child> {
  child(labels: Labels): Child;
  remove(labels: Labels): void;
  all(): Iterable<Child>;
}

/** Keeps the children of metric `name`; a label that was not declared, or is missing, raises `TypeError`. */
export function createChildren<Child>(
  name: string,
  labelNames: readonly string[],
  make: (labels: Record<string, string | number>) => Child,
): Children<Child> {
  const children = new Map<string, Child>();

  function keyOf(labels: Labels): string {
    let key = "";
    for (const label of labelNames) {
      const value = labels[label];
      if (value === undefined) throw new TypeError(`${name} needs the label ${label}`);
      key += `${value}\u{0}`;
    }
    if (Object.keys(labels).length !== labelNames.length) throw new TypeError(`${name} has only the labels ${labelNames.join(", ")}`);
    return key;
  }

  function child(labels: Labels): Child {
    const key = keyOf(labels);
    const known = children.get(key);
    if (known !== undefined) return known;
    const others = Object.fromEntries(labelNames.map((label) => [label, OVERFLOW_LABEL]));
    if (children.size >= MAX_CHILDREN && key !== keyOf(others)) return child(others);
    const made = make({ ...labels });
    children.set(key, made);
    return made;
  }

  return { child, remove: (labels) => void children.delete(keyOf(labels)), all: () => children.values() };
}
