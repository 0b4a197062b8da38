import t from "tap";
import { createResponseReader } from "../../bench/load/response-reader.ts";

const LENGTH = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
const EMPTY = "HTTP/1.1 503 Busy\r\ncontent-length:0\r\n\r\n";
const CHUNKED = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";

t.test("responses end where they end, wherever the bytes are split", async (t) => {
  const stream = Buffer.from(LENGTH + EMPTY + CHUNKED + LENGTH);
  for (let size = 1; size <= stream.length; size += 1) {
    const seen: boolean[] = [];
    const read = createResponseReader((ok) => seen.push(ok));
    const reused = Buffer.alloc(size);
    for (let at = 0; at < stream.length; at += size) {
      const bytes = stream.copy(reused, 0, at, Math.min(at + size, stream.length));
      read(reused.subarray(0, bytes)); // as a socket's read buffer: overwritten by the next read
    }
    t.same(seen, [true, false, true, true], `in pieces of ${size}`);
  }
});

t.test("what has no end is refused", async (t) => {
  t.throws(() => createResponseReader(() => {})(Buffer.from("HTTP/1.1 200 OK\r\n\r\n")), /without an end/);
  t.throws(() => createResponseReader(() => {})(Buffer.from("SSH-2.0-OpenSSH\r\n\r\n")), /without an end/);
  t.throws(() => createResponseReader(() => {})(Buffer.alloc(20_000, "x")), /head that does not end/);
  t.throws(
    () => createResponseReader(() => {})(Buffer.from("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")),
    /chunk without a size/,
  );
});
