// The one table of what the splice engine refuses (design 13, rule 5): each row a way in which two readers could understand the same bytes differently,
// or by which one peer could cost us more than its share. Nothing in it is ever repaired and passed on: a request is answered and its connection closed,
// an answer of an upstream becomes a 502, or a reset where its head is already through.
//
// Not in the table, because it is well-formed and passed on as it came: bytes 0x80-0xff in field values (obs-text, RFC 9110 section 5.5), unknown methods
// that are tokens, unknown fields, chunk extensions within their bound.
import type { Reason } from "../../core/reasons.ts";
import { type Refusal, refuse } from "../exchange.ts";

/** One row: what is refused, where, why, and how it is answered. */
export interface StrictnessRow {
  /** The section that forbids it, or that leaves it to the recipient. */
  readonly rfc: string;
  /** Which messages it is looked for in. */
  readonly where: "request" | "response" | "both";
  /** What of the message it is about. `body` rows are found when the head may already be through. */
  readonly part: "line" | "target" | "fields" | "host" | "framing" | "body";
  /** The reason of a refused request; `upstream_reset` for rows that only answers can break. An answer is always refused with `upstream_reset`. */
  readonly reason: Reason;
  /** The status of a refused request; 502 for rows that only answers can break. An answer is always refused with 502. */
  readonly status: 400 | 414 | 431 | 502 | 505;
  /** What is refused and why, in a few words for a person; quotes nothing of the message. */
  readonly text: string;
}

/** The bounds of the table. Lengths in bytes. */
export const LIMITS = {
  /** A head: its first line and fields, with the empty line that ends it. Also a trailer section, and the 1xx heads before one answer together. */
  headBytes: 64 * 1024,
  /** Fields of a head, and of a trailer section. */
  fields: 100,
  /** What a sidecar may add to a head that was within the bounds above: the next hop grants a mesh peer this much more. */
  addedBytes: 4 * 1024,
  addedFields: 16,
  /** The target of a request line; RFC 9112 section 3 asks for at least 8000 for the whole line. */
  targetBytes: 8 * 1024,
  /** The method of a request line; the longest registered one has 17. */
  methodBytes: 32,
  /** The extensions of one chunk, from the first `;` to the line's end. */
  chunkExtensionBytes: 256,
  /** The extensions of all chunks of one body: a body of 1-byte chunks must not cost 256 bytes each for ever. */
  bodyExtensionBytes: 16 * 1024,
  /** The largest content-length and chunk size: the largest whole number that a counter here holds exactly. */
  lengthMax: Number.MAX_SAFE_INTEGER,
  /** Hexadecimal digits of a chunk size, leading zeros included. */
  chunkSizeDigits: 16,
} as const;

