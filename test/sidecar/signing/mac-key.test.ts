import { createHmac, createSecretKey, randomBytes } from "node:crypto";
import { inspect } from "node:util";
import t from "tap";
import { MacKey, MAC_BLOCK_BYTES, sameTag } from "../../../sidecar/signing/mac-key.ts";

function tag(key: Buffer, message: Buffer): string {
  const mac = new MacKey(createSecretKey(key));
  const frame = mac.frame(message.length);
  frame.set(message, MAC_BLOCK_BYTES);
  return mac.of(frame);
}

t.test("RFC 4231: the published tags", async (t) => {
  const vectors = [
    ["0b".repeat(20), "Hi There", "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"],
    ["4a656665", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"],
  ] as const;
  for (const [key, message, expected] of vectors) {
    t.equal(Buffer.from(tag(Buffer.from(key, "hex"), Buffer.from(message)), "base64").toString("hex"), expected);
  }
});

t.test("the same as node's own, for keys and messages of any length that fits", async (t) => {
  let wrong = 0;
  for (let length = 1; length <= 64; length += 1) {
    const [key, message] = [randomBytes(length), randomBytes(length * 13)];
    if (tag(key, message) !== createHmac("sha256", key).update(message).digest("base64")) wrong += 1;
  }
  t.equal(wrong, 0);
  t.throws(() => new MacKey(createSecretKey(randomBytes(65))), RangeError);
});

t.test("one key makes tags one after the other, and is not printed", async (t) => {
  const bytes = randomBytes(32);
  const mac = new MacKey(createSecretKey(bytes));
  const frame = mac.frame(5);
  for (const text of ["first", "again", "first"]) {
    frame.write(text, MAC_BLOCK_BYTES);
    t.equal(mac.of(frame), createHmac("sha256", bytes).update(text).digest("base64"));
  }
  t.equal(inspect(mac), "MacKey {}");
  t.equal(JSON.stringify(mac), "{}");
});

t.test("a tag has one spelling", async (t) => {
  const expected = randomBytes(32).toString("base64");
  t.ok(sameTag(expected, `:${expected}:`, 1));
  for (const [what, given] of [
    ["nothing", ""],
    ["a letter less", expected.slice(1)],
    ["another first letter", `${expected.startsWith("A") ? "B" : "A"}${expected.slice(1)}`],
    ["without padding", `${expected.slice(0, -1)}A`],
    ["a letter with the same low byte", String.fromCharCode(expected.charCodeAt(0) + 0x100) + expected.slice(1)],
    ["a letter with the high bit", String.fromCharCode(expected.charCodeAt(0) + 0x80) + expected.slice(1)],
  ] as const) {
    t.notOk(sameTag(expected, given, 0), what);
  }
});
