// What may be the value of a field: the same said of octets and of a text, at every length and place in a word.
import t from "tap";
import { isFieldValue, isValueIn } from "../../../../sidecar/http2/hpack/field-value.ts";
import { createSeededRandom } from "../../../support/seeded-random.ts";

/** As RFC 9113 section 8.2.1 and RFC 9110 section 5.5 say it. */
const GOOD = /^(?:[\x21-\x7e\x80-\xff](?:[\t\x20-\x7e\x80-\xff]*[\x21-\x7e\x80-\xff])?)?$/;

/** Asks of the octets within a longer buffer, whose other octets are no good. */
function isGoodWithin(text: string, from: number): boolean {
  const bytes = Buffer.alloc(from + text.length + 3, 0);
  bytes.write(text, from, "latin1");
  return isValueIn(bytes, from, from + text.length);
}

t.test("each octet alone, within and at both ends of values of 0 to 12 octets", async (t) => {
  for (let length = 0; length <= 12; length += 1)
    for (let place = 0; place < Math.max(1, length); place += 1)
      for (let octet = 0; octet < 256; octet += 1) {
        const text =
          "x".repeat(length).slice(0, place) + (length === 0 ? "" : String.fromCharCode(octet)) + "x".repeat(length).slice(place + 1);
        const expected = GOOD.test(text);
        const from = octet % 4;
        if (isFieldValue(text) !== expected || isGoodWithin(text, from) !== expected) t.fail(`${JSON.stringify(text)} at ${from}`);
      }
});

t.test("values of octets that are nearly controls", async (t) => {
  const random = createSeededRandom(7);
  const octets = [0x00, 0x08, 0x09, 0x0a, 0x1f, 0x20, 0x21, 0x7e, 0x7f, 0x80, 0x9f, 0xa0, 0xff];
  let good = 0;
  for (let round = 0; round < 50_000; round += 1) {
    const usual = round % 2 === 0 ? octets.filter((octet) => octet === 0x09 || (octet >= 0x20 && octet !== 0x7f)) : octets;
    let text = "";
    for (let length = random.below(20); text.length < length; ) text += String.fromCharCode(random.pick(usual));
    const expected = GOOD.test(text);
    if (expected) good += 1;
    if (isFieldValue(text) !== expected || isGoodWithin(text, round % 4) !== expected) t.fail(JSON.stringify(text));
  }
  t.ok(good > 10_000, `${good} of them are good`);
});

t.test("buffers in turn, and parts of one", async (t) => {
  const all = Buffer.from("good value\u0000bad");
  const [good, bad] = [all.subarray(0, 10), all.subarray(10)];
  for (let round = 0; round < 3; round += 1) {
    t.ok(isValueIn(good, 0, good.length));
    t.notOk(isValueIn(bad, 0, bad.length));
    t.ok(isValueIn(bad, 1, bad.length));
  }
});
