import t from "tap";
import { CertError } from "../../../core/errors.ts";
import type { Der } from "../../../core/x509/der.ts";
import {
  bitString,
  boolean,
  decodeDer,
  encodeDer,
  integer,
  MAX_DER_BYTES,
  octetString,
  oid,
  readBitString,
  readBoolean,
  readNamedBits,
  readOctetString,
  readOid,
  readSequence,
  readSmallInteger,
  sequence,
  tagged,
  time,
} from "../../../core/x509/der.ts";
import { createSeededRandom } from "../../support/seeded-random.ts";
import { mutate } from "./mutate.ts";

const hex = (value: Der) => encodeDer(value).toString("hex");
const malformed = { name: "CertError", code: "malformed" };

t.test("values are written as X.690 says", async (t) => {
  t.equal(hex(integer(Buffer.of(0))), "020100");
  t.equal(hex(integer(Buffer.from("0000ff", "hex"))), "020200ff", "a leading zero keeps it positive, the others go");
  t.equal(hex(boolean(true)), "0101ff");
  t.equal(hex(bitString(Buffer.of(0xa0), 5)), "030205a0");
  t.equal(hex(oid("1.2.840.113549")), "06062a864886f70d");
  t.equal(hex(oid("2.999.3")), "0603883703", "the example of X.690 8.19.5");
  t.equal(hex(sequence(octetString(Buffer.alloc(200)))).slice(0, 12), "3081cb0481c8", "long lengths");
});

t.test("object identifiers survive a round trip, with arcs of any size", async (t) => {
  for (const dotted of ["0.9.2342", "1.2.840.10045.4.3.2", "2.5.29.17", "2.999.3", "2.25.143644473773650172021811821897415980142"]) {
    t.equal(readOid(decodeDer(encodeDer(oid(dotted)), "oid"), "oid"), dotted);
  }
});

t.test("times before 2050 have two digits, later ones four", async (t) => {
  t.equal(
    encodeDer(time(Date.UTC(2049, 11, 31, 23, 59, 59, 999)))
      .toString("latin1")
      .slice(2),
    "491231235959Z",
  );
  t.equal(
    encodeDer(time(Date.UTC(2050, 0, 1)))
      .toString("latin1")
      .slice(2),
    "20500101000000Z",
  );
  t.throws(() => time(-1), RangeError);
  t.throws(() => time(Number.NaN), RangeError);
});

t.test("what is not exactly one canonical value is refused", async (t) => {
  const cases: Record<string, string> = {
    empty: "",
    "one byte": "30",
    "length beyond the end": "300502",
    "bytes left over": "020100ff",
    "indefinite length": "3080020100" + "0000",
    "long form where short is enough": "30810302" + "0100",
    "leading zero in a length": "308200030201" + "00",
    "integer with a spare zero": "02020001",
    "huge length": "3088ffffffffffffffff",
  };
  for (const [name, bytes] of Object.entries(cases)) t.throws(() => decodeDer(Buffer.from(bytes, "hex"), "value"), malformed, name);
  t.throws(() => decodeDer(Buffer.alloc(MAX_DER_BYTES + 1, 0x30), "value"), malformed, "too long");
  const deep = Array.from({ length: 40 }).reduce<Der>((inner) => sequence(inner), integer(Buffer.of(1)));
  t.throws(() => decodeDer(encodeDer(deep), "value"), malformed, "too deep");
});

t.test("readers refuse values of another type", async (t) => {
  const number = integer(Buffer.of(1));
  const readers = [readSequence, readOctetString, readBitString, readNamedBits, readBoolean, readOid];
  for (const read of readers) {
    t.throws(() => read(number, "value"), malformed, read.name);
    t.throws(() => read(undefined, "value"), malformed, `${read.name} of nothing`);
  }
  t.throws(() => readSmallInteger(boolean(true), "value"), malformed);
  t.throws(() => readBitString(bitString(Buffer.of(1), 3), "value"), malformed, "unused bits in a key");
  t.throws(() => readBoolean(decodeDer(Buffer.from("010101", "hex"), "value"), "value"), malformed, "DER knows one TRUE");
  t.throws(() => readOid(decodeDer(Buffer.from("060180", "hex"), "value"), "value"), malformed, "an unfinished arc");
  t.throws(() => readNamedBits(decodeDer(Buffer.from("03020900", "hex"), "value"), "value"), malformed, "nine unused bits");
});

t.test("named bits are counted from the first", async (t) => {
  t.same([...readNamedBits(decodeDer(Buffer.from("03020308", "hex"), "value"), "value")], [4]);
  t.same([...readNamedBits(decodeDer(Buffer.from("030100", "hex"), "value"), "value")], []);
});

t.test("no damaged input does anything but parse or be refused as malformed", async (t) => {
  const random = createSeededRandom(20261121);
  const seed = encodeDer(
    sequence(
      tagged(0, integer(Buffer.of(2))),
      oid("2.5.29.17"),
      bitString(Buffer.from("00ff", "hex")),
      octetString(Buffer.alloc(20, 7)),
      boolean(true),
    ),
  );
  let parsed = 0;
  for (let round = 0; round < 3000; round += 1) {
    const bytes = mutate(seed, random);
    try {
      if (!encodeDer(decodeDer(bytes, "value")).equals(bytes)) t.fail(`not canonical: ${bytes.toString("hex")}`);
      parsed += 1;
    } catch (error) {
      if (!(error instanceof CertError) || error.code !== "malformed")
        t.fail(`round ${round}: ${String(error)} for ${bytes.toString("hex")}`);
    }
  }
  t.ok(parsed > 0, "some damage is harmless");
});
