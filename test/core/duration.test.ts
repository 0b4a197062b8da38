import t from "tap";
import { formatDuration, parseDurationMs } from "../../core/duration.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

t.test("every unit is read as milliseconds", async (t) => {
  for (const [text, ms] of [
    ["0ms", 0],
    ["250ms", 250],
    ["5s", 5000],
    ["1.5s", 1500],
    ["1m", 60_000],
    ["2h", 7_200_000],
    ["1d", 86_400_000],
    ["007s", 7000],
    ["0.0004s", 0],
  ] as const) {
    t.equal(parseDurationMs(text), ms, text);
  }
});

t.test("a number without a unit is refused and told so", async (t) => {
  t.throws(() => parseDurationMs("30"), { name: "RangeError", message: /"30" has no unit: expected a number with a unit/ });
  t.throws(() => parseDurationMs("1.5"), { name: "RangeError", message: /no unit/ });
});

t.test("what is not a duration is refused", async (t) => {
  const wrong = [
    "",
    " ",
    "s",
    "-1s",
    "+1s",
    "1 s",
    " 1s",
    "1s ",
    "1S",
    "1w",
    "1h30m",
    "1e3ms",
    "0x10s",
    ".5s",
    "5.s",
    "1,5s",
    "∞s",
    "NaNs",
    "1s\n",
    "١s",
  ];
  for (const text of wrong) t.throws(() => parseDurationMs(text), RangeError, JSON.stringify(text));
  t.throws(() => parseDurationMs(`${"9".repeat(1e6)}s`), RangeError, "a million digits");
  t.throws(() => parseDurationMs("36501d"), /longer than 100 years/);
});

t.test("a message never repeats a long value", async (t) => {
  try {
    parseDurationMs("x".repeat(10_000));
  } catch (error) {
    t.ok((error as Error).message.length < 300);
  }
});

t.test("the largest unit that keeps it whole is written", async (t) => {
  const texts = [0, 1, 999, 1000, 1500, 60_000, 90_000, 3_600_000, 86_400_000, 90_061_001].map(formatDuration);
  t.same(texts, ["0ms", "1ms", "999ms", "1s", "1500ms", "1m", "90s", "1h", "1d", "90061001ms"]);
  for (const wrong of [-1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) t.throws(() => formatDuration(wrong), RangeError);
});

t.test("what is written is read back", async (t) => {
  const random = createSeededRandom(1);
  for (let round = 0; round < 2000; round++) {
    const ms = random.below(10 ** random.below(12));
    if (parseDurationMs(formatDuration(ms)) !== ms) t.fail(`${ms} came back as ${parseDurationMs(formatDuration(ms))}`);
  }
});
