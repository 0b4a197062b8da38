import t from "tap";
import type { ConfigError } from "../../../core/errors.ts";
import { formatRoutes, parseRoutes, type RouteRule } from "../../../core/policy/route-rules.ts";
import { createRoutes, DEFAULT_ROUTE } from "../../../sidecar/policy/routes.ts";

const OPEN: RouteRule = {
  service: null,
  path: null,
  method: null,
  timeoutMs: null,
  answerTimeoutMs: null,
  idleTimeoutMs: null,
  retry: null,
  attempts: null,
};

t.test("all options, in any order; what is left open is null", async (t) => {
  t.strictSame(parseRoutes(""), []);
  t.strictSame(parseRoutes("  "), []);
  const text =
    "service=orders path=/shop.Orders/ method=POST timeout=2s answer-timeout=500ms idle-timeout=30s retry=idempotent attempts=3; timeout=1s service=ns/pay";
  t.strictSame(parseRoutes(text), [
    {
      service: "orders",
      path: "/shop.Orders/",
      method: "POST",
      timeoutMs: 2_000,
      answerTimeoutMs: 500,
      idleTimeoutMs: 30_000,
      retry: "idempotent",
      attempts: 3,
    },
    { ...OPEN, service: "ns/pay", timeoutMs: 1_000 },
  ]);
  t.equal(parseRoutes("path=/%61pi/../x timeout=0s")[0]?.path, "/x", "prefixes are made canonical, as the paths they are compared with");
});

t.test("what is printed is read back", async (t) => {
  for (const text of [
    "timeout=0s",
    "service=a/*",
    "service=a method=GET path=/ timeout=90s; retry=undelivered attempts=1; idle-timeout=1d",
  ]) {
    const rules = parseRoutes(text);
    t.strictSame(parseRoutes(formatRoutes(rules)), rules, formatRoutes(rules));
  }
});

t.test("a mistake names its column, what stands there, and what is allowed", async (t) => {
  const bad: readonly [string, number, RegExp][] = [
    ["timeout=2", 1, /a time with its unit/],
    ["service=orders timeout=2", 16, /a time with its unit, such as 250ms or 2s, at most 1d; 0s for none/],
    ["timeout=2s; ", 12, /nothing there/],
    ["timeout=25h", 1, /at most 1d/],
    ["timeout=1s timeout=2s", 12, /once/],
    ["service=Orders", 1, /NAMESPACE\/NAME/],
    ["service=*", 1, /NAMESPACE\/\*/],
    ["service=", 1, /NAME/],
    ["path=api", 1, /begins with \//],
    ["path=/a%2fb", 1, /two readings/],
    ["method=get", 1, /upper case/],
    ["retry=always", 1, /retry=undelivered, retry=idempotent/],
    ["attempts=0", 1, /from 1 \(never again\) to 10/],
    ["attempts=11", 1, /to 10/],
    ["retries=3", 1, /service=, path=/],
    ["orders", 1, /service=, path=/],
    [Array(65).fill("timeout=1s").join(";"), 705, /at most 64 routes/],
  ];
  for (const [text, column, message] of bad) {
    t.throws(() => parseRoutes(text), { code: "invalid_value", message, fields: { position: column } } as unknown as ConfigError, text);
  }
});

t.test("the first route that matches holds; what it leaves open is as the settings say", async (t) => {
  const routes = createRoutes({
    rules: parseRoutes(
      "service=orders path=/slow/ timeout=10s; service=orders method=GET retry=idempotent attempts=2; service=pay/* timeout=1s; path=/all/ timeout=3s",
    ),
    defaults: { ...DEFAULT_ROUTE, timeoutMs: 5_000 },
    namespace: "demo",
  });
  const orders = routes.of("demo/orders");
  t.match(orders.find("POST", "/slow/x"), { timeoutMs: 10_000, isIdempotent: false, attempts: 3 });
  t.match(orders.find("GET", "/slow/x"), { timeoutMs: 10_000, isIdempotent: false }, "the first, not the best");
  t.match(orders.find("GET", "/x"), { timeoutMs: 5_000, isIdempotent: true, attempts: 2 });
  t.match(orders.find("POST", "/x"), { timeoutMs: 5_000, isIdempotent: false });
  t.match(orders.find("POST", "/all/x"), { timeoutMs: 3_000 });
  t.match(
    routes.of("other/orders").find("GET", "/slow/x"),
    { timeoutMs: 5_000, isIdempotent: false },
    "a bare name is of the own namespace",
  );
  t.match(routes.of("orders").find("GET", "/x"), { isIdempotent: true }, "or a host outside of the mesh");
  t.match(routes.of("pay/api").find("GET", "/x"), { timeoutMs: 1_000 });
  t.match(routes.of("payment/api").find("GET", "/x"), { timeoutMs: 5_000 });
  t.match(routes.of("").find("GET", "/all/"), { timeoutMs: 3_000 }, "a bare instance");
});

t.test("without rules nothing is searched: every destination has the same list", async (t) => {
  const routes = createRoutes({ rules: [], defaults: DEFAULT_ROUTE, namespace: "demo" });
  t.equal(routes.of("demo/orders"), routes.of("x"));
  t.equal(routes.of("x").find("GET", "/"), DEFAULT_ROUTE);
});
