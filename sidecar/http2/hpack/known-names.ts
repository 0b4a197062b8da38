// Names that came as literals, kept so that the next connection which sends one has the same text, and what is known of it: nothing is decoded or looked
// up again. One store for the process, of a fixed number of places.
//
// HOT PATH: a name that is known costs a hash and a comparison of the octets it comes as.
import { HeaderName } from "./header-entry.ts";
import { areKept, copyOf, hashOf, NO_OCTETS, PLACES } from "./kept-octets.ts";
import { textIn } from "./literal-text.ts";
import { STATIC_NAMES } from "./static-table.ts";

/** Longer names are not kept; with all places taken the store is a few tens of kilobytes. */
const MAX_KEPT_OCTETS = 48;

const octetsKept: Uint8Array[] = new Array<Uint8Array>(PLACES).fill(NO_OCTETS);
const huffmanKept: boolean[] = new Array<boolean>(PLACES).fill(false);
const namesKept: HeaderName[] = new Array<HeaderName>(PLACES).fill(new HeaderName(""));

/** The name that comes as bytes[start..end); null for a flaw in its Huffman code. */
export function nameIn(bytes: Buffer, start: number, end: number, isHuffman: boolean): HeaderName | null {
  const length = end - start;
  if (length > MAX_KEPT_OCTETS) return readName(bytes, start, end, isHuffman);
  const place = hashOf(bytes, start, end, isHuffman) & (PLACES - 1);
  if (huffmanKept[place] === isHuffman && areKept(octetsKept[place] as Uint8Array, bytes, start, length))
    return namesKept[place] as HeaderName;
  const name = readName(bytes, start, end, isHuffman);
  if (name === null) return null;
  octetsKept[place] = copyOf(bytes, start, end);
  huffmanKept[place] = isHuffman;
  namesKept[place] = name;
  return name;
}

function readName(bytes: Buffer, start: number, end: number, isHuffman: boolean): HeaderName | null {
  const text = textIn(bytes, start, end, isHuffman);
  return text === null ? null : (STATIC_NAMES.get(text)?.known ?? new HeaderName(text));
}
