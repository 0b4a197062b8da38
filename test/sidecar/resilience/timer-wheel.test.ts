import t from "tap";
import { TICK_MS, TimerWheel, WheelEntry } from "../../../sidecar/resilience/timer-wheel.ts";
import { createFakeClock } from "../../support/fake-clock.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";

class Alarm extends WheelEntry {
  readonly #run: () => void;

  constructor(run: () => void) {
    super();
    this.#run = run;
  }

  override onDue(): void {
    this.#run();
  }
}

t.test("entries are told once, never early and late by a tick at most, whatever order they came in", async (t) => {
  const clock = createFakeClock();
  const wheel = new TimerWheel(clock);
  const random = createSeededRandom(7).next;
  const told = new Map<number, number>();
  const due = new Map<number, number>();
  for (let index = 0; index < 2_000; index += 1) {
    clock.advance(random() * 3);
    const dueMonoMs = clock.monoMs() + random() * 20_000;
    due.set(index, dueMonoMs);
    wheel.schedule(new Alarm(() => told.set(index, clock.monoMs())), dueMonoMs);
  }
  clock.advance(30_000);
  t.equal(told.size, 2_000);
  t.equal(wheel.count, 0);
  const delays = [...due].map(([index, dueMonoMs]) => (told.get(index) ?? Number.NaN) - dueMonoMs);
  t.ok(Math.min(...delays) >= 0, `never early: ${Math.min(...delays)}`);
  t.ok(Math.max(...delays) <= TICK_MS + 1, `late by a tick at most: ${Math.max(...delays)}`);
});

t.test("an entry that is cancelled is not told; cancelling is idempotent; one that is moved is told at its new time", async (t) => {
  const clock = createFakeClock();
  const wheel = new TimerWheel(clock);
  const told: string[] = [];
  const gone = new Alarm(() => told.push("gone"));
  const moved = new Alarm(() => told.push(`moved ${clock.monoMs()}`));
  wheel.schedule(gone, 100);
  wheel.schedule(moved, 100);
  wheel.cancel(gone);
  wheel.cancel(gone);
  wheel.schedule(moved, 400);
  t.equal(wheel.count, 1);
  clock.advance(1_000);
  t.strictSame(told, ["moved 400"]);
  wheel.cancel(moved);
  t.equal(wheel.count, 0);
});

t.test("an earlier entry is told before the one that the timer was armed for; a due one in the next turn", async (t) => {
  const clock = createFakeClock();
  const wheel = new TimerWheel(clock);
  const told: string[] = [];
  clock.advance(5_000);
  wheel.schedule(new Alarm(() => told.push("late")), 9_000);
  wheel.schedule(new Alarm(() => told.push("early")), 5_080);
  wheel.schedule(new Alarm(() => told.push("over")), 1_000);
  t.strictSame(told, [], "never within the call");
  clock.advance(8);
  t.strictSame(told, ["over"]);
  clock.advance(80);
  t.strictSame(told, ["over", "early"]);
  clock.advance(5_000);
  t.strictSame(told, ["over", "early", "late"]);
});

t.test("an entry may cancel, move and schedule others while it is told", async (t) => {
  const clock = createFakeClock();
  const wheel = new TimerWheel(clock);
  const told: string[] = [];
  const victim = new Alarm(() => told.push("victim"));
  const again: Alarm = new Alarm(() => {
    told.push(`again ${clock.monoMs()}`);
    if (told.length < 4) wheel.schedule(again, clock.monoMs() + 16);
  });
  wheel.schedule(new Alarm(() => wheel.cancel(victim)), 16);
  wheel.schedule(victim, 16);
  wheel.schedule(again, 16);
  clock.advance(1_000);
  t.strictSame(told, ["again 16", "again 32", "again 48", "again 64"]);
  t.equal(wheel.count, 0);
});

t.test("an empty wheel is at rest, and a full one has one timer", async (t) => {
  const clock = createFakeClock();
  const wheel = new TimerWheel(clock);
  t.equal(clock.armed, 0);
  const entries = Array.from({ length: 1_000 }, (_, index) => new Alarm(() => wheel.schedule(entries[index] as Alarm, 1e9)));
  for (const [index, entry] of entries.entries()) wheel.schedule(entry, 1_000 + index * 7);
  t.equal(clock.armed, 1);
  for (const entry of entries) wheel.cancel(entry);
  clock.advance(5_000);
  t.equal(clock.armed, 0, "what is left of it fires once and rests");
});

t.test("what is due in a month waits for it", async (t) => {
  const clock = createFakeClock();
  const wheel = new TimerWheel(clock);
  let told = 0;
  wheel.schedule(new Alarm(() => (told += 1)), 60_000);
  clock.advance(59_000);
  t.equal(told, 0);
  clock.advance(1_000 + TICK_MS);
  t.equal(told, 1);
});
