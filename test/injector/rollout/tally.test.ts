import t from "tap";
import { ratioOf } from "../../../injector/rollout/proportion.ts";
import { createTally, type SeenInstance } from "../../../injector/rollout/tally.ts";

const MINUTE_MS = 60_000;

function seen(instanceId: string, version: string, requests: number, errors: number, more: Partial<SeenInstance> = {}): SeenInstance {
  const load = { requests, errors, refused: 0, rps: 0, errorRatio: 0 };
  return { instanceId, epoch: 1, version, workload: instanceId.split("-")[0] ?? "", load, ...more };
}

t.test("totals are counted once, however often they are looked at", async (t) => {
  const tally = createTally();
  for (let look = 0; look < 5; look++) tally.observe([seen("web-1", "2", 100, 10)], 0);
  t.match(tally.traffic("2"), { errors: { count: 10, of: 100 }, podsWithErrors: 1 });
  tally.observe([seen("web-1", "2", 150, 20)], 0);
  t.match(tally.traffic("2"), { errors: { count: 20, of: 150 } });
});

t.test("a sidecar that starts again counts from zero", async (t) => {
  const tally = createTally();
  tally.observe([seen("web-1", "2", 100, 10)], 0);
  tally.observe([seen("web-1", "2", 30, 3, { epoch: 2 })], 0);
  t.match(tally.traffic("2"), { errors: { count: 13, of: 130 } });
});

t.test("a long past weighs no more than 10 000 requests, and old cases less than new ones", async (t) => {
  const tally = createTally();
  tally.observe([seen("web-1", "1", 5_000_000, 50_000)], 0);
  t.ok(Math.abs(tally.traffic("1").errors.of - 10_000) < 1);
  t.ok(Math.abs(ratioOf(tally.traffic("1").errors) - 0.01) < 1e-9, "the ratio stays");
  tally.observe([seen("web-1", "1", 5_000_000, 50_000)], 10 * MINUTE_MS);
  t.ok(Math.abs(tally.traffic("1").errors.of - 5_000) < 1, "half after ten minutes");
});

t.test("a version without totals is counted by its rate", async (t) => {
  const tally = createTally();
  const old = { ...seen("web-1", "1", 0, 0), load: { requests: 0, errors: 0, refused: 0, rps: 10, errorRatio: 0.1 } };
  tally.observe([old], 0);
  tally.observe([old], 10_000);
  const { errors } = tally.traffic("1");
  t.ok(errors.of > 140 && errors.of <= 150, `${errors.of}: 5 s assumed at first, then 10 s`);
  t.ok(Math.abs(ratioOf(errors) - 0.1) < 1e-9);
});

t.test("a replica that does not know the load changes nothing", async (t) => {
  const tally = createTally();
  tally.observe([seen("web-1", "1", 100, 1)], 0);
  tally.observe([{ ...seen("web-1", "1", 0, 0), load: null }], 0);
  tally.observe([seen("web-1", "1", 120, 1)], 0);
  t.match(tally.traffic("1"), { errors: { count: 1, of: 120 } });
});

t.test("workloads are compared with themselves: one that always failed is no fault of the new version", async (t) => {
  const tally = createTally();
  const old = [seen("flaky-1", "1", 1000, 300), ...Array.from({ length: 50 }, (_, index) => seen(`web${index}-1`, "1", 1000, 0))];
  tally.observe(old, 0);
  tally.observe([seen("flaky-2", "2", 1000, 300)], MINUTE_MS);
  t.ok(ratioOf(tally.traffic("1").errors) < 0.01, "the old version as a whole");
  t.ok(Math.abs(ratioOf(tally.trafficLike("1", "2").errors) - 0.3) < 1e-9, "the old version with the workloads of the new one");
  tally.observe([seen("unknown-2", "2", 1000, 0)], MINUTE_MS);
  t.ok(Math.abs(ratioOf(tally.trafficLike("1", "2").errors) - (0.3 + 300 / 51_000) / 2) < 0.01, "half of it is compared with all");
});

t.test("pods with errors and with refusals are told apart", async (t) => {
  const tally = createTally();
  tally.observe(
    [
      seen("a-1", "2", 10, 1),
      seen("b-1", "2", 10, 0),
      { ...seen("c-1", "2", 10, 0), load: { requests: 10, errors: 0, refused: 5, rps: 0, errorRatio: 0 } },
    ],
    0,
  );
  t.match(tally.traffic("2"), { podsWithErrors: 1, podsWithRefusals: 1, errors: { count: 1, of: 30 }, refused: { count: 5, of: 35 } });
});

t.test("what is gone for hours is forgotten", async (t) => {
  const tally = createTally();
  tally.observe([seen("web-1", "1", 100, 1)], 0);
  tally.observe([], 7 * 60 * MINUTE_MS);
  t.match(tally.traffic("1"), { errors: { of: 0 }, podsWithErrors: 0 });
});
