import t from "tap";
import { formatSize, parseSizeBytes } from "../../core/size.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

t.test("every unit is read as bytes", async (t) => {
  for (const [text, bytes] of [
    ["0B", 0],
    ["64B", 64],
    ["64KiB", 65_536],
    ["64Ki", 65_536],
    ["10MiB", 10_485_760],
    ["1.5Mi", 1_572_864],
    ["1GiB", 1_073_741_824],
    ["2Gi", 2_147_483_648],
  ] as const) {
    t.equal(parseSizeBytes(text), bytes, text);
  }
});

t.test("a number without a unit is refused and told so", async (t) => {
  t.throws(() => parseSizeBytes("1024"), { name: "RangeError", message: /"1024" has no unit/ });
});

t.test("what is not a size is refused", async (t) => {
  const wrong = ["", "B", "-1B", "1 KiB", "1kB", "1KB", "1K", "1M", "1TiB", "1e3B", "0x1B", "1KiB ", "1KiB\n", "9007199254740993GiB"];
  for (const text of wrong) t.throws(() => parseSizeBytes(text), RangeError, JSON.stringify(text));
});

t.test("what is written is read back, in the largest unit that keeps it whole", async (t) => {
  t.same([0, 1, 1023, 1024, 1536, 1_048_576, 1_073_741_824].map(formatSize), ["0B", "1B", "1023B", "1KiB", "1536B", "1MiB", "1GiB"]);
  for (const wrong of [-1, 0.5, Number.NaN]) t.throws(() => formatSize(wrong), RangeError);
  const random = createSeededRandom(2);
  for (let round = 0; round < 2000; round++) {
    const bytes = random.below(10 ** random.below(14));
    if (parseSizeBytes(formatSize(bytes)) !== bytes) t.fail(`${bytes} came back differently`);
  }
});
