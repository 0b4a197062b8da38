// Requests that break a row about their line, target, Host or fields.
import { LIMITS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";
import { bodies, GET, get, HOST, head, heads, many, post, type RequestVector, trailers } from "./request-vector.ts";

/** Vectors by row. */
export const REQUEST_HEAD_VECTORS = {
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
} as const satisfies Partial<Record<StrictnessRule, readonly RequestVector[]>>;
