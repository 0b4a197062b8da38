import t from "tap";
import { canonicalPath } from "../../../core/policy/canonical-path.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

/** What came, and its one form. */
const CANONICAL: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  "what is canonical stays": [
    "/",
    "/api/orders",
    "/api/",
    "/grpc.health.v1.Health/Check",
    "/shop.Payments/Charge",
    "/.well-known/acme",
    "/a.b/..c/d../...",
    "/...",
    "/a;v=1/b;w",
    "/%20/%C3%A9/%F0%9F%98%80",
    "/%3F%23%3B%5B%40",
    "/100%25",
    "/100%25/41",
    "/%25z",
    "/a:b@c!$&'()*+,=~_-",
    '/"<>[]^`{|}',
  ].map((path) => [path, path] as const),
  "dot segments, RFC 3986 5.2.4": [
    ["/a/b/c/./../../g", "/a/g"],
    ["/a/.", "/a/"],
    ["/a/./", "/a/"],
    ["/a/..", "/"],
    ["/a/b/..", "/a/"],
    ["/a/b/../", "/a/"],
    ["/./a", "/a"],
    ["/.", "/"],
  ],
  "above the root is the root": [
    ["/..", "/"],
    ["/../", "/"],
    ["/../../../etc/passwd", "/etc/passwd"],
    ["/a/../../b", "/b"],
  ],
  "dots that are escaped": [
    ["/x/%2e%2e/api", "/api"],
    ["/x/%2E./api", "/api"],
    ["/x/.%2e/api", "/api"],
    ["/%2e/api", "/api"],
    ["/x/%2e%2e", "/"],
    ["/%2e%2e%2e", "/..."],
  ],
  "duplicate slashes": [
    ["//", "/"],
    ["//api", "/api"],
    ["/api//", "/api/"],
    ["/a///b////c", "/a/b/c"],
    ["/proxy/http://orders", "/proxy/http:/orders"],
  ],
  "dot segments before duplicate slashes": [
    ["/a//../b", "/a/b"],
    ["/a/..//b", "/b"],
    ["//..", "/"],
    ["/a/.//./b", "/a/b"],
    ["/..//../api", "/api"],
  ],
  "escapes of unreserved characters": [
    ["/%61%50%69/%30%39", "/aPi/09"],
    ["/%7Euser/%2D%5F%2e", "/~user/-_."],
    ["/%7euser", "/~user"],
  ],
  "digits of other escapes": [
    ["/%c3%a9", "/%C3%A9"],
    ["/%3f%2c", "/%3F%2C"],
    ["/%e2%82%ac%20", "/%E2%82%AC%20"],
  ],
  "the query is kept byte for byte": [
    ["/a?b=/../c//d", "/a?b=/../c//d"],
    ["//a?%zz%2f%00\\#", "/a?%zz%2f%00\\#"],
    ["/a/..?b", "/?b"],
    ["/a/.?", "/a/?"],
    ["/%61??", "/a??"],
    ["/?/../", "/?/../"],
  ],
  "the target of OPTIONS and of CONNECT": [
    ["*", "*"],
    ["", ""],
  ],
};

/** What has more than one reading, and a word of why. */
const AMBIGUOUS: readonly (readonly [string, RegExp])[] = [
  ["/a%2fb", /escaped slash/],
  ["/a%2Fb", /escaped slash/],
  ["/x/..%2fapi", /escaped slash/],
  ["/x/%2e%2e%2Fapi", /escaped slash/],
  ["/a%5cb", /escaped backslash/],
  ["/a%5Cb", /escaped backslash/],
  ["/a\\b", /a backslash/],
  ["/\\..\\api", /a backslash/],
  ["/a%00.png", /control/],
  ["/a%0d%0aHost:b", /control/],
  ["/%1f", /control/],
  ["/%7f", /control/],
  ["/%c0%af", /UTF-8/],
  ["/%c0%ae%c0%ae/api", /UTF-8/],
  ["/%e0%80%af", /UTF-8/],
  ["/%f0%80%80%af", /UTF-8/],
  ["/%c1%9c", /UTF-8/],
  ["/%ff", /UTF-8/],
  ["/%c3", /UTF-8/],
  ["/%c3/%a9", /UTF-8/],
  ["/%a9", /UTF-8/],
  ["/%ed%a0%80", /UTF-8/],
  ["/%f4%90%80%80", /UTF-8/],
  ["/%", /two hexadecimal digits/],
  ["/%2", /two hexadecimal digits/],
  ["/%zz", /two hexadecimal digits/],
  ["/%u002f", /two hexadecimal digits/],
  ["/100%/a", /two hexadecimal digits/],
  ["/%2?f", /two hexadecimal digits/],
  ["/%%34%31", /two hexadecimal digits/],
  ["/%252f", /once more/],
  ["/%252e%252e/api", /once more/],
  ["/%255c", /once more/],
  ["/%2500", /once more/],
  ["/%25252f", /once more/],
  ["/%2561pi", /once more/],
  ["/%25%32%66", /once more/],
  ["/%25%32f", /once more/],
  ["/x/..;/api", /dot segment/],
  ["/x/..;v=1/api", /dot segment/],
  ["/x/.;/api", /dot segment/],
  ["/x/%2e%2e;/api", /dot segment/],
  ["/x/..;", /dot segment/],
  ["/x/..%3b/api", /dot segment/],
  ["/x/%2e%3B", /dot segment/],
  ["/a#b", /fragment/],
  ["/a#?b", /fragment/],
  ["/a b", /no URI/],
  ["/a\tb", /no URI/],
  ["/a\u007f", /no URI/],
  ["/a\u0000", /no URI/],
  ["/é", /no URI/],
  ["/a\uff0fb", /no URI/],
  ["/\ud800", /no URI/],
  ["api", /no slash/],
  ["?a", /no slash/],
  ["http://orders/api", /no slash/],
  ["**", /no slash/],
  ["\\api", /no slash/],
];

