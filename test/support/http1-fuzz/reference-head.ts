// A second opinion on HTTP/1.1 heads, written to be read rather than to be fast: whole texts, split into lines, judged by regular expressions taken from
// RFC 9110 and 9112. Shares nothing with the engine but the names of the rows and the bounds.
import { LIMITS, type StrictnessRule } from "../../../sidecar/http1/strictness.ts";

/** A field as it came, the whitespace around its value removed. */
export type Field = readonly [name: string, value: string];

/** The rows that a message breaks; empty when it breaks none. Any of them may be named by an engine that stops at the first. */
export type Flaws = Set<StrictnessRule>;

/** A head, from its first line to its empty line. */
export interface Head {
  readonly line: string;
  readonly fields: readonly Field[];
  readonly flaws: Flaws;
  /** Index after the empty line. */
  readonly end: number;
}

/** What a head or a trailer section says about framing and the connection. */
export interface FramingSaid {
  /** Null without Content-Length. */
  readonly length: number | null;
  readonly isChunked: boolean;
  readonly connection: readonly string[];
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const FIELD_LINE = new RegExp(`^(${TOKEN}):[ \\t]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[ \\t]*$`);
const SPACED_NAME = new RegExp(`^${TOKEN}[ \\t]+:`);
const FIELD_NAME = new RegExp(`^${TOKEN}:`);

/** Reads the head that begins at `at`; null when its empty line has not come. */
export function readHead(text: string, at: number): Head | null {
  const lastLineEnd = text.indexOf("\r\n\r\n", at);
  if (lastLineEnd === -1) return null;
  const end = lastLineEnd + 4;
  const [line, ...lines] = text.slice(at, lastLineEnd).split("\r\n") as [string, ...string[]];
  const flaws: Flaws = new Set();
  if (end - at > LIMITS.headBytes) flaws.add("head_too_large");
  addLineEndFlaws(line, flaws);
  const fields = readFields(lines, flaws);
  return { line, fields, flaws, end };
}

/** Reads field lines; what is wrong with them goes to `flaws`. */
export function readFields(lines: readonly string[], flaws: Flaws): Field[] {
  const fields: Field[] = [];
  lines.forEach((line, index) => {
    addLineEndFlaws(line, flaws);
    if (/^[ \t]/.test(line)) flaws.add(index === 0 ? "leading_whitespace" : "obs_fold");
    const match = FIELD_LINE.exec(line);
    if (match !== null) fields.push([match[1] as string, match[2] as string]);
    else if (line.startsWith(":")) flaws.add("field_name_empty");
    else if (SPACED_NAME.test(line)) flaws.add("space_before_colon");
    else flaws.add(FIELD_NAME.test(line) ? "field_value_invalid" : "field_name_invalid");
  });
  if (lines.length > LIMITS.fields) flaws.add("too_many_fields");
  return fields;
}

function addLineEndFlaws(line: string, flaws: Flaws): void {
  // Lines were split at CRLF: what is left of either stands alone, unless a CR stands before a CRLF, which is alone as well.
  if (line.includes("\r")) flaws.add("bare_cr");
  if (line.includes("\n")) flaws.add("bare_lf");
}

/** All values of a field, in order. */
export function valuesOf(fields: readonly Field[], name: string): string[] {
  return fields.filter(([each]) => each.toLowerCase() === name).map(([, value]) => value);
}

/** Reads what a head says about its body; what is wrong with it goes to `flaws`. */
export function readFraming(fields: readonly Field[], isHttp10: boolean, flaws: Flaws): FramingSaid {
  const lengths = valuesOf(fields, "content-length");
  const codings = valuesOf(fields, "transfer-encoding");
  if (lengths.length > 1 || lengths.some((value) => value.includes(","))) flaws.add("content_length_repeated");
  for (const value of lengths)
    if (!/^[0-9]{1,16}$/.test(value) || Number(value) > Number.MAX_SAFE_INTEGER) flaws.add("content_length_invalid");
  if (codings.length > 1) flaws.add("transfer_encoding_repeated");
  for (const value of codings) if (value.toLowerCase() !== "chunked") flaws.add("transfer_encoding_not_chunked");
  if (codings.length > 0 && isHttp10) flaws.add("transfer_encoding_in_http_1_0");
  if (codings.length > 0 && lengths.length > 0) flaws.add("content_length_and_transfer_encoding");
  const connection = valuesOf(fields, "connection")
    .join(",")
    .split(",")
    .map((option) => option.replace(/^[ \t]+|[ \t]+$/g, "").toLowerCase());
  return { length: lengths[0] === undefined ? null : Number(lengths[0]), isChunked: codings.length > 0, connection };
}
