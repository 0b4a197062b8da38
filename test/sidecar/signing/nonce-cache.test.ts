import { randomBytes } from "node:crypto";
import t from "tap";
import { createNonceCache, DEFAULT_MAX_NONCES } from "../../../sidecar/signing/nonce-cache.ts";
import { until } from "../../e2e/until.ts";
import { collectGarbage } from "../../support/collect-garbage.ts";
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
  t.ok(cache.size() < 5, `${cache.size()} left`);
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
  t.ok(cache.size() <= 2_000);
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

t.test("at its real bound: two generations of 786 432, full in some 34 MB, rotating", async (t) => {
  const { clock, cache, claim } = cacheOf();
  const before = process.memoryUsage().arrayBuffers;
  const nonce = new Uint32Array(4);
  const bytes = new Uint8Array(nonce.buffer);
  /** The `number`th nonce: as different from the others as random ones. */
  const claimed = (number: number) => {
    nonce.set([Math.imul(number + 1, 0x9e3779b1), Math.imul(number + 1, 0x85ebca6b), number, 1]);
    return claim(bytes);
  };
  /** Claims until one is not fresh; gives how many were. */
  const fill = (from: number) => {
    let number = from;
    while (claimed(number) === "fresh") number += 1;
    return number - from;
  };
  const bound = DEFAULT_MAX_NONCES;
  t.equal(claimed(0), "fresh"); // alone in the first generation, which ends at 50 s
  clock.advance(10_000);
  t.equal(fill(1), bound);
  t.equal(claimed(bound + 1), "full");
  t.equal(claimed(0), "replayed", "what is held is still known");
  t.equal(claimed(bound), "replayed");
  clock.advance(40_000);
  t.equal(claimed(bound + 1), "full", "to the last millisecond");
  clock.advance(1);
  t.equal(fill(bound + 1), bound, "the first generation is past its time, another takes its place");
  t.equal(claimed(2 * bound + 1), "full");
  t.equal(cache.size(), 2 * bound);
  t.equal(claimed(1), "replayed");
  t.equal(claimed(2 * bound), "replayed");
  // The smaller tables before; V8 gives their memory back on a thread of its own.
  const megabytes = () => (process.memoryUsage().arrayBuffers - before) / 1e6;
  await until(`less than 35 MB for ${cache.size()} nonces`, 20_000, () => collectGarbage().then(() => megabytes() < 35));
  t.comment(`${megabytes().toFixed(1)} MB`);
  clock.advance(10_000);
  t.equal(claimed(2 * bound + 1), "fresh", "the second generation is past its time");
  t.equal(claimed(2 * bound), "replayed", "the third is not");
  t.equal(cache.size(), bound + 1);
});
