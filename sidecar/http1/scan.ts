// Reads the parts that all HTTP/1.1 heads are made of (RFC 9112 sections 2 to 5): tokens, field lines, the end of a head. Strict: what is not exactly the
// grammar is refused by a row of `strictness.ts`, never repaired (design 13, rule 5).
//
// HOT PATH: one pass over the characters of a head with a table look-up each; slices of the head's own text, no copies, no regex.
import { LIMITS, type StrictnessRule } from "./strictness.ts";

export const CR = 0x0d;
export const LF = 0x0a;
export const SP = 0x20;
export const HTAB = 0x09;
const COLON = 0x3a;

/** What a character may be part of, as bits of {@link CHARACTERS}. */
export const IN_TOKEN = 1;
export const IN_VALUE = 2;
export const IN_TARGET = 4;

/** Bits for each of the 256 Latin-1 characters. */
export const CHARACTERS = characterTable();

function characterTable(): Uint8Array {
  const table = new Uint8Array(256);
  for (let code = 0; code < 256; code += 1) {
    if (code === HTAB || (code >= SP && code !== 0x7f)) table[code] = IN_VALUE; // RFC 9110 section 5.5, obs-text included
    if (code > SP && code < 0x7f) table[code] = (table[code] as number) | IN_TARGET;
  }
  const token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"; // RFC 9110 section 5.6.2
  for (let index = 0; index < token.length; index += 1) {
    const code = token.charCodeAt(index);
    table[code] = (table[code] as number) | IN_TOKEN;
  }
  return table;
}

/**
 * Where the head that `text` begins with ends: the index after its empty line, or -1 while that has not come. `searched` is how far an earlier look has
 * seen nothing, so that a head that comes byte by byte is not read again for each of them.
 */
export function endOfHead(text: string, searched: number): number {
  const at = text.indexOf("\r\n\r\n", Math.max(0, searched - 3));
  return at === -1 ? -1 : at + 4;
}

/** What is wrong already with a head that has not ended: a line end that will never be one, or a size past its bound. */
export function flawOfUnfinished(text: string, searched: number): StrictnessRule | null {
  for (let at = text.indexOf("\n", searched); at !== -1; at = text.indexOf("\n", at + 1)) {
    if (at === 0 || text.charCodeAt(at - 1) !== CR) return "bare_lf";
  }
  return text.length > LIMITS.headBytes ? "head_too_large" : null;
}

/**
 * Reads the field lines of text[at..end), each ended by CRLF, onto `into` as name, value, name, value, …; the empty line is not part of it. Values are
 * without the whitespace around them. Returns the first flaw, or null.
 */
export function readFields(text: string, at: number, end: number, into: string[]): StrictnessRule | null {
  let index = at;
  const first = text.charCodeAt(index);
  if (index < end && (first === SP || first === HTAB)) return "leading_whitespace";
  while (index < end) {
    if (into.length >= 2 * LIMITS.fields) return "too_many_fields";
    const nameAt = index;
    while ((CHARACTERS[text.charCodeAt(index)] as number) & IN_TOKEN) index += 1;
    if (text.charCodeAt(index) !== COLON) return flawOfName(text, nameAt, index);
    if (index === nameAt) return "field_name_empty";
    const name = text.slice(nameAt, index);
    index += 1;
    let code = text.charCodeAt(index);
    while (code === SP || code === HTAB) code = text.charCodeAt(++index);
    const valueAt = index;
    while ((CHARACTERS[code] as number) & IN_VALUE) code = text.charCodeAt(++index);
    if (code !== CR) return code === LF ? "bare_lf" : "field_value_invalid";
    if (text.charCodeAt(index + 1) !== LF) return "bare_cr";
    let valueEnd = index;
    while (valueEnd > valueAt && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd -= 1;
    into.push(name, text.slice(valueAt, valueEnd));
    index += 2;
  }
  return null;
}

/** What stands where a name's colon should be. */
function flawOfName(text: string, nameAt: number, index: number): StrictnessRule {
  const code = text.charCodeAt(index);
  if (code === LF) return "bare_lf";
  if (code === CR && text.charCodeAt(index + 1) !== LF) return "bare_cr";
  if (!isBlank(code)) return "field_name_invalid";
  if (index === nameAt) return "obs_fold";
  let after = index;
  while (isBlank(text.charCodeAt(after))) after += 1;
  return text.charCodeAt(after) === COLON ? "space_before_colon" : "field_name_invalid";
}

function isBlank(code: number): boolean {
  return code === SP || code === HTAB;
}

/** The number that the digits of a Content-Length stand for; -1 when they are anything else (RFC 9110 section 8.6). */
export function contentLength(value: string): number {
  if (value.length === 0 || value.length > 16) return -1;
  let total = 0;
  for (let index = 0; index < value.length; index += 1) {
    const digit = value.charCodeAt(index) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    total = total * 10 + digit;
  }
  return total > LIMITS.lengthMax ? -1 : total;
}

/** True when a list field such as Connection contains `token`, which is lower case. */
export function listContains(value: string, token: string): boolean {
  if (value.length < token.length) return false;
  const lower = value.toLowerCase();
  let at = lower.indexOf(token);
  while (at !== -1) {
    if (isListEdge(lower, at - 1, -1) && isListEdge(lower, at + token.length, 1)) return true;
    at = lower.indexOf(token, at + 1);
  }
  return false;
}

/** True when only whitespace stands between `at` and the next comma or end in that direction. */
function isListEdge(text: string, at: number, step: number): boolean {
  let index = at;
  while (index >= 0 && index < text.length && isBlank(text.charCodeAt(index))) index += step;
  return index < 0 || index >= text.length || text.charCodeAt(index) === 0x2c;
}
