// Blocks for the tests of HPACK: read from hex as RFC 7541 prints them, and decoded into lists.
import type { HpackDecoder } from "../../../../sidecar/http2/hpack/decoder.ts";
import { type HeaderEntry, INDEXING } from "../../../../sidecar/http2/hpack/header-entry.ts";

export function hex(text: string): Buffer {
  return Buffer.from(text.replaceAll(/\s/g, ""), "hex");
}

/** The fields of a block as lines, "name: value", with ", never" or ", once" behind those that are not for tables; the flaw where it has one. */
export function decoded(decoder: HpackDecoder, block: Buffer): string[] | string {
  const lines: string[] = [];
  const add = ({ name, value, indexing }: HeaderEntry) => {
    lines.push(`${name}: ${value}${indexing === INDEXING.never ? ", never" : indexing === INDEXING.once ? ", once" : ""}`);
  };
  return decoder.decode(block, 0, block.length, { add }) ? lines : decoder.flaw;
}
