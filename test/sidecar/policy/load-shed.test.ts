import t from "tap";
import { createLoadShed } from "../../../sidecar/policy/load-shed.ts";

t.test("admits up to the bound and one more for each that leaves", async (t) => {
  const shed = createLoadShed({ maxInFlight: 3 });
  t.strictSame([shed.tryEnter(), shed.tryEnter(), shed.tryEnter(), shed.tryEnter()], [true, true, true, false]);
  t.equal(shed.inFlight, 3, "a refused request is not in flight");
  shed.leave();
  t.strictSame([shed.tryEnter(), shed.tryEnter()], [true, false]);
});

t.test("leaving twice is found out", async (t) => {
  const shed = createLoadShed({ maxInFlight: 1 });
  shed.tryEnter();
  shed.leave();
  t.throws(() => shed.leave(), /without tryEnter/);
});

t.test("a bound must be a whole number of at least 1", async (t) => {
  for (const maxInFlight of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) t.throws(() => createLoadShed({ maxInFlight }), RangeError);
});
