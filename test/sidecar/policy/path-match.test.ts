import t from "tap";
import { canonicalPath } from "../../../core/policy/canonical-path.ts";
import { canonicalPrefix } from "../../../core/policy/canonical-prefix.ts";
import { createPathMatch } from "../../../sidecar/policy/path-match.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

t.test("a prefix is compared with the bytes, and with the path as servlet containers look it up", async (t) => {
  const matches = createPathMatch("/api/");
  for (const path of [
    "/api/",
    "/api/a",
    "/api/?b",
    "/api;v=1/a",
    "/api;/;/a",
    "/;/api/",
    "/;v=1/;w/api/a?b",
    "/api%3Bv/a",
    "/x/..%3B/api/",
  ])
    t.equal(matches(path), true, path);
  for (const path of ["/", "/api", "/apix/", "/API/", "/api;x", "/b/api/", "/a?/api/", "/a?;/api/", "*", ""]) {
    t.equal(matches(path), false, path);
  }
  const folderOrFile = createPathMatch("/api");
  for (const path of ["/api", "/apix", "/api?b", "/;/api"]) t.equal(folderOrFile(path), true, path);
  t.equal(createPathMatch("/api?b=1")("/api;v=1?b=1"), true, "the query is compared as it is");
});

t.test("a prefix of a rule becomes the one that canonical paths have", async (t) => {
  for (const [written, prefix] of [
    ["/%61pi/", "/api/"],
    ["/x/..//api", "/api"],
    ["/a/..", "/a/.."],
    ["/a/../", "/"],
    ["/a%2fb", null],
    ["/a%", null],
    ["/a/..;/b", null],
    ["/a#", null],
  ] as const) {
    t.equal(canonicalPrefix(written), prefix, written);
  }
});

/** How apps of different makes find the resource of a path that they are sent. */
const APPS: Readonly<Record<string, (path: string) => string>> = {
  "as it is": (path) => path,
  "RFC 3986 (WHATWG URL)": (path) => decoded(new URL(`http://h${path}`).pathname),
  "file systems and nginx: decode, then normalise": (path) => normalised(decoded(path)),
  "normalise, then decode": (path) => decoded(normalised(path)),
  "decode twice": (path) => normalised(decoded(decoded(path))),
  "Windows: backslashes are slashes": (path) => normalised(decoded(path).replaceAll("\\", "/")),
  "servlets: parameters off, decode, normalise": (path) => normalised(decoded(path.replace(/;[^/]*/g, ""))),
  "servlets, decoding first": (path) => normalised(decoded(path).replace(/;[^/]*/g, "")),
  "C strings": (path) => normalised(decoded(path).split("\0", 1)[0] as string),
};

/** Bytes, leniently, overlong forms of ASCII included. */
function decoded(path: string): string {
  return path
    .replace(/%c0%([89ab][0-9a-f])/gi, (_, low: string) => String.fromCharCode(Number.parseInt(low, 16) & 0x3f))
    .replace(/%([0-9a-f]{2})/gi, (_, octet: string) => String.fromCharCode(Number.parseInt(octet, 16)));
}

function normalised(path: string): string {
  const segments: string[] = [];
  const parts = path.split("/");
  for (const [index, part] of parts.entries()) {
    if (part === "..") segments.pop();
    else if (part !== "" && part !== ".") segments.push(part);
    if (index === parts.length - 1 && (part === "" || part === "." || part === "..")) segments.push("");
  }
  return `/${segments.join("/")}`;
}

t.test("no spelling leads an app to /api/ that the rule for /api/ does not see", async (t) => {
  const random = createSeededRandom(31);
  const matches = createPathMatch("/api/");
  const parts = [
    ...[
      "/",
      "/",
      "//",
      "/./",
      "/../",
      "/x/../",
      "/..;/",
      "/.;v/",
      ";",
      ";v=1",
      "\\",
      "..\\",
      "%2f",
      "%5c",
      "%252f",
      "%00",
      "%c0%af",
      "%c0%ae",
    ],
    ...[
      "api",
      "api",
      "ap",
      "i",
      "%61pi",
      "a%70i",
      "%2561pi",
      "%25%36%31pi",
      "ap%69",
      "%2e%2e/",
      "%2e/",
      "/%2e%2e;/",
      "%3b",
      "/..%3b/",
      "x",
      "%",
    ],
  ];
  const reached = new Map<string, number>();
  let dodged = 0;
  for (let round = 0; round < 200_000; round += 1) {
    const path = `/${Array.from({ length: 1 + random.below(6) }, () => random.pick(parts)).join("")}`;
    const canonical = canonicalPath(path);
    if (typeof canonical !== "string") continue; // refused where there is such a rule
    for (const [app, lookUp] of Object.entries(APPS)) {
      if (!lookUp(canonical).startsWith("/api/")) continue;
      reached.set(app, (reached.get(app) ?? 0) + 1);
      if (matches(canonical)) continue;
      dodged += 1;
      if (dodged < 10) t.fail(`${path}, forwarded as ${canonical}, is /api/ for ${app}`);
    }
  }
  t.equal(dodged, 0);
  for (const app of Object.keys(APPS)) t.ok((reached.get(app) ?? 0) > 1_000, `${app}: ${reached.get(app)} ways`);
});
