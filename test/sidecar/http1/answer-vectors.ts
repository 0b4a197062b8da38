// Answers of an app that break a row of `sidecar/http1/strictness.ts`, byte by byte, each to a plain GET.
import { FORBIDDEN_TRAILERS, LIMITS, STRICTNESS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";

/** Bytes (latin1) that an app answers with, after which it ends its connection. */
export interface AnswerVector {
  readonly bytes: string;
  /**
   * What the client gets: `refused` is a 502 without any of the bytes; `cut` is the same, or the head and an answer that is visibly cut off;
   * `whole` is the valid answer before the fault, and the fault does no harm.
   */
  readonly outcome: "refused" | "cut" | "whole";
}

/** The rows that are looked for in answers. */
export const ANSWER_RULES = (Object.keys(STRICTNESS) as StrictnessRule[]).filter((rule) => STRICTNESS[rule].where !== "request");

function head(line: string, ...fields: string[]): string {
  return [line, ...fields, "", ""].join("\r\n");
}

function ok(...fields: string[]): string {
  return `${head("HTTP/1.1 200 BAD", ...fields)}hello`;
}

function okWithLength(...fields: string[]): string {
  return ok("Content-Length: 5", ...fields);
}

function refused(...bytes: string[]): AnswerVector[] {
  return bytes.map((each) => ({ bytes: each, outcome: "refused" }));
}

function bodies(...body: string[]): AnswerVector[] {
  return body.map((each) => ({ bytes: head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked") + each, outcome: "cut" }));
}

function trailers(...lines: string[]): AnswerVector[] {
  return bodies(...lines.map((line) => `5\r\nhello\r\n0\r\n${line}\r\n\r\n`));
}

function many(count: number, make: (index: number) => string): string[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** Vectors by row. A test holds that no row of {@link ANSWER_RULES} is without. */
export const ANSWER_VECTORS: Partial<Record<StrictnessRule, readonly AnswerVector[]>> = {
  version_unknown: refused(
    ...["HTTP/0.9", "HTTP/1.2", "HTTP/2.0"].map((version) => `${head(`${version} 200 BAD`, "Content-Length: 5")}hello`),
  ),
  status_line_malformed: refused(
    "hello BAD",
    "SSH-2.0-OpenSSH_9 BAD\r\n\r\n",
    ...[
      "HTTP/1.1",
      "HTTP/1.1 ",
      "HTTP/1.1  200 BAD",
      "HTTP/1.1\t200 BAD",
      " HTTP/1.1 200 BAD",
      "http/1.1 200 BAD",
      "HTTP/1 200 BAD",
      "HTTP/1.1 200BAD",
      "HTTP/1.1 200\tBAD",
      "ICY 200 BAD",
      "HTTP/1.1 200 B\x00D",
      "HTTP/1.1 200 B\x01D",
      "HTTP/1.1 200 B\x7fD",
      "\r\nHTTP/1.1 200 BAD",
    ].map((line) => `${head(line, "Content-Length: 5")}hello`),
  ),
  status_invalid: refused(
    ...["000", "099", "600", "999", "20", "2000", "20x", "-20", "+20", "2 0", "0x2"].map(
      (status) => `${head(`HTTP/1.1 ${status} BAD`, "Content-Length: 5")}hello`,
    ),
  ),

  bare_cr: refused(okWithLength("X: BAD\rb"), `HTTP/1.1 200 BAD\rContent-Length: 5\r\n\r\nhello`).concat(trailers("X: BAD\rb")),
  bare_lf: refused(
    "HTTP/1.1 200 BAD\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 BAD\r\nContent-Length: 5\n\r\nhello",
    "HTTP/1.1 200 BAD\r\nContent-Length: 5\r\n\nhello",
    "HTTP/1.1 200 BAD\nContent-Length: 5\n\nhello",
    okWithLength("X: BAD\nY: b"),
  ).concat(trailers("X: BAD\nY: b"), bodies("5\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n0\n\r\n", "5\r\nhello\r\n0\r\n\n")),
  leading_whitespace: refused(
    `${head("HTTP/1.1 200 BAD", " Content-Length: 5")}hello`,
    `${head("HTTP/1.1 200 BAD", "\tX: y", "Content-Length: 5")}hello`,
  ),
  obs_fold: refused(okWithLength("X: BAD", " b"), okWithLength("X: BAD", "\tb"), ok("Content-Length:", " 5")).concat(
    trailers("X: BAD\r\n b"),
  ),
  space_before_colon: refused(okWithLength("X : BAD"), ok("Content-Length : 5"), ok("Transfer-Encoding : chunked")).concat(
    trailers("X : BAD"),
  ),
  field_name_empty: refused(okWithLength(": BAD"), okWithLength(":")).concat(trailers(": BAD")),
  field_name_invalid: refused(
    ...["X", "X Y: BAD", "X\x00: BAD", "X(: BAD", "X\x80: BAD", '"X": BAD', "X/Y: BAD"].map((line) => okWithLength(line)),
  ).concat(trailers("X", "X Y: BAD")),
  field_value_invalid: refused(
    ...["\x00", "\x01", "\x08", "\x0b", "\x1f", "\x7f"].map((control) => okWithLength(`X: BAD${control}b`)),
  ).concat(trailers("X: BAD\x00b")),
  too_many_fields: refused(okWithLength(...many(LIMITS.fields, (index) => `X-${index}: y`))).concat(
    trailers(many(LIMITS.fields + 1, (index) => `X-${index}: y`).join("\r\n")),
  ),
  head_too_large: refused(okWithLength(`X: ${"a".repeat(LIMITS.headBytes)}`)).concat(trailers(`X: ${"a".repeat(LIMITS.headBytes)}`)),

  content_length_and_transfer_encoding: refused(
    `${head("HTTP/1.1 200 BAD", "Content-Length: 5", "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`,
    `${head("HTTP/1.1 200 BAD", "Transfer-Encoding: chunked", "Content-Length: 0")}5\r\nhello\r\n0\r\n\r\n`,
  ),
  content_length_repeated: refused(
    okWithLength("Content-Length: 5"),
    okWithLength("content-length: 6"),
    ok("Content-Length: 5, 5"),
    ok("Content-Length: 5,6"),
  ),
  content_length_invalid: refused(
    ...["", "+5", "-5", "0x5", "5 5", "5.0", "a", "9007199254740992", "18446744073709551621"].map((length) =>
      ok(`Content-Length: ${length}`),
    ),
  ),
  transfer_encoding_repeated: refused(
    `${head("HTTP/1.1 200 BAD", "Transfer-Encoding: chunked", "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`,
    `${head("HTTP/1.1 200 BAD", "Transfer-Encoding: gzip", "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`,
  ),
  transfer_encoding_not_chunked: refused(
    ...["", "identity", "gzip", "gzip, chunked", "chunked, chunked", "chunked, gzip", "chunked;a=b", "xchunked"].map(
      (coding) => `${head("HTTP/1.1 200 BAD", `Transfer-Encoding: ${coding}`)}5\r\nhello\r\n0\r\n\r\n`,
    ),
  ),
  transfer_encoding_in_http_1_0: refused(`${head("HTTP/1.0 200 BAD", "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`),
  bodiless_with_content: refused(
    head("HTTP/1.1 204 BAD", "Content-Length: 5"),
    `${head("HTTP/1.1 204 BAD", "Transfer-Encoding: chunked")}0\r\n\r\n`,
    `${head("HTTP/1.1 103 BAD", "Content-Length: 5")}hello${head("HTTP/1.1 200 BAD", "Content-Length: 0")}`,
    `${head("HTTP/1.1 103 BAD", "Transfer-Encoding: chunked")}0\r\n\r\n${head("HTTP/1.1 200 BAD", "Content-Length: 0")}`,
  ),
  switching_not_asked: refused(
    head("HTTP/1.1 101 BAD", "Connection: upgrade", "Upgrade: websocket"),
    `${head("HTTP/1.1 101 BAD", "Connection: upgrade", "Upgrade: websocket")}${head("HTTP/1.1 200 BAD", "Content-Length: 0")}`,
  ),
  answer_not_asked: [
    `${head("HTTP/1.1 200 OK", "Content-Length: 2")}ok${head("HTTP/1.1 200 BAD", "Content-Length: 3")}BAD`,
    `${head("HTTP/1.1 200 OK", "Content-Length: 2")}okBAD`,
    `${head("HTTP/1.1 200 OK", "Transfer-Encoding: chunked")}2\r\nok\r\n0\r\n\r\n${head("HTTP/1.1 200 BAD", "Content-Length: 3")}BAD`,
  ].map((bytes) => ({ bytes, outcome: "whole" })),
  answer_cut_off: [
    ...refused(
      "",
      "H",
      "HTTP/1.1 200 BAD",
      "HTTP/1.1 200 BAD\r\nContent-Le",
      "HTTP/1.1 200 BAD\r\nContent-Length: 0\r\n",
      head("HTTP/1.1 100 Continue"),
    ),
    ...["", "h", "hell"].map((part) => ({ bytes: `${head("HTTP/1.1 200 OK", "Content-Length: 5")}${part}`, outcome: "cut" }) as const),
    ...bodies("", "5", "5\r\nhel", "5\r\nhello\r\n", "5\r\nhello\r\n0", "5\r\nhello\r\n0\r\n", "5\r\nhello\r\n0\r\nX: y\r\n"),
  ],

  chunk_size_missing: bodies("\r\nhello\r\n0\r\n\r\n", ";BAD\r\nhello\r\n0\r\n\r\n"),
  chunk_size_invalid: bodies(
    ...["0x5", "+5", "-5", " 5", "5 ", "5\t", "g", "5g", "5 ;a", "5\x00"].map((size) => `${size}\r\nhello\r\n0\r\n\r\n`),
    "5\r\nhello\r\n0x0\r\n\r\n",
  ),
  chunk_size_too_large: bodies(
    ...["20000000000000", "FFFFFFFFFFFFFFFF", "10000000000000005"].map((size) => `${size}\r\nhello\r\n0\r\n\r\n`),
  ),
  chunk_extension_invalid: bodies("5;a\x00b\r\nhello\r\n0\r\n\r\n", '5;a="b\nc"\r\nhello\r\n0\r\n\r\n'),
  chunk_extension_too_long: bodies(
    `5;${"a".repeat(LIMITS.chunkExtensionBytes)}\r\nhello\r\n0\r\n\r\n`,
    `${`1;${"a".repeat(200)}\r\nx\r\n`.repeat(Math.ceil(LIMITS.bodyExtensionBytes / 200))}0\r\n\r\n`,
  ),
  chunk_end_missing: bodies("5\r\nhello0\r\n\r\n", "5\r\nhelloworld\r\n0\r\n\r\n", "5\r\nhello\n0\r\n\r\n", "6\r\nhello\r\n0\r\n\r\n"),
  trailer_forbidden: trailers(...[...FORBIDDEN_TRAILERS].map((name) => `${name}: BAD`)),
};
