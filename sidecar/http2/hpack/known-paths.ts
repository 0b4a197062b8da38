// Paths that came more than once as literals without indexing. nghttp2, and so curl, node:http2 and grpc-js, never puts `:path` into a table, though the paths
// of a gRPC service are few and come with every call; kept, they are decoded once, and go on as fields that are worth a place in the next table. One store
// for the process, of a fixed number of places. A path with a query is not kept: it may have a secret in it, and a table is where such can be guessed
// (RFC 7541 section 7.1).
//
// HOT PATH: a path that is known costs a hash and a comparison of the octets it comes as.
import { HeaderEntry, type HeaderName, INDEXING } from "./header-entry.ts";
import { areKept, copyOf, hashOf, NO_OCTETS, PLACES } from "./kept-octets.ts";
import { textIn } from "./literal-text.ts";
import { STATIC_ENTRIES } from "./static-table.ts";

/** Longer paths are not kept; with all places taken the store is some tens of kilobytes. */
const MAX_KEPT_OCTETS = 96;

/** By place: what the last path there was, by its hash. It is kept when it comes again, so that those which come once cost no copy. */
const hashesSeen = new Int32Array(PLACES);
const octetsKept: Uint8Array[] = new Array<Uint8Array>(PLACES).fill(NO_OCTETS);
const huffmanKept: boolean[] = new Array<boolean>(PLACES).fill(false);
const entriesKept: HeaderEntry[] = new Array<HeaderEntry>(PLACES).fill(STATIC_ENTRIES[4] as HeaderEntry);

/** The entry of the path that comes as bytes[start..end); null for one that is not known. */
export function knownPath(bytes: Buffer, start: number, end: number, isHuffman: boolean): HeaderEntry | null {
  const length = end - start;
  if (length === 0 || length > MAX_KEPT_OCTETS) return null;
  const hash = hashOf(bytes, start, end, isHuffman);
  const place = hash & (PLACES - 1);
  if (huffmanKept[place] === isHuffman && areKept(octetsKept[place] as Uint8Array, bytes, start, length))
    return entriesKept[place] as HeaderEntry;
  if (hashesSeen[place] === hash) return keep(place, bytes, start, end, isHuffman);
  hashesSeen[place] = hash;
  return null;
}

const PATH: HeaderName = (STATIC_ENTRIES[4] as HeaderEntry).known;

function keep(place: number, bytes: Buffer, start: number, end: number, isHuffman: boolean): HeaderEntry | null {
  const text = textIn(bytes, start, end, isHuffman);
  if (text?.includes("?") !== false) return null;
  const entry = new HeaderEntry(PATH, text, INDEXING.indexed);
  octetsKept[place] = copyOf(bytes, start, end);
  huffmanKept[place] = isHuffman;
  entriesKept[place] = entry;
  return entry;
}
