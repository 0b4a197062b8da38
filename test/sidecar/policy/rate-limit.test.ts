import t from "tap";
import { canonicalPath } from "../../../core/policy/canonical-path.ts";
import { createRateLimiter, parseRateLimits, type RateLimitRequest } from "../../../sidecar/policy/rate-limit.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const REQUEST: RateLimitRequest = { identity: "spiffe://cluster.local/ns/a/sa/b", ip: "10.0.0.1", path: "/api/x", method: "GET" };

function limiterOf(text: string, maxKeys?: number) {
  const clock = createFakeClock();
  const limiter = createRateLimiter({ rules: parseRateLimits(text), clock, ...(maxKeys === undefined ? {} : { maxKeys }) });
  /** How many of `times` requests pass. */
  const passes = (times: number, change: Partial<RateLimitRequest> = {}): number => {
    let passed = 0;
    for (let index = 0; index < times; index += 1) if (limiter.check({ ...REQUEST, ...change }).allowed) passed += 1;
    return passed;
  };
  return { clock, limiter, passes };
}

function canonical(path: string): string {
  const form = canonicalPath(path);
  if (typeof form !== "string") throw new Error(`${path} has ${form.ambiguity}`);
  return form;
}

t.test("a burst passes at once, then the rate", async (t) => {
  const { clock, passes } = limiterOf("100/s burst=200");
  t.equal(passes(500), 200);
  clock.advance(1_000);
  t.equal(passes(500), 100);
  clock.advance(10);
  t.equal(passes(5), 1);
  clock.advance(100_000);
  t.equal(passes(500), 200, "idle time fills up to the burst and no further");
});

t.test("rounding does not eat the last request of a burst", async (t) => {
  for (const text of ["3/s", "7/s", "1/s", "300/m", "999/d burst=1"]) {
    const { passes } = limiterOf(text);
    t.equal(passes(1_000), parseRateLimits(text)[0]?.burst, text);
  }
});

t.test("refused requests do not count", async (t) => {
  const { clock, passes } = limiterOf("10/s burst=1");
  t.equal(passes(1_000), 1);
  clock.advance(100);
  t.equal(passes(1), 1);
});

t.test("a refusal says when to come back, in whole seconds rounded up", async (t) => {
  const { limiter, passes, clock } = limiterOf("2/m burst=1");
  passes(1);
  clock.advance(500);
  const answer = limiter.check(REQUEST);
  t.equal(answer.allowed, false);
  t.equal(answer.refusedBy?.name, "rate-1");
  t.equal(Math.round(answer.retryAfterMs), 29_500);
  t.strictSame(answer.headers, { "retry-after": "30", "ratelimit-policy": '"rate-1";q=2;w=60', ratelimit: '"rate-1";r=0;t=30' });
  clock.advance(answer.retryAfterMs);
  t.ok(limiter.check(REQUEST).allowed, "and it is true");
  t.strictSame(limiter.check({ ...REQUEST }).allowed, false);
});

t.test("retry-after is never 0", async (t) => {
  const { limiter, passes } = limiterOf("1000/s burst=1");
  passes(1);
  t.equal(limiter.check(REQUEST).headers["retry-after"], "1");
});

t.test("each identity and each address has its own bucket", async (t) => {
  const byIdentity = limiterOf("5/m per=identity");
  t.equal(byIdentity.passes(9), 5);
  t.equal(byIdentity.passes(9, { identity: "spiffe://cluster.local/ns/a/sa/c" }), 5);
  t.equal(byIdentity.passes(9, { identity: "" }), 5, "callers without identity share one");
  const byIp = limiterOf("5/m per=ip");
  t.equal(byIp.passes(9), 5);
  t.equal(byIp.passes(9, { ip: "::ffff:10.0.0.1" }), 0, "a v4-mapped address is the IPv4 one");
  t.equal(byIp.passes(9, { ip: "fd00::1" }), 5);
  const shared = limiterOf("5/m");
  t.equal(shared.passes(3), 3);
  t.equal(shared.passes(9, { identity: "x", ip: "y" }), 2);
});

