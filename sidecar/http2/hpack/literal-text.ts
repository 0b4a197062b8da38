// Strings of literals (RFC 7541 section 5.2) as texts, one Latin-1 character per octet, and values of fields as entries.
//
// HOT PATH: nothing is allocated but the text and the entry. A value is looked at while it is still octets.
import { isValueIn } from "./field-value.ts";
import { HeaderEntry, type HeaderName, type Indexing } from "./header-entry.ts";
import { decodeHuffman, mostDecoded } from "./huffman.ts";

/** What most decoded strings fit into; a longer one has a buffer of its own, bound by the block it is in. */
const scratch = Buffer.allocUnsafeSlow(16 * 1024);

/** Up to here a text is sooner made of its characters than by a call into native code. */
const MAX_MADE_HERE = 4;

/** What `toString("latin1")` calls behind its checks, which cost as much as the text; the types do not have it. */
interface Latin1Bytes {
  latin1Slice(start: number, end: number): string;
}

/** The text of bytes[start..end); null for a flaw in its Huffman code. */
export function textIn(bytes: Buffer, start: number, end: number, isHuffman: boolean): string | null {
  if (!isHuffman) return latin1(bytes, start, end);
  const decoded = roomFor(end - start);
  const octets = decodeHuffman(bytes, start, end, decoded);
  return octets === -1 ? null : latin1(decoded, 0, octets);
}

/** The field of that name whose value is bytes[start..end); null for a flaw in its Huffman code. */
export function entryIn(
  bytes: Buffer,
  start: number,
  end: number,
  isHuffman: boolean,
  name: HeaderName,
  indexing: Indexing,
): HeaderEntry | null {
  if (!isHuffman) return new HeaderEntry(name, latin1(bytes, start, end), indexing, isValueIn(bytes, start, end));
  const decoded = roomFor(end - start);
  const octets = decodeHuffman(bytes, start, end, decoded);
  return octets === -1 ? null : new HeaderEntry(name, latin1(decoded, 0, octets), indexing, isValueIn(decoded, 0, octets));
}

/** Room for what `octets` of Huffman code become. */
function roomFor(octets: number): Buffer {
  const most = mostDecoded(octets);
  return most <= scratch.length ? scratch : Buffer.allocUnsafe(most);
}

function latin1(bytes: Buffer, start: number, end: number): string {
  if (end - start > MAX_MADE_HERE) return (bytes as Buffer & Latin1Bytes).latin1Slice(start, end);
  let text = "";
  for (let at = start; at < end; at += 1) text += String.fromCharCode(bytes[at] as number);
  return text;
}
