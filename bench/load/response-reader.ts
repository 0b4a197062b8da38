// Finds where each HTTP/1.1 response ends, and whether its status is 2xx: as much as a load generator needs, for answers with Content-Length or
// chunked framing. Anything else is an error, since the load means nothing then.

const MAX_HEAD_BYTES = 16_384;
const HEAD_END = Buffer.from("\r\n\r\n");
/** The end of a chunked body without trailers. */
const LAST_CHUNK = Buffer.from("0\r\n\r\n");

/** Makes a reader: call it with what comes from a connection; it calls `complete` at the end of each response. Throws on what it cannot read. */
export function createResponseReader(complete: (ok: boolean) => void): (bytes: Buffer) => void {
  /** Bytes of a head, or of chunks, that is not complete. */
  let kept: Buffer = Buffer.alloc(0);
  /** Of a body with Content-Length. */
  let bodyBytesLeft = 0;
  let chunked = false;
  let ok = false;

  function readHead(bytes: Buffer): Buffer | null {
    const end = bytes.indexOf(HEAD_END);
    if (end === -1) {
      if (bytes.length > MAX_HEAD_BYTES) throw new Error("a response head that does not end");
      return null;
    }
    const head = bytes.toString("latin1", 0, end);
    const [, status = ""] = /^HTTP\/1\.1 (\d{3}) /.exec(head) ?? [];
    const [, length] = /\r\ncontent-length: *(\d+)/i.exec(head) ?? [];
    chunked = length === undefined && /\r\ntransfer-encoding: *chunked/i.test(head);
    if (status === "" || (length === undefined && !chunked)) throw new Error(`a response without an end: ${head.slice(0, 200)}`);
    ok = status.startsWith("2");
    bodyBytesLeft = Number(length ?? 0);
    return bytes.subarray(end + HEAD_END.length);
  }

  /** What follows the chunks; null while they go on. */
  function readChunks(bytes: Buffer): Buffer | null {
    let at = 0;
    for (;;) {
      const lineEnd = bytes.indexOf("\r\n", at);
      if (lineEnd === -1) return null;
      const size = Number.parseInt(bytes.toString("latin1", at, lineEnd), 16);
      if (Number.isNaN(size)) throw new Error("a chunk without a size");
      if (size === 0) return bytes.length < at + LAST_CHUNK.length ? null : bytes.subarray(at + LAST_CHUNK.length);
      at = lineEnd + 2 + size + 2;
      if (at >= bytes.length) return null;
    }
  }

  let inBody = false;
  return (bytes) => {
    let rest: Buffer | null = kept.length === 0 ? bytes : Buffer.concat([kept, bytes]);
    while (rest !== null && (rest.length > 0 || inBody)) {
      if (!inBody) {
        const body: Buffer | null = readHead(rest);
        if (body === null) break;
        inBody = true;
        rest = body;
      }
      if (chunked) {
        const after: Buffer | null = readChunks(rest);
        if (after === null) break;
        rest = after;
      } else {
        const taken = Math.min(bodyBytesLeft, rest.length);
        bodyBytesLeft -= taken;
        rest = rest.subarray(taken);
        if (bodyBytesLeft > 0) break;
      }
      inBody = false;
      complete(ok);
    }
    kept = rest === null || rest.length === 0 ? Buffer.alloc(0) : Buffer.from(rest); // the read buffer is used again
  };
}