t.test("a rule only looks at its path and method", async (t) => {
  const { passes } = limiterOf("2/m path=/api/ method=POST");
  t.equal(passes(9), 9, "another method");
  t.equal(passes(9, { method: "POST", path: "/apis" }), 9, "another path");
  t.equal(passes(9, { method: "POST", path: "/api/a?b" }), 2);
});

t.test("a path cannot be spelled past its rule", async (t) => {
  const api = [
    "/api/a",
    "/%61pi/a",
    "//api//a",
    "/x/../api/a",
    "/./api/a",
    "/%2e%2e/api/a",
    "/x/%2E./api/",
    "/api;v=1/a",
    "/;/api/",
    "/;v=1/api;/a",
  ];
  for (const path of api) {
    const { passes } = limiterOf("1/m path=/api/");
    t.equal(passes(5, { path: canonical(path) }), 1, path);
  }
  for (const path of ["/a?x=/api/", "/a?/../api/", "/a?;/api/", "/apix/", "/API/", "/a;/api", "/api", "/ap;/i/"]) {
    const { passes } = limiterOf("1/m path=/api/");
    t.equal(passes(5, { path: canonical(path) }), 5, path);
  }
  const { passes } = limiterOf("1/m path=/search?q=");
  t.equal(passes(5, { path: "/search?q=a" }), 1, "a prefix may reach into the query");
  t.equal(passes(5, { path: "/search;x?q=a" }), 0, "parameters are taken out before it");
  t.equal(passes(5, { path: "/search?p=a" }), 5);
});

t.test("it says whether paths matter to what it refuses", async (t) => {
  t.equal(limiterOf("1/m; 2/m path=/api/").limiter.matchesPaths, true);
  t.equal(limiterOf("1/m per=ip method=GET").limiter.matchesPaths, false);
  t.equal(limiterOf("1/m path=/api/ shadow").limiter.matchesPaths, false, "a shadow rule refuses nothing");
  t.equal(limiterOf("").limiter.matchesPaths, false);
});

t.test("all rules are checked and none is charged when another one refuses", async (t) => {
  const { clock, passes, limiter } = limiterOf("10/m per=ip; 2/s burst=2");
  t.equal(passes(2), 2);
  for (let index = 0; index < 100; index += 1) limiter.check(REQUEST);
  for (let second = 0; second < 4; second += 1) {
    clock.advance(1_000);
    t.equal(passes(2), 2, "the ten a minute were not used up by refused requests");
  }
  clock.advance(1_000);
  t.equal(passes(2), 0);
  t.equal(limiter.check(REQUEST).refusedBy?.name, "rate-1", "the rule to wait for longest is named");
});

t.test("a shadow rule counts and refuses nothing", async (t) => {
  const { limiter, passes } = limiterOf("1/m shadow; 5/m");
  t.equal(limiter.check(REQUEST).shadowed, null);
  const second = limiter.check(REQUEST);
  t.equal(second.allowed, true);
  t.equal(second.shadowed?.name, "rate-1");
  t.equal(passes(9), 3);
  t.match(limiter.check(REQUEST), { allowed: false, shadowed: { name: "rate-1" }, refusedBy: { name: "rate-2" } });
});

t.test("without rules everything passes", async (t) => {
  const { passes } = limiterOf("");
  t.equal(passes(1_000), 1_000);
});

t.test("tables stay within their bound, the least recently allowed key leaves first", async (t) => {
  const { limiter } = limiterOf("1/h per=ip", 100);
  const allowed = (ip: string) => limiter.check({ ...REQUEST, ip }).allowed;
  for (let index = 0; index < 100; index += 1) t.ok(allowed(`10.0.1.${index}`));
  t.notOk(allowed("10.0.1.0"), "still held");
  t.ok(allowed("10.9.9.9"));
  t.ok(allowed("10.0.1.0"), "pushed out by the newcomer");
  t.notOk(allowed("10.0.1.2"));
  t.notOk(allowed("10.0.1.99"));
});

t.test("an allowed request makes no new answer", async (t) => {
  const { limiter } = limiterOf("100/s");
  t.equal(limiter.check(REQUEST), limiter.check(REQUEST));
});
