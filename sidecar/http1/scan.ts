// The characters that HTTP/1.1 heads are made of, and the lists in their values (RFC 9110 section 5.6, RFC 9112 sections 2 to 5). Owns no state.
//
// HOT PATH: table look-ups.
import { LIMITS, type StrictnessRule } from "./strictness.ts";

export const CR = 0x0d;
export const LF = 0x0a;
export const SP = 0x20;
export const HTAB = 0x09;
export const COLON = 0x3a;
const DEL = 0x7f;

/** What a character may be part of, as bits of {@link CHARACTERS}. */
export const IN_TOKEN = 1;
export const IN_TARGET = 2;

/** Bits for each of the 256 Latin-1 characters. */
export const CHARACTERS = characterTable();

function characterTable(): Uint8Array {
  const table = new Uint8Array(256);
  for (let code = 0; code < 256; code += 1) {
    if (code > SP && code < DEL) table[code] = IN_TARGET;
  }
  const token = "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"; // RFC 9110 section 5.6.2
  for (let index = 0; index < token.length; index += 1) {
    const code = token.charCodeAt(index);
    table[code] = (table[code] as number) | IN_TOKEN;
  }
  return table;
}

/** The index behind the characters of a value from `at` on (RFC 9110 section 5.5, obs-text included): most bytes of a head, and compared faster than looked up. */
export function endOfValue(bytes: Buffer, at: number, end: number): number {
  let index = at;
  for (; index < end; index += 1) {
    const byte = bytes[index] as number;
    if (byte < SP ? byte !== HTAB : byte === DEL) break;
  }
  return index;
}

export function isBlank(code: number): boolean {
  return code === SP || code === HTAB;
}

/** What is wrong already with bytes[from..end) of a head that begins at `start` and has not ended: a line end that will never be one, or its size. */
export function flawOfUnfinished(bytes: Buffer, start: number, from: number, end: number, maxBytes: number): StrictnessRule | null {
  for (let at = bytes.indexOf(LF, from); at !== -1 && at < end; at = bytes.indexOf(LF, at + 1)) {
    if (at === start || bytes[at - 1] !== CR) return "bare_lf";
  }
  return end - start > maxBytes ? "head_too_large" : null;
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
