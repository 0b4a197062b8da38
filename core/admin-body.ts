// Reads a request's body up to a bound. A body that is larger is not read to its end: the answer closes the connection.
import type { IncomingMessage } from "node:http";

class TooLargeError extends Error {}

/** True for what {@link readBody} raises when the bound is passed. */
export function isTooLarge(error: unknown): error is Error {
  return error instanceof TooLargeError;
}

/** The whole body, at most `maxBytes`. Raises {@link isTooLarge} errors above, and an Error when the client leaves before its end. */
export function readBody(request: IncomingMessage, maxBytes: number): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const tooLarge = () => new TooLargeError(`The body may have at most ${maxBytes} bytes.`);
    if (Number(request.headers["content-length"] ?? 0) > maxBytes) return reject(tooLarge());
    const chunks: Buffer[] = [];
    let length = 0;
    request.on("data", (chunk: Buffer) => {
      length += chunk.length;
      if (length > maxBytes) {
        request.pause();
        request.removeAllListeners("data");
        reject(tooLarge());
      } else chunks.push(chunk);
    });
    request.once("end", () => resolve(Buffer.concat(chunks)));
    request.once("error", reject);
    request.once("close", () => reject(new Error("the client left before the end of its body")));
  });
}
