import t from "tap";
import { createIssueLimit } from "../../certs/issue-limit.ts";
import { createFakeClock } from "../support/fake-clock.ts";

t.test("a burst of twenty, then one each three seconds, for each identity apart", async (t) => {
  const clock = createFakeClock();
  const limit = createIssueLimit(clock, { burst: 20, intervalMs: 3000 });
  for (let count = 0; count < 20; count += 1) t.equal(limit.take("a"), 0);
  t.equal(limit.take("a"), 3000);
  t.equal(limit.take("b"), 0);
  clock.advance(2999);
  t.equal(limit.take("a"), 1);
  clock.advance(1);
  t.equal(limit.take("a"), 0);
  t.equal(limit.take("a"), 3000);
  clock.advance(3_600_000);
  for (let count = 0; count < 20; count += 1) t.equal(limit.take("a"), 0, "never more than the burst is saved up");
  t.equal(limit.take("a"), 3000);
});

t.test("a full table forgets the idle, and refuses when nobody is", async (t) => {
  const clock = createFakeClock();
  const limit = createIssueLimit(clock, { burst: 20, intervalMs: 3000, maxIdentities: 2 });
  t.same([limit.take("a"), limit.take("b"), limit.take("c")], [0, 0, 3000]);
  t.equal(limit.take("a"), 0, "the known go on");
  clock.advance(3000);
  t.equal(limit.take("c"), 0, "b is idle by now");
});