/** The table. The key is the rule's name: in `Refusal.detail` (`rule: bare_cr`), in logs and in tests. */
export const STRICTNESS = {
  // The first line

  blank_line_before_request: {
    rfc: "RFC 9112 2.2",
    where: "request",
    part: "line",
    reason: "bad_request",
    status: 400,
    text: "an empty line before a request: what a wrong body length leaves behind",
  },
  request_line_malformed: {
    rfc: "RFC 9112 3",
    where: "request",
    part: "line",
    reason: "bad_request",
    status: 400,
    text: "a request line that is not method, target and version with one space between each",
  },
  method_invalid: {
    rfc: "RFC 9110 9.1",
    where: "request",
    part: "line",
    reason: "bad_request",
    status: 400,
    text: `a method that is not a token of at most ${LIMITS.methodBytes} characters`,
  },
  http_0_9: {
    rfc: "RFC 9112 2.3",
    where: "request",
    part: "line",
    reason: "bad_request",
    status: 400,
    text: "a request line without version (HTTP/0.9): it has neither fields nor framing",
  },
  version_malformed: {
    rfc: "RFC 9112 2.3",
    where: "request",
    part: "line",
    reason: "bad_request",
    status: 400,
    text: "a version that is not HTTP/DIGIT.DIGIT in upper case",
  },
  version_unknown: {
    rfc: "RFC 9110 15.6.6",
    where: "both",
    part: "line",
    reason: "bad_request",
    status: 505,
    text: "a version other than HTTP/1.0 and HTTP/1.1: nobody knows what its framing would be",
  },
  status_line_malformed: {
    rfc: "RFC 9112 4",
    where: "response",
    part: "line",
    reason: "upstream_reset",
    status: 502,
    text: "an answer that does not begin with version, status and reason phrase, or has controls in the last",
  },
  status_invalid: {
    rfc: "RFC 9110 15",
    where: "response",
    part: "line",
    reason: "upstream_reset",
    status: 502,
    text: "a status that is not three digits from 100 to 599",
  },

  // The target of a request

  target_too_long: {
    rfc: "RFC 9110 15.5.15",
    where: "request",
    part: "target",
    reason: "header_too_large",
    status: 414,
    text: `a target longer than ${LIMITS.targetBytes} bytes`,
  },
  target_invalid: {
    rfc: "RFC 9112 3.2",
    where: "request",
    part: "target",
    reason: "bad_request",
    status: 400,
    text: "whitespace, controls or bytes above 0x7e in the target: readers disagree on where it ends",
  },
  target_form: {
    rfc: "RFC 9112 3.2",
    where: "request",
    part: "target",
    reason: "bad_request",
    status: 400,
    text: "a target that is not a path, an http(s) URI, host:port of a CONNECT, or the * of an OPTIONS",
  },
  target_fragment: {
    rfc: "RFC 9112 3.2",
    where: "request",
    part: "target",
    reason: "bad_request",
    status: 400,
    text: "a fragment in the target: some readers cut it off, some match on it",
  },
  target_userinfo: {
    rfc: "RFC 9110 4.2.4",
    where: "request",
    part: "target",
    reason: "bad_request",
    status: 400,
    text: "userinfo in the target's authority: hides the real host and leaks passwords",
  },

  // Host

  host_missing: {
    rfc: "RFC 9112 3.2",
    where: "request",
    part: "host",
    reason: "bad_request",
    status: 400,
    text: "HTTP/1.1 without Host",
  },
  host_repeated: {
    rfc: "RFC 9112 3.2",
    where: "request",
    part: "host",
    reason: "bad_request",
    status: 400,
    text: "more than one Host: readers disagree on which one routes",
  },
  host_invalid: {
    rfc: "RFC 9112 3.2",
    where: "request",
    part: "host",
    reason: "bad_request",
    status: 400,
    text: "a Host that is not a host and optional port: empty, a list, userinfo, a path, a port above 65535",
  },
  host_disagrees: {
    rfc: "RFC 9112 3.2.2",
    where: "request",
    part: "host",
    reason: "bad_request",
    status: 400,
    text: "a target URI and a Host that name different authorities: readers disagree on which one routes",
  },

  // Fields, of heads and of trailer sections

  bare_cr: {
    rfc: "RFC 9112 2.2",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "a CR that no LF follows: some readers end the line there",
  },
  bare_lf: {
    rfc: "RFC 9112 2.2",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "a line that ends with LF alone: some readers do not end it there",
  },
  leading_whitespace: {
    rfc: "RFC 9112 2.2",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "whitespace between the first line and the first field",
  },
  obs_fold: {
    rfc: "RFC 9112 5.2",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "a field folded over several lines: some readers see a field of its own",
  },
  space_before_colon: {
    rfc: "RFC 9112 5.1",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "whitespace between a field name and its colon: some readers drop it, some keep it in the name",
  },
  field_name_empty: {
    rfc: "RFC 9110 5.1",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "a field without a name",
  },
  field_name_invalid: {
    rfc: "RFC 9110 5.1",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "a field line without colon, or a name that is not a token",
  },
  field_value_invalid: {
    rfc: "RFC 9110 5.5",
    where: "both",
    part: "fields",
    reason: "bad_request",
    status: 400,
    text: "NUL or another control than tab in a field value: some readers cut it off there",
  },
  too_many_fields: {
    rfc: "RFC 6585 5",
    where: "both",
    part: "fields",
    reason: "header_too_large",
    status: 431,
    text: `more than ${LIMITS.fields} fields: some readers drop the rest`,
  },
  head_too_large: {
    rfc: "RFC 6585 5",
    where: "both",
    part: "fields",
    reason: "header_too_large",
    status: 431,
    text: `a head or a trailer section larger than ${LIMITS.headBytes} bytes`,
  },

  // Framing

  content_length_and_transfer_encoding: {
    rfc: "RFC 9112 6.3",
    where: "both",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "Content-Length beside Transfer-Encoding: readers disagree on where the body ends",
  },
  content_length_repeated: {
    rfc: "RFC 9112 6.3",
    where: "both",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "more than one Content-Length, in fields or in a list, equal or not",
  },
  content_length_invalid: {
    rfc: "RFC 9110 8.6",
    where: "both",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "a Content-Length that is not one to 16 digits alone, or above 2^53-1",
  },
  transfer_encoding_repeated: {
    rfc: "RFC 9112 6.1",
    where: "both",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "more than one Transfer-Encoding field",
  },
  transfer_encoding_not_chunked: {
    rfc: "RFC 9112 6.1",
    where: "both",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "any Transfer-Encoding but a single `chunked`: readers disagree on where the body ends",
  },
  transfer_encoding_in_http_1_0: {
    rfc: "RFC 9112 6.1",
    where: "both",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "Transfer-Encoding in an HTTP/1.0 message: its framing is faulty by definition",
  },
  connect_with_content: {
    rfc: "RFC 9110 9.3.6",
    where: "request",
    part: "framing",
    reason: "bad_request",
    status: 400,
    text: "a CONNECT with Content-Length or Transfer-Encoding: some readers take the tunnel's first bytes for a body",
  },
  bodiless_with_content: {
    rfc: "RFC 9112 6.3",
    where: "response",
    part: "framing",
    reason: "upstream_reset",
    status: 502,
    text: "a 1xx or 204 answer with Transfer-Encoding or a Content-Length above 0",
  },
  switching_not_asked: {
    rfc: "RFC 9110 15.2.2",
    where: "response",
    part: "framing",
    reason: "upstream_reset",
    status: 502,
    text: "a 101 to a request that asked for no upgrade",
  },
  answer_not_asked: {
    rfc: "RFC 9112 9.2",
    where: "response",
    part: "framing",
    reason: "upstream_reset",
    status: 502,
    text: "bytes on a connection on which no answer is due: they would become the next request's answer",
  },
  answer_cut_off: {
    rfc: "RFC 9112 8",
    where: "response",
    part: "framing",
    reason: "upstream_reset",
    status: 502,
    text: "an answer whose connection ended before its head or its framed body did",
  },

  // Chunked bodies

  chunk_size_missing: {
    rfc: "RFC 9112 7.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: "a chunk without a size",
  },
  chunk_size_invalid: {
    rfc: "RFC 9112 7.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: "a chunk size with anything but hexadecimal digits before its `;` or line end",
  },
  chunk_size_too_large: {
    rfc: "RFC 9112 7.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: `a chunk size above 2^53-1 or of more than ${LIMITS.chunkSizeDigits} digits: some readers overflow`,
  },
  chunk_extension_invalid: {
    rfc: "RFC 9112 7.1.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: "controls in a chunk extension, a CR or LF alone among them: some readers end the line there",
  },
  chunk_extension_too_long: {
    rfc: "RFC 9112 7.1.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: `extensions above ${LIMITS.chunkExtensionBytes} bytes in a chunk or ${LIMITS.bodyExtensionBytes} in a body`,
  },
  chunk_end_missing: {
    rfc: "RFC 9112 7.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: "chunk data that no CRLF follows: its size was wrong",
  },
  trailer_forbidden: {
    rfc: "RFC 9110 6.5.1",
    where: "both",
    part: "body",
    reason: "bad_request",
    status: 400,
    text: "a trailer field that frames, routes, authenticates or says what the content is: some readers merge it into the head",
  },
} as const satisfies Record<string, StrictnessRow>;

/** The name of a row of {@link STRICTNESS}. */
export type StrictnessRule = keyof typeof STRICTNESS;

/** Lower-case names of the fields that `trailer_forbidden` is about (RFC 9110 section 6.5.1). */
export const FORBIDDEN_TRAILERS: ReadonlySet<string> = new Set([
  "authorization",
  "connection",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "expect",
  "host",
  "keep-alive",
  "proxy-authenticate",
  "proxy-authorization",
  "proxy-connection",
  "set-cookie",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "www-authenticate",
]);

/** The refusal of a request that breaks a rule. */
export function refusalOf(rule: StrictnessRule): Refusal {
  const { reason, status } = STRICTNESS[rule];
  return refuse(reason, detailOf(rule), [], status);
}

/** What the log says of a broken rule, its name first. */
export function detailOf(rule: StrictnessRule): string {
  return `rule: ${rule} (${STRICTNESS[rule].text})`;
}
