// What the vectors of `request-vectors.ts` are made of.

/** Bytes (latin1) that no app may see as a request. */
export interface RequestVector {
  readonly bytes: string;
  /** True when the head is fine and may be forwarded before the fault is seen: then no app may see the request's end. */
  readonly late: boolean;
}

/** A request line and fields, with the empty line. */
export function head(line: string, ...fields: string[]): string {
  return [line, ...fields, "", ""].join("\r\n");
}

/** What most vectors are made of. */
export const GET = "GET /bad HTTP/1.1";
const POST = "POST /bad HTTP/1.1";
export const HOST = "Host: orders";

/** A GET with these fields behind Host. */
export function get(...fields: string[]): string {
  return head(GET, HOST, ...fields);
}

/** A POST with these fields behind Host, and something that is a chunked body and five bytes of another. */
export function post(...fields: string[]): string {
  return `${head(POST, HOST, ...fields)}5\r\nhello\r\n0\r\n\r\n`;
}

/** Vectors that are refused by their head. */
export function heads(...bytes: string[]): RequestVector[] {
  return bytes.map((each) => ({ bytes: each, late: false }));
}

/** A chunked request whose body is `body`. */
export function bodies(...body: string[]): RequestVector[] {
  return body.map((each) => ({ bytes: head("POST /late HTTP/1.1", HOST, "Transfer-Encoding: chunked") + each, late: true }));
}

/** Chunked requests with these trailer sections. */
export function trailers(...lines: string[]): RequestVector[] {
  return bodies(...lines.map((line) => `5\r\nhello\r\n0\r\n${line}\r\n\r\n`));
}

/** That many lines. */
export function many(count: number, make: (index: number) => string): string[] {
  return Array.from({ length: count }, (_, index) => make(index));
}
