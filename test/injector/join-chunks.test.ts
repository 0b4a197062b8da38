import { randomBytes } from "node:crypto";
import t from "tap";
import { createJoin } from "../../injector/webhook/join-chunks.ts";

const MAX_BYTES = 1024 * 1024;

t.test("whatever the pieces, together they are the body", async (t) => {
  const join = createJoin(MAX_BYTES);
  for (const sizes of [[], [0], [7], [3, 4], [0, 16_384, 0], [64 * 1024, 1], Array.from({ length: 64 }, () => 16_384), [MAX_BYTES, 1]]) {
    const chunks = sizes.map((size) => randomBytes(size));
    t.ok(join(chunks).equals(Buffer.concat(chunks)), `${sizes.length} of ${sizes[0]} bytes`);
  }
});

t.test("large bodies are put together in one place, small ones and those that came whole are not moved there", async (t) => {
  const join = createJoin(MAX_BYTES);
  const large = () => join([randomBytes(500_000), randomBytes(500_000)]);
  const first = large();
  t.equal(large().buffer, first.buffer);
  t.not(join([randomBytes(10), randomBytes(10)]).buffer, first.buffer);
  const whole = randomBytes(500_000);
  t.equal(join([whole]), whole);
});
