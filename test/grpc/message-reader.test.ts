import t from "tap";
import { framed } from "../../core/wire/server-call.ts";
import { type MessageFlaw, MessageReader } from "../../grpc/message-reader.ts";
import { createSeededRandom } from "../support/seeded-random.ts";

const MAX_BYTES = 1000;

function reading() {
  const messages: string[] = [];
  const flaws: [MessageFlaw, number][] = [];
  const reader = new MessageReader(
    {
      onMessage: (bytes, start, end) => void messages.push(bytes.toString("latin1", start, end)),
      onMessageFlaw: (flaw, length) => void flaws.push([flaw, length]),
    },
    MAX_BYTES,
  );
  return { reader, messages, flaws };
}

t.test("messages are the same however their bytes are cut", (t) => {
  const random = createSeededRandom(11);
  for (let round = 0; round < 500; round += 1) {
    const sent = Array.from({ length: 1 + random.below(6) }, () => "m".repeat(Math.floor(random.next() ** 3 * (MAX_BYTES + 1))));
    const bytes = Buffer.concat(sent.map((text) => framed(Buffer.from(text))));
    const { reader, messages, flaws } = reading();
    const most = 1 + random.below(40);
    for (let at = 0; at < bytes.length; ) {
      const end = Math.min(bytes.length, at + 1 + random.below(most));
      const piece = Buffer.from(bytes.subarray(at, end));
      reader.read(piece, 0, piece.length);
      piece.fill(0xff); // as the connection's buffer is written over
      at = end;
    }
    if (messages.join() !== sent.join() || flaws.length > 0 || reader.isUnfinished) {
      t.fail(`round ${round}`, { sent, messages, flaws });
      break;
    }
  }
  t.end();
});

t.test("what may not come is told once, and nothing after it is read", (t) => {
  const tooLarge = framed(Buffer.alloc(MAX_BYTES + 1));
  const compressed = framed(Buffer.from("x"));
  compressed[0] = 1;
  for (const [bytes, flaw] of [
    [tooLarge, ["too_large", MAX_BYTES + 1]],
    [compressed, ["compressed", 1]],
  ] as const) {
    for (const step of [1, 3, 4096]) {
      const { reader, messages, flaws } = reading();
      const whole = Buffer.concat([framed(Buffer.from("first")), bytes, framed(Buffer.from("never"))]);
      for (let at = 0; at < whole.length; at += step) reader.read(whole, at, Math.min(whole.length, at + step));
      t.same(messages, ["first"], `in steps of ${step}`);
      t.same(flaws, [flaw]);
    }
  }
  t.end();
});

t.test("an empty message is a message", (t) => {
  for (const step of [1, 2, 5, 10]) {
    const { reader, messages } = reading();
    const whole = Buffer.concat([framed(Buffer.alloc(0)), framed(Buffer.alloc(0))]);
    for (let at = 0; at < whole.length; at += step) reader.read(whole, at, Math.min(whole.length, at + step));
    t.same(messages, ["", ""], `in steps of ${step}`);
  }
  t.end();
});
