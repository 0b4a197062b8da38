import t from "tap";
import { createCallerLimits } from "../../../core/policy/caller-limits.ts";
import { createFakeClock } from "../../support/fake-clock.ts";

t.test("streams come back when they end, rates with time", async (t) => {
  const clock = createFakeClock();
  const limits = createCallerLimits({ clock, streams: 2, callsPerSecond: 1, messagesPerSecond: 1 });
  const share = limits.of("a");
  t.equal(share.open(), null);
  t.equal(share.open(), null);
  t.match(share.open(), { reason: "too_many_streams" });
  share.close();
  t.equal(share.open(), null);
  for (let count = 0; count < 7; count += 1) t.equal(share.takeCall(), null);
  t.match(share.takeCall(), { reason: "too_many_calls" });
  for (let count = 0; count < 10; count += 1) t.ok(share.takeMessage());
  t.notOk(share.takeMessage());
  t.ok(limits.of("b").takeMessage(), "each identity has its own");
  clock.advance(1000);
  t.ok(share.takeMessage());
  t.notOk(share.takeMessage());
  t.equal(share.takeCall(), null);
  clock.stepWall(-1e9);
  t.notOk(share.takeMessage(), "a wall clock that steps gives nothing");
});

t.test("what is at rest is forgotten, what is busy is not", async (t) => {
  const clock = createFakeClock();
  const limits = createCallerLimits({ clock, streams: 1, callsPerSecond: 1, messagesPerSecond: 1 });
  limits.of("busy").open();
  for (let number = 0; number < 12_000; number += 1) limits.of(`idle-${number}`);
  clock.advance(20_000);
  limits.of("one more");
  t.ok(limits.size <= 10_000, `${limits.size}`);
  t.match(limits.of("busy").open(), { reason: "too_many_streams" });
});
