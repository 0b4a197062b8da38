import t from "tap";
import { backoffMs, pushedBackMs, renewalLimits, RUNNING, STARTING } from "../../../sidecar/identity/backoff.ts";
import { createAlarm, renewalTime } from "../../../sidecar/identity/renewal.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

const HOUR_MS = 3_600_000;

t.test("renewals fall between 65 and 75 % of a life", async (t) => {
  const life = { fromMs: 1000, toMs: 1000 + 100 * HOUR_MS };
  t.equal(
    renewalTime(life, () => 0),
    1000 + 65 * HOUR_MS,
  );
  t.equal(
    renewalTime(life, () => 0.5),
    1000 + 70 * HOUR_MS,
  );
  t.equal(
    renewalTime(life, () => 1),
    1000 + 75 * HOUR_MS,
  );
});

t.test("waits double up to their bound, with jitter over their upper half", async (t) => {
  t.same(
    [1, 2, 3, 7, 100, 5000].map((failures) => backoffMs(failures, RUNNING, () => 1)),
    [1000, 2000, 4000, 60_000, 60_000, 60_000],
  );
  t.equal(
    backoffMs(1, RUNNING, () => 0),
    500,
  );
});

t.test(
  "a renewal that goes on failing is tried again before the certificate ends, however short its life is and however long the CA was away",
  async (t) => {
    for (const lifeMs of [10_000, 60_000, 24 * HOUR_MS])
      for (const random of [() => 0, () => 1]) {
        const triesMs: number[] = [];
        for (let leftMs = lifeMs * 0.3, failures = 1; leftMs > 0; failures += 1) {
          triesMs.push(leftMs);
          leftMs -= backoffMs(failures, renewalLimits(leftMs), random);
        }
        // A CA that comes back when an eighth of those 30 % are left still finds everybody in time.
        const inTime = triesMs.filter((leftMs) => leftMs < (lifeMs * 0.3) / 8).length;
        t.ok(inTime >= 2, `${lifeMs} ms: ${inTime} tries in the last eighth`);
        t.ok(triesMs.length < 1000, `${triesMs.length} tries`);
      }
    t.same(renewalLimits(24 * HOUR_MS), RUNNING, "far from the end nobody hurries");
    t.same(renewalLimits(0), STARTING, "afterwards nothing works but another certificate");
  },
);

t.test("an alarm rings once, at the wall clock's time", async (t) => {
  const clock = createFakeClock();
  let rings = 0;
  const alarm = createAlarm(clock, () => {
    rings += 1;
  });
  alarm.setAt(clock.nowMs() + 40 * 24 * HOUR_MS);
  clock.advance(39 * 24 * HOUR_MS);
  t.equal(rings, 0);
  clock.advance(25 * HOUR_MS);
  t.equal(rings, 1);
  alarm.setAt(clock.nowMs() - 1);
  clock.advance(0);
  t.equal(rings, 2, "the past is now");
  alarm.setAt(clock.nowMs() + 5 * HOUR_MS);
  clock.stepWall(6 * HOUR_MS);
  clock.advance(600_000);
  t.equal(rings, 3, "a machine that slept rings soon after it wakes");
  alarm.setAt(clock.nowMs() + 1);
  alarm.close();
  clock.advance(HOUR_MS);
  t.equal(rings, 3);
});

t.test("who is told when to come again comes not before, and not all at once", async (t) => {
  const waits = [0, 0.5, 1].map((random) => pushedBackMs(4000, 1, { firstMs: 250, maxMs: 10_000 }, () => random));
  t.same(waits, [4000, 5000, 6000]);
  t.equal(
    pushedBackMs(0, 1, { firstMs: 250, maxMs: 10_000 }, () => 1),
    250,
    "without a word it is the usual backoff",
  );
});
