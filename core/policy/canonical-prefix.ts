// The prefix of a rule in the form in which requests' paths are compared with it.
import { canonicalPath } from "./canonical-path.ts";

/** What stands for the rest of a path behind a prefix: a prefix may end within a segment. */
const REST = "x";

/** The prefix that canonical paths begin with where others begin with `prefix`; null when no canonical path can begin with it. `prefix` begins with `/`. */
export function canonicalPrefix(prefix: string): string | null {
  const canonical = canonicalPath(prefix + REST);
  return typeof canonical === "string" ? canonical.slice(0, -REST.length) : null;
}
