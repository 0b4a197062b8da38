// The one form of a request's path that policy matches on, and that is forwarded and signed, so that no rule and no app can read the same request in
// two ways. RFC 3986 section 6.2.2: dot segments are removed (5.2.4, also when spelled %2e), escapes of unreserved characters decoded, the digits of all
// others in upper case; then duplicate slashes are merged, in Istio's order, where MERGE_SLASHES comes last. The query is kept byte for byte. A `..` above
// the root stays at the root, as in the RFC. What has more than one reading (an escaped slash, …) has no canonical form: the reading names the reason,
// the caller refuses the path where a rule depends on it and passes it on untouched where none does. Canonical paths are fixed points.
//
// HOT PATH: one scan of the path, two or three comparisons per character, the very string that came when it is canonical; no allocation. Only a path that is
// spelled oddly is written anew, in time linear to its length, through two buffers that are reused.
import { Buffer, isUtf8 } from "node:buffer";

/** A path with more than one reading. */
export interface AmbiguousPath {
  /** What is ambiguous about it, for a person: fits behind "the path has". Quotes nothing of the path. */
  readonly ambiguity: string;
}

const ambiguous = (ambiguity: string): AmbiguousPath => Object.freeze({ ambiguity });

const NO_PATH = ambiguous("no slash at its beginning (RFC 9112 section 3.2)");
const NO_URI_CHARACTER = ambiguous("a character that no URI may have (RFC 3986 section 2)");
const FRAGMENT = ambiguous("a fragment (RFC 9112 section 3.2)");
const LITERAL_BACKSLASH = ambiguous("a backslash, which some apps take for a slash");
const BROKEN_ESCAPE = ambiguous("a % that is not followed by two hexadecimal digits (RFC 3986 section 2.1)");
const ESCAPED_SLASH = ambiguous("an escaped slash, which some apps take for a separator");
const ESCAPED_BACKSLASH = ambiguous("an escaped backslash, which some apps take for a separator");
const ESCAPED_CONTROL = ambiguous("an escaped control character, at which some apps cut the path off");
const ESCAPED_TWICE = ambiguous("an escape that is escaped once more, which some apps decode twice");
const BROKEN_UTF8 = ambiguous("escapes that are overlong or otherwise invalid UTF-8 (RFC 3629 section 3)");
const DOT_PARAMETERS = ambiguous("parameters behind a dot segment, which servlet containers take for a dot segment");

const SPACE = 0x20;
const HASH = 0x23;
const PERCENT = 0x25;
const DOT = 0x2e;
const SLASH = 0x2f;
const SEMICOLON = 0x3b;
const QUESTION = 0x3f;
const BACKSLASH = 0x5c;
const DELETE = 0x7f;

/** By ASCII code: 1 for RFC 3986's unreserved characters. */
const UNRESERVED = Uint8Array.from({ length: 128 }, (_, code) => (/[A-Za-z0-9._~-]/.test(String.fromCharCode(code)) ? 1 : 0));
const UPPER_DIGITS = Buffer.from("0123456789ABCDEF", "latin1");

/** Where odd paths are written anew, and their octets. Valid during one call. They grow to the longest odd path there was, which the bound of heads bounds. */
const SCRATCH_STEP_BYTES = 1024;
let written: Buffer = Buffer.allocUnsafeSlow(SCRATCH_STEP_BYTES);
let octets: Buffer = Buffer.allocUnsafeSlow(SCRATCH_STEP_BYTES);

/**
 * The canonical form of an origin-form target with its query: the same string when it is canonical, as are `*` (OPTIONS) and
 * the empty target of a CONNECT; or why there is none.
 */
export function canonicalPath(path: string): string | AmbiguousPath {
  if (path.charCodeAt(0) !== SLASH) return path === "*" || path === "" ? path : NO_PATH;
  let previous = SLASH;
  for (let index = 1; index < path.length; index += 1) {
    const code = path.charCodeAt(index);
    if (code > SLASH) {
      if (code === QUESTION) return path;
      if (code === BACKSLASH || code >= DELETE) return rewritten(path);
    } else if (code >= DOT) {
      if (previous === SLASH && (code === SLASH || isDotSegment(path, index))) return rewritten(path);
    } else if (code <= SPACE || code === HASH || code === PERCENT) return rewritten(path);
    previous = code;
  }
  return path;
}

/** True when the segment that begins with the dot at `index` is `.` or `..`, with or without parameters. */
function isDotSegment(path: string, index: number): boolean {
  const next = path.charCodeAt(index + 1);
  return endsSegment(next === DOT ? path.charCodeAt(index + 2) : next);
}

/** NaN is the end of the string. */
function endsSegment(code: number): boolean {
  return code === SLASH || code === QUESTION || code === SEMICOLON || Number.isNaN(code);
}

function rewritten(path: string): string | AmbiguousPath {
  const queryAt = path.indexOf("?");
  const end = queryAt < 0 ? path.length : queryAt;
  if (written.length < end) {
    const bytes = Math.ceil(end / SCRATCH_STEP_BYTES) * SCRATCH_STEP_BYTES;
    written = Buffer.allocUnsafeSlow(bytes);
    octets = Buffer.allocUnsafeSlow(bytes);
  }
  const decodedLength = decodeUnreserved(path, end);
  if (typeof decodedLength !== "number") return decodedLength;
  if (isEscapedTwice(decodedLength)) return ESCAPED_TWICE;
  const undottedLength = removeDotSegments(decodedLength);
  if (typeof undottedLength !== "number") return undottedLength;
  const length = mergeSlashes(undottedLength);
  if (length === end && isWhatWasWritten(path, end)) return path;
  const canonical = written.toString("latin1", 0, length);
  return queryAt < 0 ? canonical : canonical + path.slice(queryAt);
}

