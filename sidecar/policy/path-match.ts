// Does a request path begin with a rule's prefix, however the client spells it? `/%61pi/x`, `//api/x` and `/x/../api/x` all reach /api/ in most
// apps, so a prefix compared with the raw bytes would be a limit that callers opt out of. Only for policy: the path that is forwarded is not changed.
//
// HOT PATH: a plain path costs three native `includes` and one `startsWith`; only a path that is spelled oddly is rewritten.

/** True when the path, its query removed from normalisation, begins with the prefix it was made for. */
export type PathMatch = (path: string) => boolean;

/** Makes a match for `prefix`. A prefix `/api` also matches `/apix`; write `/api/` for the folder. */
export function createPathMatch(prefix: string): PathMatch {
  return (path) => path.startsWith(prefix) || (isOdd(path) && plainPath(path).startsWith(prefix));
}

/** True when the path may have a second spelling. Also asks for `\`, which some apps take for a slash. */
function isOdd(path: string): boolean {
  return path.includes("%") || path.includes("//") || path.includes("/.") || path.includes("\\");
}

/** Decodes percent escapes once, merges slashes and removes dot segments (RFC 3986 5.2.4); the query stays as it is. */
export function plainPath(path: string): string {
  const end = path.indexOf("?");
  const raw = end < 0 ? path : path.slice(0, end);
  const segments: string[] = [];
  const parts = decode(raw).replaceAll("\\", "/").split("/");
  for (const [index, segment] of parts.entries()) {
    const last = index === parts.length - 1;
    if (segment === "..") segments.pop();
    else if (segment !== "." && segment !== "") segments.push(segment);
    if (last && (segment === "" || segment === "." || segment === "..")) segments.push("");
  }
  return `/${segments.join("/")}${end < 0 ? "" : path.slice(end)}`;
}

/** Bytes, not characters: a broken UTF-8 sequence must not keep the rest from being decoded. */
function decode(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}
