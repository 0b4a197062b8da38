import t from "tap";
import { createLoadReport } from "../../../sidecar/admin/load-report.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

t.test("a load report covers the time since the last one", async (t) => {
  const clock = createFakeClock();
  const load = createLoadReport(clock);
  t.same(load.take(), { inFlight: 0, rps: 0, p99Ms: 0, errorRatio: 0, requests: 0, errors: 0, refused: 0 });
  for (let index = 0; index < 100; index++) {
    load.began();
    load.finished(index === 99 ? 900 : 2, index < 25);
  }
  load.began();
  clock.advance(5000);
  const taken = load.take();
  t.match(taken, { inFlight: 1, rps: 20, errorRatio: 0.25 });
  t.ok(taken.p99Ms >= 2 && taken.p99Ms < 4, `p99 ${taken.p99Ms} is the bucket of the 99th of 100`);
  clock.advance(5000);
  t.match(load.take(), { inFlight: 1, rps: 0, p99Ms: 0 });
  load.finished(1e9, false);
  t.ok(load.take().p99Ms > 10_000, "what is longer than every bucket counts in the last");
});

t.test("totals go on growing from one report to the next, refusals of no request too", async (t) => {
  const load = createLoadReport(createFakeClock());
  for (let index = 0; index < 10; index++) {
    load.began();
    load.finished(2, index < 3);
  }
  load.refused();
  t.match(load.take(), { requests: 10, errors: 3, refused: 1 });
  load.refused();
  t.match(load.take(), { requests: 10, errors: 3, refused: 2, errorRatio: 0 });
});
