import t from "tap";
import { formatPercentage, parsePercentage } from "../../core/percentage.ts";

t.test("a share needs its sign, and is between nothing and all", async (t) => {
  t.equal(parsePercentage("20%"), 0.2);
  t.equal(parsePercentage("0%"), 0);
  t.equal(parsePercentage("100%"), 1);
  for (const text of ["0%", "12.5%", "20%", "33.333%", "100%"]) t.equal(formatPercentage(parsePercentage(text)), text);
  for (const text of ["20", "0.2", "101%", "-1%", "%", "1e1%", "20 %"]) t.throws(() => parsePercentage(text), RangeError, text);
});
