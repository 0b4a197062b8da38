// Requests that break a row about the framing of their body, or about the body itself.
import { FORBIDDEN_TRAILERS, LIMITS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { bodies, get, HOST, head, heads, post, type RequestVector, trailers } from "./request-vector.ts";

/** Vectors by row. */
export const REQUEST_BODY_VECTORS = {
  content_length_and_transfer_encoding: heads(
    post("Content-Length: 5", "Transfer-Encoding: chunked"),
    post("Transfer-Encoding: chunked", "Content-Length: 0"),
    post("transfer-encoding: CHUNKED", "content-length: 15"),
  ),
  content_length_repeated: heads(
    get("Content-Length: 0", "Content-Length: 0"),
    post("Content-Length: 5", "Content-Length: 6"),
    post("Content-Length: 5", "content-length: 5"),
    post("Content-Length: 5, 5"),
    post("Content-Length: 5, 6"),
    post("Content-Length: 5,5"),
  ),
  content_length_invalid: heads(
    ...[
      "",
      "+5",
      "-5",
      "-0",
      "0x5",
      "5 5",
      "5.0",
      "5e0",
      "a",
      "5a",
      "\xb2",
      "5;",
      "0b1",
      "1_0",
      "9007199254740992",
      "18446744073709551621",
      `${"9".repeat(400)}`,
    ].map((length) => post(`Content-Length: ${length}`)),
  ),
  transfer_encoding_repeated: heads(
    post("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
    post("Transfer-Encoding: chunked", "transfer-encoding: identity"),
    post("Transfer-Encoding: gzip", "Transfer-Encoding: chunked"),
  ),
  transfer_encoding_not_chunked: heads(
    ...[
      "",
      "identity",
      "gzip",
      "gzip, chunked",
      "chunked, chunked",
      "chunked, identity",
      "chunked, gzip",
      "chunked;a=b",
      "xchunked",
      "chunkedx",
      '"chunked"',
      "chunked,",
      ", chunked",
      "chun ked",
      "cow",
    ].map((coding) => post(`Transfer-Encoding: ${coding}`)),
  ),
  transfer_encoding_in_http_1_0: heads(
    `${head("POST /bad HTTP/1.0", HOST, "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`,
    `${head("POST /bad HTTP/1.0", HOST, "Connection: keep-alive", "Transfer-Encoding: chunked")}5\r\nhello\r\n0\r\n\r\n`,
  ),
  connect_with_content: heads(
    `${head("CONNECT orders:80 HTTP/1.1", "Host: orders:80", "Content-Length: 5")}hello`,
    `${head("CONNECT orders:80 HTTP/1.1", "Host: orders:80", "Transfer-Encoding: chunked")}0\r\n\r\n`,
  ),

  chunk_size_missing: bodies("\r\nhello\r\n0\r\n\r\n", ";a=b\r\nhello\r\n0\r\n\r\n", "5\r\nhello\r\n\r\n\r\n"),
  chunk_size_invalid: bodies(
    ...["0x5", "+5", "-5", " 5", "5 ", "\t5", "5\t", "5 ;a", "g", "5g", "5,", "5.0", "5\x00", "\x005", "5 5", "0X5", "5h", '"5"'].map(
      (size) => `${size}\r\nhello\r\n0\r\n\r\n`,
    ),
    "5\r\nhello\r\n0x0\r\n\r\n",
    "5\r\nhello\r\n 0\r\n\r\n",
    "5\r\nhello\r\n0 \r\n\r\n",
    "5\r\nhello\r\n-0\r\n\r\n",
  ),
  chunk_size_too_large: bodies(
    ...["20000000000000", "FFFFFFFFFFFFFFFF", "10000000000000005", "00000000000000005", `${"f".repeat(40)}`, `${"0".repeat(100)}5`].map(
      (size) => `${size}\r\nhello\r\n0\r\n\r\n`,
    ),
  ),
  chunk_extension_invalid: bodies(
    "5;a\x00b\r\nhello\r\n0\r\n\r\n",
    "5;a=\x01\r\nhello\r\n0\r\n\r\n",
    "5;a=\x7f\r\nhello\r\n0\r\n\r\n",
    '5;a="b\rc"\r\nhello\r\n0\r\n\r\n',
    '5;a="b\nc"\r\nhello\r\n0\r\n\r\n',
    "5;a\nhello\r\n0\r\n\r\n",
    "5\r\nhello\r\n0;a\n\r\n",
  ),
  chunk_extension_too_long: bodies(
    `5;${"a".repeat(LIMITS.chunkExtensionBytes)}\r\nhello\r\n0\r\n\r\n`,
    `${`1;${"a".repeat(200)}\r\nx\r\n`.repeat(Math.ceil(LIMITS.bodyExtensionBytes / 200))}0\r\n\r\n`,
    `5\r\nhello\r\n0;${"a".repeat(20_000)}\r\n\r\n`,
  ),
  chunk_end_missing: bodies(
    "5\r\nhello0\r\n\r\n",
    "5\r\nhelloworld\r\n0\r\n\r\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\r\nhello\r0\r\n\r\n",
    "5\r\nhello\rx0\r\n\r\n",
    "4\r\nhello\r\n0\r\n\r\n",
    "6\r\nhello\r\n0\r\n\r\n",
  ),
  trailer_forbidden: trailers(...[...FORBIDDEN_TRAILERS].map((name) => `${name}: a`), "Transfer-Encoding: chunked", "CONTENT-LENGTH: 5"),
} as const satisfies Partial<Record<StrictnessRule, readonly RequestVector[]>>;
