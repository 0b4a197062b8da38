import t from "tap";
import { createJudgedAt } from "../../../core/x509/judged-at.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createThrowawayCa } from "../../support/throwaway-ca.ts";

const HOUR_MS = 3_600_000;
const ca = createThrowawayCa();
const from = (notBeforeMs: number) => ca.leaf("shop/web", { notBeforeMs, notAfterMs: notBeforeMs + HOUR_MS }).certificate;

t.test("a certificate is judged by the wall clock, also one from the future", async (t) => {
  const clock = createFakeClock();
  const judgedAt = createJudgedAt(clock);
  t.equal(judgedAt(from(clock.nowMs() - 1000)), clock.nowMs());
  t.equal(judgedAt(from(clock.nowMs() + 1000)), clock.nowMs(), "nobody here has seen that time");
  clock.advance(1000);
  t.equal(judgedAt(from(clock.nowMs() - 2 * HOUR_MS)), clock.nowMs(), "one that is over stays over");
});

t.test("after a step back, what was signed by the time that was seen is judged at its beginning", async (t) => {
  const clock = createFakeClock();
  const trueMs = clock.nowMs();
  const judgedAt = createJudgedAt(clock);
  clock.stepWall(-HOUR_MS);
  t.equal(judgedAt(from(trueMs - 1000)), trueMs - 1000);
  clock.advance(5000);
  t.equal(judgedAt(from(trueMs + 4000)), trueMs + 4000, "time went on");
  t.equal(judgedAt(from(trueMs + 6000)), clock.nowMs(), "and no further than that");
  t.equal(judgedAt(from(trueMs - 2 * HOUR_MS)), clock.nowMs(), "the end is a matter of the wall clock");
});

t.test("a clock that was set right after a while ahead judges ends as any other", async (t) => {
  const clock = createFakeClock();
  const judgedAt = createJudgedAt(clock);
  clock.stepWall(HOUR_MS);
  const fresh = from(clock.nowMs() - 2 * HOUR_MS);
  t.equal(judgedAt(fresh), clock.nowMs());
  clock.stepWall(-HOUR_MS);
  t.equal(judgedAt(fresh), clock.nowMs());
});
