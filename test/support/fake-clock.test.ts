import t from "tap";
import { createFakeClock } from "./fake-clock.ts";

t.test("timers fire in order of due time, then of arming, at their own instant", async (t) => {
  const clock = createFakeClock(1000);
  const fired: string[] = [];
  const note = (name: string) => () => void fired.push(`${name}@${clock.monoMs()}/${clock.nowMs()}`);
  clock.after(20, note("late"));
  clock.after(10, note("first"));
  clock.after(10, note("second"));
  clock.advance(9);
  t.same(fired, []);
  clock.advance(11);
  t.same(fired, ["first@10/1010", "second@10/1010", "late@20/1020"]);
  t.equal(clock.armed, 0);
});

t.test("a repeating timer fires each period until it is cancelled, also from within", async (t) => {
  const clock = createFakeClock();
  let count = 0;
  const timer = clock.every(10, () => {
    count += 1;
    if (count === 3) timer.cancel();
  });
  clock.advance(100);
  t.equal(count, 3);
});

t.test("refresh starts the full delay again, after firing too", async (t) => {
  const clock = createFakeClock();
  let count = 0;
  const timer = clock.after(10, () => void count++);
  clock.advance(9);
  timer.refresh();
  clock.advance(9);
  t.equal(count, 0);
  clock.advance(1);
  t.equal(count, 1);
  timer.refresh();
  clock.advance(10);
  t.equal(count, 2);
});

t.test("what is armed on the way fires in the same advance when it falls due", async (t) => {
  const clock = createFakeClock();
  const fired: number[] = [];
  clock.after(5, () => void clock.after(5, () => void fired.push(clock.monoMs())));
  clock.advance(10);
  t.same(fired, [10]);
});

t.test("advanceAsync lets promises between timers settle", async (t) => {
  const clock = createFakeClock();
  const sleep = (ms: number) => new Promise<void>((resolve) => void clock.after(ms, resolve));
  let steps = 0;
  const work = (async () => {
    for (; steps < 3; steps++) await sleep(10);
  })();
  await clock.advanceAsync(30, 10);
  await work;
  t.equal(steps, 3);
});

t.test("the wall clock may step while monotonic time stands", async (t) => {
  const clock = createFakeClock(0);
  clock.stepWall(-5000);
  t.equal(clock.nowMs(), -5000);
  t.equal(clock.monoMs(), 0);
});
