// Twin of sidecar/http2/hpack: blocks of gRPC in and out, the first of a connection and those that follow, and Huffman code.
import { HpackDecoder } from "../../sidecar/http2/hpack/decoder.ts";
import { HpackEncoder } from "../../sidecar/http2/hpack/encoder.ts";
import { HeaderEntry, INDEXING, type Indexing } from "../../sidecar/http2/hpack/header-entry.ts";
import { decodeHuffman, encodeHuffman, huffmanLength } from "../../sidecar/http2/hpack/huffman.ts";
import type { Cases } from "./measure.ts";

type Field = readonly [name: string, value: string, indexing?: Indexing];

/** As grpc-js asks: nine fields. */
const REQUEST: readonly Field[] = [
  [":scheme", "http"],
  [":method", "POST"],
  [":path", "/shop.Orders/Place"],
  [":authority", "orders:50051"],
  ["grpc-accept-encoding", "identity,deflate,gzip"],
  ["accept-encoding", "identity"],
  ["user-agent", "grpc-node-js/1.14.7"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];
/** The same with what is new in every request. */
const TIMED_REQUEST: readonly Field[] = [
  ...REQUEST,
  ["grpc-timeout", "1999m", INDEXING.once],
  ["traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", INDEXING.once],
];
/** As nghttp2 sends it: the path is never put into a table. */
const NGHTTP2_REQUEST: readonly Field[] = REQUEST.map(([name, value]) => (name === ":path" ? [name, value, INDEXING.once] : [name, value]));
const RESPONSE: readonly Field[] = [
  [":status", "200"],
  ["content-type", "application/grpc"],
  ["grpc-encoding", "identity"],
  ["grpc-accept-encoding", "identity,deflate,gzip"],
];
const TRAILERS: readonly Field[] = [
  ["grpc-status", "0"],
  ["grpc-message", "OK"],
];

const block = Buffer.alloc(4096);
/** Counts, as the cheapest of sinks. */
const counting = {
  fields: 0,
  add(): void {
    this.fields += 1;
  },
};

function entriesOf(fields: readonly Field[]): HeaderEntry[] {
  return fields.map(([name, value, indexing = INDEXING.indexed]) => new HeaderEntry(name, value, indexing));
}

function encode(encoder: HpackEncoder, entries: readonly HeaderEntry[]): number {
  let at = encoder.begin(block, 0);
  for (let index = 0; index < entries.length; index += 1) at = encoder.putEntry(block, at, entries[index] as HeaderEntry);
  return at;
}

function decodingFirst(fields: readonly Field[]): () => boolean {
  const bytes = Buffer.from(block.subarray(0, encode(new HpackEncoder(), entriesOf(fields))));
  return () => new HpackDecoder().decode(bytes, 0, bytes.length, counting);
}

function decodingNext(fields: readonly Field[]): () => boolean {
  const encoder = new HpackEncoder();
  const decoder = new HpackDecoder();
  decoder.decode(block, 0, encode(encoder, entriesOf(fields)), counting);
  const bytes = Buffer.from(block.subarray(0, encode(encoder, entriesOf(fields))));
  return () => decoder.decode(bytes, 0, bytes.length, counting);
}

function encodingFirst(fields: readonly Field[]): () => number {
  const entries = entriesOf(fields);
  return () => encode(new HpackEncoder(), entries);
}

/** `sender` entries of another connection have the same texts, but are not those that are in the table. */
function encodingNext(fields: readonly Field[], sender: "same" | "another" = "same"): () => number {
  const encoder = new HpackEncoder();
  const entries = entriesOf(fields);
  encode(encoder, entries);
  const sent = sender === "same" ? entries : entriesOf(fields);
  return () => encode(encoder, sent);
}

/** What a proxy does with a block: entries of one connection, which come anew where they are not in its table, into another. */
function passing(fields: readonly Field[]): () => number {
  const sender = new HpackEncoder();
  const decoder = new HpackDecoder();
  const encoder = new HpackEncoder();
  const passed = {
    at: 0,
    add(entry: HeaderEntry): void {
      this.at = encoder.putEntry(block, this.at, entry);
    },
  };
  const entries = entriesOf(fields);
  const scratch = Buffer.from(block.subarray(0, encode(sender, entries)));
  decoder.decode(scratch, 0, scratch.length, passed);
  const bytes = Buffer.from(block.subarray(0, encode(sender, entries)));
  return () => {
    passed.at = encoder.begin(block, 0);
    decoder.decode(bytes, 0, bytes.length, passed);
    return passed.at;
  };
}

const TEXT = "/shop.v1.Orders/PlaceOrder?customer=4711&dry=false";
const CODED = Buffer.alloc(64);
const CODED_BYTES = encodeHuffman(TEXT, CODED, 0);
const DECODED = Buffer.alloc(128);

/** The cases. */
export function cases(): Cases {
  return {
    "decode request, first": decodingFirst(REQUEST),
    "decode request": decodingNext(REQUEST),
    "decode request, timed": decodingNext(TIMED_REQUEST),
    "decode request of nghttp2": decodingNext(NGHTTP2_REQUEST),
    "decode response": decodingNext(RESPONSE),
    "decode trailers": decodingNext(TRAILERS),
    "encode request, first": encodingFirst(REQUEST),
    "encode request": encodingNext(REQUEST),
    "encode request, other sender": encodingNext(REQUEST, "another"),
    "encode request, timed": encodingNext(TIMED_REQUEST),
    "encode response": encodingNext(RESPONSE),
    "encode trailers": encodingNext(TRAILERS),
    "pass request": passing(REQUEST),
    "pass request of nghttp2": passing(NGHTTP2_REQUEST),
    "pass request, timed": passing(TIMED_REQUEST),
    "Huffman, decode 50": () => decodeHuffman(CODED, 0, CODED_BYTES, DECODED),
    "Huffman, encode 50": () => encodeHuffman(TEXT, CODED, 0),
    "Huffman, length of 50": () => huffmanLength(TEXT),
  };
}
