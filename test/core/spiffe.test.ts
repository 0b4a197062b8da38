import t from "tap";
import { CertError } from "../../core/errors.ts";
import { parseSni, parseSpiffeId, sniFor, spiffeId, spiffeParts } from "../../core/spiffe.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

t.test("an identity is made, read and taken apart", async (t) => {
  const parts = { trustDomain: "cluster.local", namespace: "shop", serviceAccount: "orders.v2" };
  const id = spiffeId(parts);
  t.equal(id, "spiffe://cluster.local/ns/shop/sa/orders.v2");
  t.same(spiffeParts(parseSpiffeId(id)), parts);
});

t.test("what is not a workload identity is refused", async (t) => {
  const wrong = [
    "",
    "spiffe://cluster.local",
    "spiffe://cluster.local/ns/shop",
    "spiffe://cluster.local/ns/shop/sa/",
    "spiffe://cluster.local/ns//sa/orders",
    "spiffe://cluster.local/ns/shop/sa/orders/",
    "spiffe://cluster.local/ns/shop/sa/orders/more",
    "spiffe://cluster.local/ns/shop/sa/../web",
    "spiffe://cluster.local/ns/shop/sa/orders?x",
    "spiffe://cluster.local/ns/shop/sa/orders#x",
    "spiffe://cluster.local/ns/shop/sa/or%64ers",
    "spiffe://cluster.local/ns/shop/sa/orders\n",
    "spiffe://cluster.local/ns/sh.op/sa/orders",
    "spiffe://cluster.local/ns/-shop/sa/orders",
    "spiffe://cluster.local/ns/Shop/sa/orders",
    "SPIFFE://cluster.local/ns/shop/sa/orders",
    "spiffe://Cluster.local/ns/shop/sa/orders",
    "spiffe://user@cluster.local/ns/shop/sa/orders",
    "spiffe://cluster.local:80/ns/shop/sa/orders",
    " spiffe://cluster.local/ns/shop/sa/orders",
    `spiffe://cluster.local/ns/${"a".repeat(64)}/sa/orders`,
    `spiffe://${"a.".repeat(2000)}b/ns/shop/sa/orders`,
  ];
  for (const text of wrong) t.throws(() => parseSpiffeId(text), { code: "malformed" }, JSON.stringify(text).slice(0, 80));
  t.throws(() => spiffeId({ trustDomain: "td", namespace: "a/sa/b", serviceAccount: "c" }), CertError);
});

t.test("a server name leads back to its identity and port", async (t) => {
  const random = createSeededRandom(3);
  const label = () => Array.from({ length: 1 + random.below(8) }, () => random.pick([..."abz019"])).join("");
  const name = () => Array.from({ length: 1 + random.below(3) }, label).join(".");
  for (let round = 0; round < 500; round++) {
    const trustDomain = name();
    const id = spiffeId({ trustDomain, namespace: label(), serviceAccount: name() });
    const port = 1 + random.below(65_535);
    const parsed = parseSni(sniFor(id, port), trustDomain);
    if (parsed === null || parsed.id !== id || parsed.port !== port) t.fail(`${id} ${port} came back as ${JSON.stringify(parsed)}`);
  }
});

t.test("a server name that is not ours gives nothing", async (t) => {
  for (const name of [
    "",
    "example.com",
    "p80.orders.shop.sa.other.domain",
    "p0.orders.shop.sa.cluster.local",
    "p080.orders.shop.sa.cluster.local",
    "p65536.orders.shop.sa.cluster.local",
    "p80.orders.sa.cluster.local",
    "80.orders.shop.sa.cluster.local",
    "P80.orders.shop.sa.cluster.local",
    "p80.orders.shop.sa.cluster.local.",
    "p80..shop.sa.cluster.local",
    `p80.${"a.".repeat(5000)}shop.sa.cluster.local`,
  ]) {
    t.equal(parseSni(name, "cluster.local"), null, JSON.stringify(name).slice(0, 80));
  }
});
