// Does a canonical path begin with a rule's prefix? Also when path parameters are taken out of it (`/api;v=1/orders`): servlet containers find the
// resource without them, some of them after decoding, so that a prefix compared with the bytes alone would be a limit that callers opt out of. The
// spellings of everything else are settled before, by `core/policy/canonical-path.ts`. Fit for rules that restrict: a path with two readings is in both prefixes.
//
// HOT PATH: one `startsWith`; a path outside of the prefix costs two native searches more.
import { canonicalPath } from "../../core/policy/canonical-path.ts";

/** True when a canonical path, its query included, begins with the prefix it was made for. */
export type PathMatch = (path: string) => boolean;

/** Makes a match for a prefix of `canonicalPrefix` (core/policy). `/api` also matches `/apix`; `/api/` is the folder. */
export function createPathMatch(prefix: string): PathMatch {
  return (path) => path.startsWith(prefix) || (hasSemicolon(path) && withoutParameters(path).startsWith(prefix));
}

function hasSemicolon(path: string): boolean {
  return path.includes(";") || path.includes("%3B");
}

/** The path as servlet containers look it up: each segment up to its first semicolon, then canonical again (`/;a/api/` is `/api/`). */
function withoutParameters(path: string): string {
  const queryAt = path.indexOf("?");
  const bare = (queryAt < 0 ? path : path.slice(0, queryAt)).replace(/(?:;|%3B)[^/]*/g, "");
  const canonical = canonicalPath(bare);
  const found = typeof canonical === "string" ? canonical : bare;
  return queryAt < 0 ? found : found + path.slice(queryAt);
}
