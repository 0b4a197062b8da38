// Names that came as literals, kept so that the next connection which sends one has the same text, and what is known of it: nothing is decoded or looked
// up again. One store for the process, of a fixed number of places; a name that falls on a taken one takes it over.
//
// HOT PATH: a name that is known costs a hash and a comparison of the octets it comes as.
import { HeaderName } from "./header-entry.ts";
import { decodeHuffman, mostDecoded } from "./huffman.ts";
import { STATIC_NAMES } from "./static-table.ts";

/** Places: a power of two. */
const PLACES = 256;

/** Longer names are not kept; with all places taken the store is a few tens of kilobytes. */
const MAX_KEPT_OCTETS = 48;

const NO_OCTETS = new Uint8Array(0);

/** What the kept names came as, and whether that was Huffman code. */
const octetsKept: Uint8Array[] = new Array<Uint8Array>(PLACES).fill(NO_OCTETS);
const huffmanKept = new Uint8Array(PLACES);
const namesKept: HeaderName[] = new Array<HeaderName>(PLACES).fill(new HeaderName(""));

/** The name that comes as bytes[start..end); null for a flaw in its Huffman code. */
export function nameIn(bytes: Buffer, start: number, end: number, isHuffman: boolean): HeaderName | null {
  const length = end - start;
  if (length > MAX_KEPT_OCTETS) return readName(bytes, start, end, isHuffman);
  const coding = isHuffman ? 1 : 0;
  const place = placeOf(bytes, start, end, coding);
  if (huffmanKept[place] === coding && isKept(octetsKept[place] as Uint8Array, bytes, start, length)) return namesKept[place] as HeaderName;
  const name = readName(bytes, start, end, isHuffman);
  if (name === null) return null;
  octetsKept[place] = Uint8Array.prototype.slice.call(bytes, start, end);
  huffmanKept[place] = coding;
  namesKept[place] = name;
  return name;
}

function readName(bytes: Buffer, start: number, end: number, isHuffman: boolean): HeaderName | null {
  const text = textIn(bytes, start, end, isHuffman);
  return text === null ? null : (STATIC_NAMES.get(text)?.known ?? new HeaderName(text));
}

function placeOf(bytes: Uint8Array, start: number, end: number, coding: number): number {
  let hash = coding;
  for (let at = start; at < end; at += 1) hash = (Math.imul(hash, 31) + (bytes[at] as number)) | 0;
  return (hash ^ (hash >>> 8)) & (PLACES - 1);
}

function isKept(kept: Uint8Array, bytes: Uint8Array, start: number, length: number): boolean {
  if (kept.length !== length) return false;
  for (let at = 0; at < length; at += 1) if (kept[at] !== bytes[start + at]) return false;
  return true;
}

/** What most decoded strings fit into; a longer one has a buffer of its own, bound by the block it is in. */
const scratch = Buffer.allocUnsafeSlow(16 * 1024);

/** The text, one Latin-1 character per octet, that comes as bytes[start..end); null for a flaw in its Huffman code. */
export function textIn(bytes: Buffer, start: number, end: number, isHuffman: boolean): string | null {
  if (!isHuffman) return bytes.toString("latin1", start, end);
  const most = mostDecoded(end - start);
  const text = most <= scratch.length ? scratch : Buffer.allocUnsafe(most);
  const octets = decodeHuffman(bytes, start, end, text);
  return octets === -1 ? null : text.toString("latin1", 0, octets);
}
