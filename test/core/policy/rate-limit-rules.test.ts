import t from "tap";
import { ConfigError } from "../../../core/errors.ts";
import { formatRateLimits, parseRateLimits } from "../../../core/policy/rate-limit-rules.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

t.test("reads the rules of the design", async (t) => {
  const rules = parseRateLimits("100/s burst=200 per=identity path=/api/ method=POST; 20/m per=ip shadow");
  t.strictSame(rules, [
    { name: "rate-1", count: 100, unit: "s", unitMs: 1_000, burst: 200, per: "identity", path: "/api/", method: "POST", shadow: false },
    { name: "rate-2", count: 20, unit: "m", unitMs: 60_000, burst: 20, per: "ip", path: null, method: null, shadow: true },
  ]);
});

t.test("an empty text is no rule; the burst is the count unless told; all callers share unless told", async (t) => {
  t.strictSame(parseRateLimits("  "), []);
  t.match(parseRateLimits("5/h"), [{ burst: 5, per: "all", unitMs: 3_600_000 }]);
  t.match(parseRateLimits("1/d"), [{ unitMs: 86_400_000 }]);
});

t.test("a mistake names its column, the value and what is allowed", async (t) => {
  for (const [text, column, value, allowed] of [
    ["100", 1, "100", "100/s"],
    ["100/w", 1, "100/w", "s, m, h, d"],
    ["0/s", 1, "0/s", "from 1 to"],
    ["99999999999/s", 1, "99999999999/s", "from 1 to"],
    ["1.5/s", 1, "1.5/s", "COUNT/UNIT"],
    ["10/s burst=0", 6, "burst=0", "from 1 to"],
    ["10/s bursts=5", 6, "bursts=5", "burst=, per=, path=, method=, shadow"],
    ["10/s; 5/s per=user", 11, "per=user", "per=identity, per=ip, per=all"],
    ["10/s path=api", 6, "path=api", "begins with /"],
    ["10/s path=/a%2Fb", 6, "path=/a%2Fb", "one reading"],
    ["10/s path=/a%2", 6, "path=/a%2", "one reading"],
    ["10/s path=/a\\b", 6, "path=/a\\b", "one reading"],
    ["10/s path=/a#b", 6, "path=/a#b", "one reading"],
    ["10/s method=post", 6, "method=post", "upper case"],
    ["10/s shadow=yes", 6, "shadow=yes", "shadow"],
    ["10/s per=ip per=ip", 13, "per=ip", "once"],
    ["10/s;;5/s", 6, "nothing there", "a rate"],
    ["10/s;", 6, "nothing there", "a rate"],
  ] as const) {
    try {
      parseRateLimits(text);
      t.fail(`accepted: ${text}`);
    } catch (error) {
      t.ok(error instanceof ConfigError, text);
      const { message } = error as ConfigError;
      t.match(message, `column ${column}`, message);
      t.match(message, value);
      t.match(message, allowed);
    }
  }
});

t.test("a path prefix is taken in its canonical form, and may end within a segment", async (t) => {
  for (const [written, prefix] of [
    ["/%61pi/", "/api/"],
    ["//a//b", "/a/b"],
    ["/a/../b/", "/b/"],
    ["/a%c3%a9", "/a%C3%A9"],
    ["/.", "/."],
    ["/a/..", "/a/.."],
    ["/a?x=%2F/../", "/a?x=%2F/../"],
    ["/", "/"],
  ] as const) {
    t.equal(parseRateLimits(`1/s path=${written}`)[0]?.path, prefix, written);
  }
});

t.test("at most 32 rules", async (t) => {
  t.equal(parseRateLimits(Array(32).fill("1/s").join(";")).length, 32);
  t.throws(() => parseRateLimits(Array(33).fill("1/s").join(";")), { code: "invalid_value" });
});

t.test("what is printed reads back as the same rules", async (t) => {
  const random = createSeededRandom(7).next;
  const one = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)] as T;
  for (let round = 0; round < 500; round += 1) {
    const text = Array.from({ length: 1 + Math.floor(random() * 4) }, () =>
      [
        `${1 + Math.floor(random() * 1e6)}/${one(["s", "m", "h", "d"])}`,
        one(["", `burst=${1 + Math.floor(random() * 1e6)}`]),
        one(["", "per=ip", "per=identity", "per=all"]),
        one(["", "path=/", "path=/a/b?c=d", "path=/%20=x"]),
        one(["", "method=GET", "method=M-SEARCH"]),
        one(["", "shadow"]),
      ].join("  "),
    ).join(" ;");
    const rules = parseRateLimits(text);
    t.strictSame(parseRateLimits(formatRateLimits(rules)), rules, { diagnostic: false });
  }
});

t.test("no text makes it throw anything but its own error", async (t) => {
  const random = createSeededRandom(11).next;
  const alphabet = "0123456789/smhd;= \t\nburstpeahowié%:-";
  let refused = 0;
  for (let round = 0; round < 20_000; round += 1) {
    const text = Array.from({ length: Math.floor(random() * 24) }, () => alphabet[Math.floor(random() * alphabet.length)]).join("");
    try {
      parseRateLimits(text);
    } catch (error) {
      refused += 1;
      if (!(error instanceof ConfigError)) t.fail(`${JSON.stringify(text)}: ${error}`);
    }
  }
  t.ok(refused > 10_000);
});