for (const [what, rows] of Object.entries(CANONICAL)) {
  t.test(what, async (t) => {
    for (const [came, canonical] of rows) t.equal(canonicalPath(came), canonical, came);
  });
}

t.test("what has more than one reading has no canonical form, and it is said why", async (t) => {
  for (const [path, why] of AMBIGUOUS) {
    const reading = canonicalPath(path);
    if (typeof reading === "string") t.fail(`${JSON.stringify(path)} became ${reading}`);
    else t.match(reading.ambiguity, why, JSON.stringify(path));
  }
});

t.test("odd is only the path, never the query", async (t) => {
  for (const [path] of AMBIGUOUS) {
    const target = `/a?${path}`;
    t.equal(canonicalPath(target), target);
  }
});

t.test(
  "the WHATWG parser reads the same, but for what it leaves alone: escapes of unreserved characters, digits, duplicate slashes",
  async (t) => {
    const random = createSeededRandom(20260101);
    const parts = [
      "/",
      "/",
      "/",
      "a",
      "b",
      "api",
      ".",
      "..",
      "%2e",
      "%2E%2e",
      "%61",
      "%7e",
      "%c3%a9",
      "%20",
      ";",
      "%3b",
      "%25",
      "=",
      "~",
      "_",
    ];
    let changed = 0;
    for (let round = 0; round < 50_000; round += 1) {
      const path = `/${Array.from({ length: random.below(14) }, () => random.pick(parts)).join("")}`;
      const canonical = canonicalPath(path);
      if (typeof canonical !== "string") {
        // All that these parts can make ambiguous.
        if (!/(?:^|\/)(?:\.|%2e){1,2}(?:;|%3b)|%25(?:%61|[ab])(?:%61|[ab])/i.test(path)) t.fail(`${path} has ${canonical.ambiguity}`);
        continue;
      }
      const second = new URL(`http://h${path}`).pathname
        .replace(/%[0-9a-f]{2}/gi, (digits) => digits.toUpperCase())
        .replace(/%(?:2D|2E|5F|7E|3\d|4[1-9A-F]|5[0-9A]|6[1-9A-F]|7[0-9A])/g, decodeURIComponent)
        .replace(/\/{2,}/g, "/");
      if (canonical !== second) t.equal(canonical, second, path);
      if (canonical !== path) changed += 1;
    }
    t.ok(changed > 20_000, `${changed} of them were spelled oddly`);
  },
);

t.test(
  "whatever comes: a canonical form is its own canonical form, visible ASCII, without dot segments and duplicate slashes",
  async (t) => {
    const random = createSeededRandom(7);
    const parts = [
      ...[
        "/",
        "//",
        "/./",
        "/../",
        "/..",
        "/.",
        ".",
        "..",
        "..;",
        ";",
        "?",
        "#",
        "\\",
        "%",
        "%2",
        "%25",
        "%32",
        "%66",
        "%2f",
        "%5c",
        "%00",
      ],
      ...["%e9", "%c3%a9", "%C0%AF", "%61", "%4", "4", "1", "a", "F", " ", "é", "\uffff", "\0", "*", "x".repeat(600)],
    ];
    let canonicals = 0;
    for (let round = 0; round < 100_000; round += 1) {
      const lead = random.below(8) === 0 ? "" : "/";
      const path = lead + Array.from({ length: random.below(10) }, () => random.pick(parts)).join("");
      const canonical = canonicalPath(path);
      if (typeof canonical !== "string") continue;
      canonicals += 1;
      const [bare = "", query] = splitQuery(canonical);
      const isFixed = canonicalPath(canonical) === canonical;
      const isClean = bare === "*" || bare === "" || (/^\/[!-~]*$/.test(bare) && !UNCLEAN.test(bare));
      if (!isFixed || !isClean || query !== splitQuery(path)[1]) t.fail(`${JSON.stringify(path)} became ${JSON.stringify(canonical)}`);
    }
    t.ok(canonicals > 20_000, `${canonicals} of them have a canonical form`);
  },
);

/** What no canonical path has. */
const UNCLEAN =
  /\/\/|\/\.{1,2}(?:$|[/;]|%3B)|[\\#]|%(?![0-9A-F]{2})|%(?:2F|5C|[01][0-9A-F]|7F)|%25[0-9A-Fa-f]{2}|%(?:2D|2E|5F|7E|3[0-9]|[46][1-9A-F]|[57][0-9A])/;

function splitQuery(target: string): [string, string | null] {
  const at = target.indexOf("?");
  return at < 0 ? [target, null] : [target.slice(0, at), target.slice(at)];
}

t.test("paths as long as a head are read in linear time, and leave nothing behind for the next one", async (t) => {
  const unit = ["/", "/.", "/..", "/a", "/a/..", "%61", "%c3%a9", "%25", "/%2e%2e", "/a//", "."];
  for (const text of unit) {
    const path = `/${text.repeat(Math.floor(65_536 / text.length))}`;
    const before = process.threadCpuUsage();
    const canonical = canonicalPath(path);
    const { user, system } = process.threadCpuUsage(before);
    t.ok(user + system < 100_000, `${text}: ${user + system} µs`);
    t.equal(typeof canonical, "string", text);
    t.equal(canonicalPath("/x/..//%61"), "/a");
    t.equal(canonicalPath("/%25"), "/%25");
  }
});
