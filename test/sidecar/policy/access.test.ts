import t from "tap";
import { ConfigError } from "../../../core/errors.ts";
import { parseSpiffeId } from "../../../core/spiffe.ts";
import { allows, parseAccess } from "../../../sidecar/policy/access.ts";

const id = (path: string, domain = "cluster.local") => parseSpiffeId(`spiffe://${domain}/${path}`);

t.test("a star admits everyone, callers without identity too", async (t) => {
  const everyone = parseAccess(" * ");
  t.ok(allows(everyone, null));
  t.ok(allows(everyone, id("ns/a/sa/b")));
});

t.test("a list admits workloads, namespaces and whole identities, and nobody else", async (t) => {
  const policy = parseAccess("shop/web, payments/*  spiffe://other.example/ns/x/sa/y");
  t.ok(allows(policy, id("ns/shop/sa/web")));
  t.ok(allows(policy, id("ns/payments/sa/anything.at-all")));
  t.ok(allows(policy, id("ns/x/sa/y", "other.example")));
  t.notOk(allows(policy, id("ns/shop/sa/web2")));
  t.notOk(allows(policy, id("ns/web/sa/shop")));
  t.notOk(allows(policy, id("ns/payments2/sa/a")));
  t.notOk(allows(policy, id("ns/x/sa/y")));
  t.notOk(allows(policy, null), "plaintext has no identity");
});

t.test("a namespace called sa or ns fools nobody", async (t) => {
  t.ok(allows(parseAccess("sa/*"), id("ns/sa/sa/x")));
  t.notOk(allows(parseAccess("x/*"), id("ns/sa/sa/x")));
  t.ok(allows(parseAccess("ns/sa"), id("ns/ns/sa/sa")));
});

t.test("a mistake names its column, the value and what is allowed", async (t) => {
  for (const [text, column] of [
    ["", 1],
    [" , ", 1],
    ["web", 1],
    ["shop/web, *", 11],
    ["shop/web */web", 10],
    ["Shop/web", 1],
    ["shop/we_b", 1],
    ["spiffe://cluster.local/ns/a", 1],
    ["a/b/c", 1],
  ] as const) {
    try {
      parseAccess(text);
      t.fail(`accepted: ${text}`);
    } catch (error) {
      t.ok(error instanceof ConfigError, text);
      t.match((error as Error).message, `column ${column}`);
      t.match((error as Error).message, "NAMESPACE/SERVICE-ACCOUNT");
    }
  }
});
