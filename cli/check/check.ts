// What a check is: a declared row that says what should hold, and a function that looks. A check has one of three ends, and the third is no
// success: that it could not be made.
import type { Cluster } from "./cluster.ts";

/** Headings of the output, in order. */
export const CATEGORIES = [
  "Kubernetes",
  "Before installation",
  "Control plane",
  "Webhook",
  "Certificates",
  "Rights",
  "Workloads",
  "Registry",
] as const;
/** One of {@link CATEGORIES}. */
export type Category = (typeof CATEGORIES)[number];

/** What a look brought. */
export type Finding =
  /** `note` is said beside it, e.g. how many days are left. */
  | { readonly result: "ok"; readonly note: string }
  /** `fix` is a command where one does, else what to do. */
  | { readonly result: "failed"; readonly why: string; readonly fix: string }
  | { readonly result: "unknown"; readonly why: string };

/** One check. */
export interface Check {
  /** Stable: `-o json` and scripts know it by this. */
  readonly id: string;
  readonly category: Category;
  /** What holds when it is well. */
  readonly title: string;
  /** An `error` makes the command fail. */
  readonly severity: "error" | "warning";
  /** Before Remora is installed (`--pre`), after, or both. */
  readonly when: "before" | "after" | "both";
  /** Why it matters. */
  readonly doc: string;
  /** Checks that have to hold for this one to mean anything. */
  readonly needs?: readonly string[];
  look(cluster: Cluster): Promise<Finding>;
}

/** It holds. */
export function ok(note = ""): Finding {
  return { result: "ok", note };
}

/** It does not hold. */
export function failed(why: string, fix: string): Finding {
  return { result: "failed", why, fix };
}

/** It could not be looked at. */
export function unknown(why: string): Finding {
  return { result: "unknown", why };
}
