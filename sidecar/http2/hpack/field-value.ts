// What the value of a field may be: no controls but tab, and no blanks around (RFC 9113 section 8.2.1; of controls, RFC 9110 section 5.5). Asked of the octets a
// value comes as, before there is a text of it, or of a text.
//
// HOT PATH: octets are looked at four at a time. Only a word with a control in it is gone through one by one.

const HTAB = 0x09;
const SP = 0x20;
const DEL = 0x7f;

/** Octets, and the same as words. */
interface Looked {
  readonly bytes: Uint8Array;
  readonly words: DataView;
}

/** The two that were looked at last: nearly always the buffer that all sockets are read into, and the one that Huffman code is decoded into. */
let last = lookInto(new Uint8Array(0));
let before = last;

function lookInto(bytes: Uint8Array): Looked {
  return { bytes, words: new DataView(bytes.buffer, bytes.byteOffset, bytes.length) };
}

function wordsOf(bytes: Uint8Array): DataView {
  if (last.bytes !== bytes) {
    const found = before.bytes === bytes ? before : lookInto(bytes);
    before = last;
    last = found;
  }
  return last.words;
}

/** True when bytes[start..end) may be the value of a field. */
export function isValueIn(bytes: Uint8Array, start: number, end: number): boolean {
  if (start === end) return true;
  if (isBlank(bytes[start] as number) || isBlank(bytes[end - 1] as number)) return false;
  const words = wordsOf(bytes);
  let at = start;
  for (; at + 4 <= end; at += 4) if (mayHaveControl(words.getInt32(at)) && !isWordGood(bytes, at)) return false;
  for (; at < end; at += 1) if (isControl(bytes[at] as number)) return false;
  return true;
}

/** True for all words with an octet below SP or with a DEL; also for some others, as a borrow may pass from one octet to the next. */
function mayHaveControl(word: number): boolean {
  const dels = word ^ 0x7f7f7f7f;
  return ((((word - 0x20202020) & ~word) | ((dels - 0x01010101) & ~dels)) & 0x80808080) !== 0;
}

function isWordGood(bytes: Uint8Array, at: number): boolean {
  for (let index = at; index < at + 4; index += 1) if (isControl(bytes[index] as number)) return false;
  return true;
}

/** As {@link isValueIn}, of a text with one Latin-1 character per octet. */
export function isFieldValue(value: string): boolean {
  if (value.length === 0) return true;
  if (isBlank(value.charCodeAt(0)) || isBlank(value.charCodeAt(value.length - 1))) return false;
  for (let at = 0; at < value.length; at += 1) if (isControl(value.charCodeAt(at))) return false;
  return true;
}

function isBlank(code: number): boolean {
  return code === SP || code === HTAB;
}

function isControl(code: number): boolean {
  return (code < SP && code !== HTAB) || code === DEL;
}
