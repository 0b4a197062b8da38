import { createHmac, createPublicKey, randomBytes } from "node:crypto";
import t from "tap";
import { createPairwiseKeys, derivePairwiseKey, type OwnMessageKey, type PeerMessageKey } from "../../../sidecar/signing/pairwise-key.ts";
import { basePieces, type Blanks, type CallHead, formatDigest, formatTimes, profileBase } from "../../../sidecar/signing/profile.ts";
import { collectGarbage } from "../../support/collect-garbage.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";
import { createStaticIdentity, createThrowawayCa } from "../../support/throwaway-ca.ts";

const ca = createThrowawayCa();

function ends(): { own: OwnMessageKey; peer: PeerMessageKey } {
  const [mine, theirs] = [createStaticIdentity(ca, "shop/web"), createStaticIdentity(ca, "shop/payments")];
  return {
    own: { identity: mine.identity, keyId: mine.current().messageKeyId, privateKey: mine.current().messageKey },
    peer: {
      identity: theirs.identity,
      keyId: theirs.current().messageKeyId,
      publicKey: createPublicKey(theirs.current().messageKey),
    },
  };
}

const call = (path: string, change: Partial<CallHead> = {}): CallHead => ({
  method: "POST",
  authority: "payments:8080",
  path,
  contentType: "application/grpc",
  src: "spiffe://cluster.local/ns/shop/sa/web",
  dst: "spiffe://cluster.local/ns/shop/sa/payments",
  ...change,
});

const blanks = (body: "digest" | "stream", second = 1_800_000_000): Blanks => ({
  binding: randomBytes(32).toString("base64url"),
  digest: body === "digest" ? formatDigest(randomBytes(32).toString("base64")) : "",
  times: formatTimes(second),
  nonce: `"${randomBytes(16).toString("base64url")}"`,
  nonceFrom: 1,
});

t.test("a form that is filled in gives the tag of the whole base, whatever it was filled with before", async (t) => {
  const { own, peer } = ends();
  const pairwise = createPairwiseKeys().get(own, peer);
  const key = derivePairwiseKey(own, peer);
  const random = createSeededRandom(9);
  const bindings = [0, 1].map(() => randomBytes(32).toString("base64url"));
  let wrong = 0;
  for (let round = 0; round < 3_000; round += 1) {
    const body = random.pick(["digest", "stream"] as const);
    // More than are kept, some of them too long to be kept, some not ASCII.
    const path = `/${random.pick(["é", "a", "Payments/Charge", "x".repeat(1_000)])}/${random.below(8)}`;
    const head = call(path, {
      method: random.pick(["POST", "PUT"]),
      authority: random.pick(["Payments:80", "payments:8080"]),
      contentType: random.pick(["application/grpc", "application/grpc+proto"]),
    });
    const keyId = random.pick([pairwise.keyId, `${peer.keyId}.${own.keyId}`]);
    const values = { ...blanks(body, 1_800_000_000 + random.below(2)), binding: random.pick(bindings) };
    const base = profileBase(basePieces(head, body, keyId, "hmac-sha256"), values);
    if (pairwise.form(head, body, keyId).tag(values) !== createHmac("sha256", key).update(base).digest("base64")) wrong += 1;
  }
  t.equal(wrong, 0);
  t.ok(pairwise.forms > 0 && pairwise.forms <= 16, `${pairwise.forms} forms are kept`);
});

t.test("a value that does not fit its blank makes no tag, and spoils nothing", async (t) => {
  const { own, peer } = ends();
  const form = createPairwiseKeys().get(own, peer).form(call("/a"), "digest", "a.b");
  const good = blanks("digest");
  const tag = form.tag(good);
  const wrong: Partial<Blanks>[] = [
    { binding: "" },
    { binding: `${good.binding}A` },
    { digest: "" },
    { digest: `${good.digest}:` },
    { times: `${good.times}0` },
    { digest: `é${good.digest.slice(1)}` },
    { digest: `Ł${good.digest.slice(1)}` },
    { times: "1800000000" },
    { nonce: good.nonce.slice(3) },
    { binding: `é${good.binding.slice(1)}` },
    { times: `é${good.times.slice(1)}` },
  ];
  for (const change of wrong) {
    t.equal(form.tag({ ...good, ...change }), null, JSON.stringify(change));
    t.equal(form.tag(good), tag);
  }
});

t.test("keys are derived once, at most so many are kept, and the oldest goes first", async (t) => {
  const keys = createPairwiseKeys({ maxKeys: 3 });
  const { own } = ends();
  const peers = Array.from({ length: 4 }, () => ends().peer);
  const first = peers.map((peer) => keys.get(own, peer));
  t.equal(keys.get(own, peers[3]!), first[3]);
  t.equal(keys.get(own, peers[1]!), first[1]);
  t.not(keys.get(own, peers[0]!), first[0], "pushed out, derived again");
});

t.test("what was derived of a key goes with it", async (t) => {
  const keys = createPairwiseKeys();
  const dropped = (() => {
    const { own, peer } = ends();
    return new WeakRef(keys.get(own, peer));
  })();
  for (let round = 0; round < 20 && dropped.deref() !== undefined; round += 1) await collectGarbage();
  t.equal(dropped.deref(), undefined);
});