function isWhatWasWritten(path: string, end: number): boolean {
  for (let index = 0; index < end; index += 1) if (path.charCodeAt(index) !== written[index]) return false;
  return true;
}

/** Writes `path` with unreserved characters decoded and all other escapes in upper case; returns the length. */
function decodeUnreserved(path: string, end: number): number | AmbiguousPath {
  let length = 0;
  let octetCount = 0;
  let isAscii = true;
  for (let index = 0; index < end; index += 1) {
    const code = path.charCodeAt(index);
    if (code !== PERCENT) {
      const flaw = literalFlaw(code);
      if (flaw !== null) return flaw;
      written[length++] = code;
      octets[octetCount++] = code;
      continue;
    }
    const octet = index + 2 < end ? octetOf(path.charCodeAt(index + 1), path.charCodeAt(index + 2)) : -1;
    const flaw = escapeFlaw(octet);
    if (flaw !== null) return flaw;
    octets[octetCount++] = octet;
    isAscii &&= octet < 0x80;
    if (octet < 0x80 && UNRESERVED[octet] === 1) written[length++] = octet;
    else {
      written[length++] = PERCENT;
      written[length++] = UPPER_DIGITS[octet >> 4] as number; // 0..15
      written[length++] = UPPER_DIGITS[octet & 15] as number;
    }
    index += 2;
  }
  return isAscii || isUtf8(octets.subarray(0, octetCount)) ? length : BROKEN_UTF8;
}

function literalFlaw(code: number): AmbiguousPath | null {
  if (code === BACKSLASH) return LITERAL_BACKSLASH;
  if (code === HASH) return FRAGMENT;
  return code <= SPACE || code >= DELETE ? NO_URI_CHARACTER : null;
}

function escapeFlaw(octet: number): AmbiguousPath | null {
  if (octet < 0) return BROKEN_ESCAPE;
  if (octet === SLASH) return ESCAPED_SLASH;
  if (octet === BACKSLASH) return ESCAPED_BACKSLASH;
  return octet < SPACE || octet === DELETE ? ESCAPED_CONTROL : null;
}

/** True when decoding what was written would leave another escape. Asked after decoding: %25%32%66 is %252f. */
function isEscapedTwice(length: number): boolean {
  for (let at = 0; at + 4 < length; at += 1) {
    if (written[at] !== PERCENT || written[at + 1] !== 0x32 /* 2 */ || written[at + 2] !== 0x35 /* 5 */) continue;
    if (octetOf(written[at + 3] as number, written[at + 4] as number) >= 0) return true;
  }
  return false;
}

/** RFC 3986 section 5.2.4 in place; returns the new length. */
function removeDotSegments(length: number): number | AmbiguousPath {
  let kept = 0;
  for (let from = 0, to = 0; from < length; from = to) {
    to = segmentEnd(from + 1, length);
    const dots = leadingDots(from + 1, to);
    const isDots = dots > 0 && from + 1 + dots === to;
    if (isDots && dots === 2) kept = parentOf(kept);
    if (isDots && to === length) written[kept++] = SLASH;
    if (isDots) continue;
    if (dots > 0 && beginsParameters(from + 1 + dots, to)) return DOT_PARAMETERS;
    for (let index = from; index < to; index += 1) written[kept++] = written[index] as number;
  }
  return kept;
}

/** A semicolon, or an escaped one: some containers decode first. */
function beginsParameters(at: number, to: number): boolean {
  if (written[at] === SEMICOLON) return true;
  return at + 2 < to && written[at] === PERCENT && written[at + 1] === 0x33 /* 3 */ && written[at + 2] === 0x42 /* B */;
}

function segmentEnd(from: number, length: number): number {
  let end = from;
  while (end < length && written[end] !== SLASH) end += 1;
  return end;
}

/** How many dots a segment begins with when it is at most two: 1 or 2; 0 for any other segment. */
function leadingDots(from: number, to: number): number {
  let dots = 0;
  while (dots < 3 && from + dots < to && written[from + dots] === DOT) dots += 1;
  return dots === 3 ? 0 : dots;
}

/** Length of what is left when the last segment is taken off; 0 at the root. */
function parentOf(length: number): number {
  let parent = length;
  while (parent > 0) {
    parent -= 1;
    if (written[parent] === SLASH) break;
  }
  return parent;
}

function mergeSlashes(length: number): number {
  let kept = 0;
  for (let index = 0; index < length; index += 1) {
    const code = written[index] as number;
    if (code !== SLASH || kept === 0 || written[kept - 1] !== SLASH) written[kept++] = code;
  }
  return kept;
}

/** The octet of two hexadecimal digits; -1 when they are none. */
function octetOf(high: number, low: number): number {
  const highValue = digitOf(high);
  const lowValue = digitOf(low);
  return highValue < 0 || lowValue < 0 ? -1 : highValue * 16 + lowValue;
}

function digitOf(code: number): number {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const lower = code | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
