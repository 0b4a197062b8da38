import t from "tap";
import { createFrameReader, FLAG, FRAME } from "../../bench/load/frame-reader.ts";

const SETTINGS = Buffer.from([0, 0, 6, FRAME.settings, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0]);
const DATA = Buffer.from([0, 0, 5, FRAME.data, 0, 0, 0, 0, 1, ...Buffer.from("hello")]);
const EMPTY = Buffer.from([0, 0, 0, FRAME.data, FLAG.endStream, 0, 0, 0, 1]);

t.test("frames end where they end, wherever the bytes are split", async (t) => {
  const stream = Buffer.concat([SETTINGS, DATA, EMPTY, SETTINGS]);
  for (let size = 1; size <= stream.length; size += 1) {
    let bytes = 0;
    const seen: string[] = [];
    const read = createFrameReader({
      data: (some) => (bytes += some),
      frame: (type, flags, streamId, payload) => seen.push(`${type} ${flags} ${streamId} ${payload.toString("hex")}`),
    });
    for (let at = 0; at < stream.length; at += size) read(Buffer.from(stream.subarray(at, at + size)));
    t.same(seen, ["4 0 0 000400010000", "0 0 1 ", "0 1 1 ", "4 0 0 000400010000"], `in pieces of ${size}`);
    t.equal(bytes, 5);
  }
});

t.test("a frame longer than allowed is refused", async (t) => {
  const read = createFrameReader({ data: () => {}, frame: () => {} });
  t.throws(() => read(Buffer.from([0, 0x40, 1, FRAME.data, 0, 0, 0, 0, 1])), /16385 bytes, 16384 are allowed/);
});
