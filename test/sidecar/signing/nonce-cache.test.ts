import { randomBytes } from "node:crypto";
import t from "tap";
import { createNonceCache } from "../../../sidecar/signing/nonce-cache.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

function cacheOf(maxPerGeneration?: number) {
  const clock = createFakeClock();
  const cache = createNonceCache({ clock, seed: [7, 11], ...(maxPerGeneration === undefined ? {} : { maxPerGeneration }) });
  const claim = (nonce: Uint8Array, lifeMs = 50_000) => cache.claim(nonce, clock.nowMs() + lifeMs);
  return { clock, cache, claim };
}

t.test("remembers many nonces, each for its whole time", async (t) => {
  const { clock, claim } = cacheOf();
  const nonces = Array.from({ length: 20_000 }, () => randomBytes(16));
  for (const [index, nonce] of nonces.entries()) {
    if (claim(nonce) !== "fresh") t.fail("a new nonce is fresh");
    if (index % 1_000 === 0) clock.advance(2_000); // 40 s in all
  }
  t.equal(nonces.filter((nonce) => claim(nonce) !== "replayed").length, 0);
});

t.test("forgets what could not be accepted any more", async (t) => {
  const { clock, cache, claim } = cacheOf();
  for (let count = 0; count < 5_000; count += 1) claim(randomBytes(16));
  clock.advance(50_001);
  claim(randomBytes(16));
  clock.advance(50_001);
  claim(randomBytes(16));
  t.ok(cache.size < 5, `${cache.size} left`);
});

t.test("one that lives longer keeps its generation", async (t) => {
  const { clock, claim } = cacheOf();
  const long = randomBytes(16);
  claim(long, 70_000);
  for (let count = 0; count < 69; count += 1) {
    clock.advance(1_000);
    claim(randomBytes(16), 10_000);
    if (claim(long, 1_000) !== "replayed") t.fail(`forgotten after ${count + 1} s`);
  }
  t.pass();
});

t.test("says when it is full, and has room again after a while", async (t) => {
  const { clock, cache, claim } = cacheOf(1_000);
  const answers = Array.from({ length: 5_000 }, () => claim(randomBytes(16)));
  t.ok(answers.lastIndexOf("fresh") < 2_001);
  t.equal(answers.at(-1), "full");
  t.ok(cache.size <= 2_000);
  clock.advance(50_001);
  t.equal(claim(randomBytes(16)), "fresh");
});

t.test("nonces with zero words are like others; all zeros is never fresh", async (t) => {
  const { claim } = cacheOf();
  const sparse = Array.from({ length: 16 }, (_, index) => Buffer.from(Array.from({ length: 16 }, (_byte, at) => (at === index ? 1 : 0))));
  for (const nonce of sparse) t.equal(claim(nonce), "fresh");
  for (const nonce of sparse) t.equal(claim(nonce), "replayed");
  t.equal(claim(Buffer.alloc(16)), "replayed");
});
