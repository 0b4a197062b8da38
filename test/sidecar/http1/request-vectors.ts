// Requests that break a row of `sidecar/http1/strictness.ts`, byte by byte. A vector breaks one row only, so that nothing but that row can refuse it.
import { FORBIDDEN_TRAILERS, LIMITS, STRICTNESS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";

/** Bytes (latin1) that no app may see as a request. */
export interface RequestVector {
  readonly bytes: string;
  /** True when the head is fine and may be forwarded before the fault is seen: then no app may see the request's end. */
  readonly late: boolean;
}

/** The rows that are looked for in requests. */
export const REQUEST_RULES = (Object.keys(STRICTNESS) as StrictnessRule[]).filter((rule) => STRICTNESS[rule].where !== "response");

/** A request line and fields, with the empty line. */
function head(line: string, ...fields: string[]): string {
  return [line, ...fields, "", ""].join("\r\n");
}

const GET = "GET /bad HTTP/1.1";
const POST = "POST /bad HTTP/1.1";
const HOST = "Host: orders";

function get(...fields: string[]): string {
  return head(GET, HOST, ...fields);
}

function post(...fields: string[]): string {
  return `${head(POST, HOST, ...fields)}5\r\nhello\r\n0\r\n\r\n`;
}

function heads(...bytes: string[]): RequestVector[] {
  return bytes.map((each) => ({ bytes: each, late: false }));
}

/** A chunked request whose body is `body`. */
function bodies(...body: string[]): RequestVector[] {
  return body.map((each) => ({ bytes: head("POST /late HTTP/1.1", HOST, "Transfer-Encoding: chunked") + each, late: true }));
}

function trailers(...lines: string[]): RequestVector[] {
  return bodies(...lines.map((line) => `5\r\nhello\r\n0\r\n${line}\r\n\r\n`));
}

function many(count: number, make: (index: number) => string): string[] {
  return Array.from({ length: count }, (_, index) => make(index));
}

/** Vectors by row. A test holds that no row of {@link REQUEST_RULES} is without. */
export const REQUEST_VECTORS: Partial<Record<StrictnessRule, readonly RequestVector[]>> = {
  blank_line_before_request: heads(`\r\n${get()}`, `\r\n\r\n${get()}`),
  request_line_malformed: heads(head("GET  /bad HTTP/1.1", HOST), head(" GET /bad HTTP/1.1", HOST), head("GET\t/bad HTTP/1.1", HOST)),
  method_invalid: heads(
    head("G(T /bad HTTP/1.1", HOST),
    head("GET\x00 /bad HTTP/1.1", HOST),
    head("GET: /bad HTTP/1.1", HOST),
    head("G\xc9T /bad HTTP/1.1", HOST),
    head(`${"M".repeat(LIMITS.methodBytes + 1)} /bad HTTP/1.1`, HOST),
  ),
  http_0_9: heads("GET /bad\r\n", "GET /bad\r\nHost: orders\r\n\r\n"),
  version_malformed: heads(
    ...[
      "http/1.1",
      "HTTP/1",
      "HTTP/1.",
      "HTTP/11",
      "HTTP/1.10",
      "HTTP/01.1",
      "HTTP/a.b",
      "HTTP 1.1",
      "HTTPS/1.1",
      "HTTP/1.1 ",
      "HTTP/1.1x",
      "HTTP/+1.1",
    ].map((version) => head(`GET /bad ${version}`, HOST)),
    head("GET /bad  HTTP/1.1", HOST),
  ),
  version_unknown: heads(
    ...["HTTP/0.9", "HTTP/1.2", "HTTP/1.9", "HTTP/2.0", "HTTP/3.0", "HTTP/9.9"].map((version) => head(`GET /bad ${version}`, HOST)),
  ),

  target_too_long: heads(head(`GET /bad${"a".repeat(LIMITS.targetBytes)} HTTP/1.1`, HOST)),
  target_invalid: heads(
    ...["/bad\x00", "/ba\td", "/bad\x01", "/bad\x7f", "/bad\x80", "/b\xc3\xa4d", "/bad\xff"].map((target) =>
      head(`GET ${target} HTTP/1.1`, HOST),
    ),
  ),
  target_form: heads(
    ...[
      "bad",
      "*bad",
      "*",
      "bad/",
      "?bad",
      "orders:80",
      "ftp://orders/bad",
      "http:/bad",
      "http:bad",
      "http:///bad",
      "http://",
      "://orders/bad",
    ].map((target) => head(`GET ${target} HTTP/1.1`, HOST)),
    head("OPTIONS *bad HTTP/1.1", HOST),
    ...["/bad", "orders", "orders:", "orders:0x50", "orders:65536", "http://orders:80/bad", "*", "[::1", "orders:80/bad", ":80"].map(
      (target) => head(`CONNECT ${target} HTTP/1.1`, HOST),
    ),
  ),
  target_fragment: heads(
    head("GET /bad#x HTTP/1.1", HOST),
    head("GET /bad?a#x HTTP/1.1", HOST),
    head("GET http://orders/bad#x HTTP/1.1", HOST),
  ),
  target_userinfo: heads(
    head("GET http://user@orders/bad HTTP/1.1", HOST),
    head("GET http://user:pass@orders/bad HTTP/1.1", HOST),
    head("GET http://@orders/bad HTTP/1.1", HOST),
    head("CONNECT user@orders:80 HTTP/1.1", "Host: orders:80"),
  ),

  host_missing: heads(head(GET), head(GET, "X-Host: orders"), head("GET http://orders/bad HTTP/1.1", "Accept: */*")),
  host_repeated: heads(
    get(HOST),
    get("host: other"),
    head(GET, HOST, "Accept: */*", "HOST: orders"),
    head("GET /bad HTTP/1.0", HOST, HOST),
  ),
  host_invalid: heads(
    ...[
      "",
      "a b",
      "orders, other",
      "user@orders",
      "user:pass@orders",
      "orders/bad",
      "http://orders",
      "orders:port",
      "orders:65536",
      "orders:-1",
      "orders:80:80",
    ].map((host) => head(GET, `Host: ${host}`)),
    ...["[::1", "::1]", "[::g]", "or\xe4ders", "orders\\", "orders?", "orders#", "[::1]80", ":80", "or<ders"].map((host) =>
      head(GET, `Host: ${host}`),
    ),
  ),
  host_disagrees: heads(
    head("GET http://other/bad HTTP/1.1", HOST),
    head("GET http://orders:81/bad HTTP/1.1", HOST),
    head("GET http://orders/bad HTTP/1.1", "Host: orders.demo"),
  ),

  bare_cr: heads(
    get("X: a\rb"),
    get("X: a\rY: b"),
    head("GET /bad\r HTTP/1.1", HOST),
    `${GET}\r${HOST}\r\n\r\n`,
    `${GET}\r\n${HOST}\r\r\n\r\n`,
    `${GET}\r\n${HOST}\r\n\rX`,
  ).concat(trailers("X: a\rb")),
  bare_lf: heads(
    `${GET}\n${HOST}\r\n\r\n`,
    `${GET}\r\n${HOST}\n\r\n`,
    `${GET}\r\n${HOST}\r\n\n`,
    `${GET}\n${HOST}\n\n`,
    get("X: a\nY: b"),
    `${GET}\r\n${HOST}\r\nX: a\n\r\n`,
  ).concat(trailers("X: a\nY: b"), bodies("5\r\nhello\r\n0\n\r\n", "5\r\nhello\r\n0\r\n\n", "5\nhello\r\n0\r\n\r\n")),
  leading_whitespace: heads(head(GET, " Host: orders"), head(GET, "\tX: y", HOST), head(GET, " ", HOST), head(GET, " \tX: y", HOST)),
  obs_fold: heads(
    get("X: a", " b"),
    get("X: a", "\tb"),
    get("X:", " b"),
    head(GET, HOST, " \t"),
    get("Transfer-Encoding:", " chunked"),
  ).concat(trailers("X: a\r\n b", "X: a\r\n\tb")),
  space_before_colon: heads(
    get("X : a"),
    get("X\t: a"),
    head(GET, "Host : orders"),
    post("Transfer-Encoding : chunked"),
    post("Content-Length : 5"),
  ).concat(trailers("X : a")),
  field_name_empty: heads(get(": a"), get(":"), head(GET, ":", HOST)).concat(trailers(": a")),
  field_name_invalid: heads(
    get("X"),
    get("X Y: a"),
    get("X(: a"),
    get("X\x00: a"),
    get("X\x01: a"),
    get("X\x7f: a"),
    get("X\x80: a"),
    get("X\xe4: a"),
    get('"X": a'),
    get("X,Y: a"),
    get("X/Y: a"),
    get("{X}: a"),
    get("[X]: a"),
    get("X@Y: a"),
    get("X=Y"),
    get("\x0bTransfer-Encoding: chunked"),
    get("GET / HTTP/1.1"),
  ).concat(trailers("X", "X Y: a", "X\x00: a")),
  field_value_invalid: heads(
    ...["\x00", "\x01", "\x08", "\x0b", "\x0c", "\x1b", "\x1f", "\x7f"].flatMap((control) => [
      get(`X: a${control}b`),
      get(`X: ${control}`),
    ]),
    head(GET, "Host: orders\x00"),
    post("Transfer-Encoding: \x0bchunked"),
    post("Transfer-Encoding: chunked\x0b"),
  ).concat(trailers("X: a\x00b", "X: \x7f")),
  too_many_fields: heads(get(...many(LIMITS.fields + LIMITS.addedFields, (index) => `X-${index}: y`))).concat(
    trailers(many(LIMITS.fields + 1, (index) => `X-${index}: y`).join("\r\n")),
  ),
  head_too_large: heads(
    get(`X: ${"a".repeat(LIMITS.headBytes + LIMITS.addedBytes)}`),
    get(...many(80, (index) => `X-${index}: ${"a".repeat(900)}`)),
  ).concat(trailers(`X: ${"a".repeat(LIMITS.headBytes)}`)),

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
};
