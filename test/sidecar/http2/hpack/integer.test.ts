import t from "tap";
import { INTEGER_END, integerIn, octetsOf, putInteger, readInteger } from "../../../../sidecar/http2/hpack/integer.ts";

t.test("the examples of RFC 7541 appendix C.1", async (t) => {
  const bytes = Buffer.alloc(8);
  t.equal(putInteger(bytes, 0, 0, 0x1f, 10), 1);
  t.equal(bytes[0], 10);
  t.equal(putInteger(bytes, 0, 0xe0, 0x1f, 1337), 3);
  t.equal(bytes.toString("hex", 0, 3), "ff9a0a");
  t.equal(putInteger(bytes, 0, 0, 0xff, 42), 1);
  t.equal(bytes[0], 42);
});

t.test("numbers come back from every prefix, with the octets they took", async (t) => {
  const bytes = Buffer.alloc(8);
  for (const mask of [0x0f, 0x1f, 0x3f, 0x7f]) {
    for (let value = 0; value < INTEGER_END; value = value < 600 ? value + 1 : Math.floor(value * 1.37)) {
      const end = putInteger(bytes, 0, 0, mask, value);
      const read = readInteger(bytes, 0, end, mask);
      if (integerIn(read) !== value || octetsOf(read) !== end) t.fail(`${value} behind ${mask}`);
      if (readInteger(bytes, 0, end - 1, mask) !== -1 && end > 1) t.fail(`${value} cut, behind ${mask}`);
    }
    const end = putInteger(bytes, 0, 0, mask, INTEGER_END - 1);
    t.equal(integerIn(readInteger(bytes, 0, end, mask)), INTEGER_END - 1);
    t.equal(readInteger(bytes, 0, putInteger(bytes, 0, 0, mask, INTEGER_END), mask), -1);
  }
});
