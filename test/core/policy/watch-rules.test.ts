import t from "tap";
import { isListed, parseAccessList } from "../../../core/policy/access-list.ts";
import { formatWatchRules, isWatchable, parseWatchRules, watchable } from "../../../core/policy/watch-rules.ts";
import { parseSpiffeId } from "../../../core/spiffe.ts";

const id = (name: string) => parseSpiffeId(`spiffe://cluster.local/ns/${name.split("/")[0]}/sa/${name.split("/")[1]}`);

t.test("rules add up, and who is in none may watch nothing", async (t) => {
  const rules = parseWatchRules("who=shop/*,ops/admin what=shop/*,pay/api; who=ops/* what=*; who=* what=public/web");
  const may = (who: string, service: string) => isWatchable(watchable(rules, id(who)), service);
  t.ok(may("shop/web", "shop/orders"));
  t.ok(may("shop/web", "pay/api"));
  t.ok(may("shop/web", "public/web"));
  t.notOk(may("shop/web", "pay/ledger"));
  t.notOk(may("shop/web", "shopping/orders"), "a namespace is no prefix");
  t.ok(may("ops/admin", "pay/ledger"));
  t.ok(may("other/x", "public/web"));
  t.notOk(may("other/x", "public/__proto__"));
  t.notOk(may("other/x", "shop/orders"));
  t.notOk(isWatchable(watchable(parseWatchRules("who=a/b what=c/d"), id("x/y")), "c/d"));
  t.strictSame(parseWatchRules(formatWatchRules(rules)), rules, "printing and reading give the same");
});

t.test("mistakes are named", async (t) => {
  for (const text of [
    "",
    "who=a/b",
    "what=a/b who=c/d",
    "who=a what=*",
    "who=a/b what=a",
    "who=a/b what=a/b;",
    "who=a/b what=A/b",
    "who= what=*",
  ])
    t.throws(() => parseWatchRules(text), { code: "invalid_value" }, text);
});

t.test("an identity is in a list by itself, by its namespace, or by everyone", async (t) => {
  const list = parseAccessList("shop/web,ops/*");
  t.ok(isListed(list, id("shop/web")));
  t.notOk(isListed(list, id("shop/webs")));
  t.ok(isListed(list, id("ops/any")));
  t.notOk(isListed(list, null));
  t.ok(isListed("everyone", null));
  t.ok(isListed(parseAccessList("spiffe://cluster.local/ns/a/sa/b"), id("a/b")));
  t.notOk(isListed(parseAccessList("spiffe://elsewhere/ns/a/sa/b"), id("a/b")));
});
