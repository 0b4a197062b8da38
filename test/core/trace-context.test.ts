// Cases follow https://www.w3.org/TR/trace-context/ section 3.2 and its test suite.
import t from "tap";
import { parseTraceparent } from "../../core/trace-context.ts";

const TRACE = "0af7651916cd43dd8448eb211c80319c";
const SPAN = "b7ad6b7169203331";

t.test("a valid field is read", async (t) => {
  const text = `00-${TRACE}-${SPAN}-01`;
  const context = parseTraceparent(text);
  t.strictSame(context, { traceId: TRACE, spanId: SPAN, sampled: true });
  t.equal(parseTraceparent(`00-${TRACE}-${SPAN}-00`)?.sampled, false);
  for (let flags = 0; flags < 256; flags++) {
    const field = `00-${TRACE}-${SPAN}-${flags.toString(16).padStart(2, "0")}`;
    if (parseTraceparent(field)?.sampled !== (flags % 2 === 1)) t.fail(`only the lowest bit counts: ${field}`);
  }
});

t.test("a later version is read as far as version 00 goes", async (t) => {
  t.equal(parseTraceparent(`01-${TRACE}-${SPAN}-01-what-comes`)?.traceId, TRACE);
  t.equal(parseTraceparent(`cc-${TRACE}-${SPAN}-01`)?.traceId, TRACE);
  t.equal(parseTraceparent(`cc-${TRACE}-${SPAN}-01.what`), null, "what follows must begin with a dash");
  t.equal(parseTraceparent(`00-${TRACE}-${SPAN}-01-more`), null, "version 00 has nothing more");
});

t.test("an invalid field counts as none", async (t) => {
  const wrong = [
    undefined,
    null,
    "",
    "00",
    `ff-${TRACE}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00_${TRACE}-${SPAN}-01`,
    `00-${TRACE}_${SPAN}-01`,
    `00-${TRACE}-${SPAN}_01`,
    `00-${TRACE}-${SPAN}-0`,
    `00-${TRACE}-${SPAN}-0x`,
    ` 00-${TRACE}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-01 `,
    `0g-${TRACE}-${SPAN}-01`,
    `01-${TRACE}-${SPAN}-01-${"x".repeat(5000)}`,
  ];
  for (const text of wrong) t.equal(parseTraceparent(text), null, JSON.stringify(text)?.slice(0, 80));
});
