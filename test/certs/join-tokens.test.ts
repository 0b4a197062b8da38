import { randomBytes } from "node:crypto";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import t from "tap";
import { createJoinTokens } from "../../certs/join-tokens.ts";
import { formatJoinToken, parseJoinToken } from "../../core/wire/join-token.ts";
import { formatShortPin } from "../../core/x509/pin.ts";
import { createFakeClock } from "../support/fake-clock.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

const ca = createThrowawayCa();
const orders = { namespace: "shop", serviceAccount: "orders" };
const refused = { name: "CertError", code: "credential_refused" };

function open(stateDir: string, clock = createFakeClock()) {
  return createJoinTokens({ stateDir, rootDer: () => ca.root.raw, trustDomain: "cluster.local", clock, random: randomBytes });
}

t.test("a token proves its identity, once", async (t) => {
  const tokens = open(t.testdir());
  const text = await tokens.create(orders);
  const proven = await tokens.prove(text, "join");
  t.equal(proven.identity, ca.id("shop/orders"));
  t.same(await tokens.prove(text, "join"), proven, "proving alone spends nothing");
  await tokens.consume(proven);
  await t.rejects(tokens.consume(proven), refused);
  await t.rejects(tokens.prove(text, "join"), { ...refused, message: /was used before/ });
});

t.test("of calls that race for a token, one gets it", async (t) => {
  const folder = t.testdir();
  const proven = await (async () => {
    const tokens = open(folder);
    return tokens.prove(await tokens.create(orders), "join");
  })();
  // Each with its own view of the folder, as different processes have.
  const results = await Promise.allSettled(Array.from({ length: 20 }, () => open(folder).consume(proven)));
  t.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
});

t.test("a used token stays used over a restart", async (t) => {
  const folder = t.testdir();
  const tokens = open(folder);
  const text = await tokens.create(orders);
  await tokens.consume(await tokens.prove(text, "join"));
  await t.rejects(open(folder).prove(text, "join"), { ...refused, message: /was used before/ });
});

t.test("a token ends, and its file goes", async (t) => {
  const folder = t.testdir();
  const clock = createFakeClock();
  const tokens = open(folder, clock);
  const text = await tokens.create({ ...orders, ttlMs: 60_000 });
  clock.advance(59_999);
  t.ok(await tokens.prove(text, "join"));
  clock.advance(1);
  await t.rejects(tokens.prove(text, "join"), { ...refused, message: /expired/ });
  await tokens.sweep();
  t.same(readdirSync(join(folder, "join-tokens")), []);
  await t.rejects(tokens.prove(text, "join"), refused);
});

t.test("what is stored cannot be used to join", async (t) => {
  const folder = t.testdir();
  const text = await open(folder).create(orders);
  const { id, secret } = parseJoinToken(text);
  const file = join(folder, "join-tokens", `${id}.json`);
  t.notMatch(readFileSync(file, "utf8"), secret);
  t.equal(statSync(file).mode & 0o777, 0o600);
});

t.test("wrong, foreign and mangled tokens are refused without repeating them", async (t) => {
  const tokens = open(t.testdir());
  const text = await tokens.create(orders);
  const parts = parseJoinToken(text);
  const other = randomBytes(32).toString("base64url");
  const cases = [
    "",
    "rmr1",
    text.slice(0, -1),
    `${text}x`,
    `rmr2${text.slice(4)}`,
    "../../etc/passwd",
    formatJoinToken({ ...parts, secret: other }),
    formatJoinToken({ ...parts, id: "A".repeat(16) }),
  ];
  for (const candidate of cases) {
    const failure = await tokens.prove(candidate, "join").catch((error: unknown) => error as Error);
    t.match(failure, refused);
    t.notMatch((failure as Error).message, parts.secret);
    t.notMatch((failure as Error).message, other);
  }
  t.ok(await tokens.prove(text, "join"), "a wrong secret does not spend the token");
});

t.test("a token is for one purpose", async (t) => {
  const tokens = open(t.testdir());
  const heartbeat = await tokens.create({ ...orders, purpose: "heartbeat" });
  await t.rejects(tokens.prove(heartbeat, "join"), { ...refused, message: /is for heartbeat, not for join/ });
  t.ok(await tokens.prove(heartbeat, "heartbeat"));
  await t.rejects(tokens.prove(await tokens.create(orders), "heartbeat"), refused);
});

t.test("impossible requests are refused", async (t) => {
  const tokens = open(t.testdir());
  await t.rejects(tokens.create({ namespace: "Shop!", serviceAccount: "orders" }), { code: "malformed" });
  await t.rejects(tokens.create({ ...orders, ttlMs: 0 }), { code: "malformed" });
  await t.rejects(tokens.create({ ...orders, ttlMs: Number.POSITIVE_INFINITY }), { code: "malformed" });
});

t.test("the text carries the pin and survives a round trip", async (t) => {
  const text = await open(t.testdir()).create(orders);
  const parts = parseJoinToken(` ${text}\n`);
  t.equal(parts.pin, formatShortPin(ca.root.raw));
  t.equal(formatJoinToken(parts), text);
});
