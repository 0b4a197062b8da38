import t from "tap";
import { formatAccessList, parseAccessList } from "../../../core/policy/access-list.ts";

t.test("a list names workloads, namespaces and whole identities", async (t) => {
  t.equal(parseAccessList(" * "), "everyone");
  t.strictSame(parseAccessList("shop/web, team-a/*\nspiffe://cluster.local/ns/a/sa/b"), [
    { kind: "workload", namespace: "shop", serviceAccount: "web" },
    { kind: "namespace", namespace: "team-a" },
    { kind: "id", id: "spiffe://cluster.local/ns/a/sa/b" },
  ]);
});

t.test("what is printed is read back", async (t) => {
  for (const text of ["*", "shop/web", "shop/web,team-a/*,spiffe://cluster.local/ns/a/sa/b", "a/b.c.d"])
    t.equal(formatAccessList(parseAccessList(text)), text);
});

t.test("a mistake names its column, what stands there, and what is allowed", async (t) => {
  const cases = [
    ["", 1, "nothing there"],
    ["shop/web shop", 10, '"shop"'],
    ["*/web", 1, '"*/web"'],
    ["shop/web,*", 10, '"*"'],
    ["Shop/web", 1, '"Shop/web"'],
    ["a/b/c", 1, '"a/b/c"'],
    ["shop/web,spiffe://x", 10, '"spiffe://x"'],
  ] as const;
  for (const [text, column, shown] of cases)
    t.throws(() => parseAccessList(text), {
      code: "invalid_value",
      message: `access list, column ${column}: ${shown}; allowed: * alone, or a list of NAMESPACE/SERVICE-ACCOUNT, NAMESPACE/* and spiffe:// ids`,
    });
});
