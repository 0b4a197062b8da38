// Streams that end with the certificate of their client.
import t from "tap";
import { createEndings, type Ending } from "../../registry/endings.ts";
import { createFakeClock } from "../support/fake-clock.ts";

function start(nowMs: number) {
  const clock = createFakeClock(nowMs);
  const endings = createEndings(clock);
  const ended: number[] = [];
  const add = (endsAtMs: number): Ending => {
    const ending = { endsAtMs, onEnding: () => void ended.push(endsAtMs) };
    endings.add(ending);
    return ending;
  };
  return { clock, endings, ended, add };
}

t.test("each ends once, within a second of its instant and not before", async (t) => {
  const { clock, ended, add } = start(10_000);
  for (const endsAtMs of [20_500, 20_000, 90_000, 59_999, 60_000]) add(endsAtMs);
  clock.advance(9_900);
  t.same(ended, []);
  clock.advance(1_600);
  t.same([...ended].sort(), [20_000, 20_500]);
  clock.advance(38_000);
  t.same([...ended].sort(), [20_000, 20_500]);
  clock.advance(2_000);
  t.same([...ended].sort(), [20_000, 20_500, 59_999, 60_000]);
  clock.advance(40_000);
  t.equal(ended.length, 5);
});

t.test("what is over already ends at once; what was taken back does not", async (t) => {
  const { clock, endings, ended, add } = start(500_000);
  add(100);
  const other = add(501_000);
  endings.remove(other);
  endings.remove(other);
  clock.advance(1_000);
  t.same(ended, [100]);
  clock.advance(5_000);
  t.same(ended, [100]);
});

t.test("one that ends may take others with it", async (t) => {
  const { clock, endings, ended, add } = start(0);
  const others: Ending[] = [];
  endings.add({ endsAtMs: 1_900, onEnding: () => others.forEach(endings.remove) });
  others.push(add(2_000), add(90_000));
  clock.advance(100_000);
  t.same(ended, []);
});
