// Floods as a client sends them: for each kind the frames of one step, and how many steps may pass before the connection is told to calm down.
import {
  block,
  data,
  FLAG,
  FRAME,
  type Field,
  frame,
  goaway,
  headers,
  request,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "./frame-text.ts";

/** A flood. */
export interface Flood {
  readonly name: string;
  /** Label of `remora_http2_floods_total`. */
  readonly kind: string;
  /** What is sent before, on stream 1. */
  readonly before?: Buffer;
  /** One step, counted from 0. */
  step(index: number): Buffer;
  /** Steps after which it must be over. */
  readonly most: number;
}

/** The id of the stream that step `index` opens; 1 is for what comes before. */
const idOf = (index: number) => 2 * index + 3;

/** A request that the app does not answer, so that its stream stays open. */
const UNANSWERED = headers(1, request("POST", "/never"), false);

const TOO_MANY: readonly Field[] = Array.from({ length: 101 }, (_, index) => [`x-${index}`, ""] as const);

/** Fields that enter a table of 4096 octets, which has room for a fifth of them. */
const THRASH = block(
  Array.from({ length: 500 }, (_, at) => ["x", `${at}`] as const),
  true,
);

/** A section of more than 64 KiB, in pieces that frames have room for. */
const LARGE_SECTION = block([...request(), ["x-large", "v".repeat(66_000)]]);
const LARGE = Array.from({ length: 5 }, (_, at) => LARGE_SECTION.subarray(at * 16_384, (at + 1) * 16_384));

/** One octet for each reference to the field that was put into the table first: 0x80 | 62. */
const REFERENCE = 0xbe;

/** Puts a field of nearly a whole table into it. */
const BOMB = frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, 1, block([["x-bomb", "b".repeat(4_000)]], true));

/** The floods. */
export const FLOODS: readonly Flood[] = [
  {
    name: "rapid reset (CVE-2023-44487)",
    kind: "rapid_reset",
    step: (index) => Buffer.concat([headers(idOf(index), request("GET", "/never")), reset(idOf(index), 8)]),
    most: 5_000,
  },
  {
    name: "resets that we are made to send: content-length that disagrees (CVE-2025-8671)",
    kind: "provoked_reset",
    step: (index) =>
      Buffer.concat([headers(idOf(index), [...request("POST"), ["content-length", "5"]], false), data(idOf(index), "x", true)]),
    most: 600,
  },
  {
    name: "resets that we are made to send: a window that overflows",
    kind: "provoked_reset",
    step: (index) => Buffer.concat([headers(idOf(index), request("POST", "/never"), false), windowUpdate(idOf(index), 0x7fffffff)]),
    most: 600,
  },
  {
    name: "resets that we are made to send: a window that grows by nothing",
    kind: "provoked_reset",
    step: (index) => Buffer.concat([headers(idOf(index), request("POST", "/never"), false), windowUpdate(idOf(index), 0)]),
    most: 600,
  },
  {
    name: "resets that we are made to send: DATA on half-closed streams",
    kind: "provoked_reset",
    step: (index) => Buffer.concat([headers(idOf(index), request("POST", "/never")), data(idOf(index), "x")]),
    most: 600,
  },
  {
    name: "resets that we are made to send: HEADERS on half-closed streams",
    kind: "provoked_reset",
    step: (index) => Buffer.concat([headers(idOf(index), request("POST", "/never")), headers(idOf(index), [["x-a", "b"]])]),
    most: 600,
  },
  {
    name: "resets that we are made to send: malformed requests",
    kind: "provoked_reset",
    step: (index) => headers(idOf(index), [...request(), ["Upper", "case"]]),
    most: 600,
  },
  {
    name: "CONTINUATION (VU#421644)",
    kind: "continuation",
    before: frame(FRAME.headers, 0, 1, block(request())),
    step: () => frame(FRAME.continuation, 0, 1, block([["x-a", "b"]])),
    most: 20,
  },
  {
    name: "CONTINUATION, empty",
    kind: "continuation",
    before: frame(FRAME.headers, 0, 1, block(request())),
    step: () => frame(FRAME.continuation, 0, 1),
    most: 20,
  },
  { name: "SETTINGS", kind: "settings", step: () => settings([3, 100]), most: 200 },
  {
    name: "SETTINGS of thousands of windows",
    kind: "settings",
    step: () => settings(...Array.from({ length: 2_000 }, (_, at) => [4, at] as const)),
    most: 2,
  },
  { name: "acknowledged SETTINGS", kind: "settings", step: () => frame(FRAME.settings, FLAG.ack, 0), most: 200 },
  { name: "PING", kind: "ping", step: () => frame(FRAME.ping, 0, 0, Buffer.alloc(8)), most: 600 },
  { name: "PING that nobody asked for", kind: "ping", step: () => frame(FRAME.ping, FLAG.ack, 0, Buffer.alloc(8)), most: 600 },
  { name: "empty DATA", kind: "empty_data", before: UNANSWERED, step: () => data(1, ""), most: 600 },
  {
    name: "DATA of nothing but padding",
    kind: "empty_data",
    before: UNANSWERED,
    step: () => frame(FRAME.data, FLAG.padded, 1, Buffer.from([3, 0, 0, 0])),
    most: 600,
  },
  { name: "WINDOW_UPDATE of the connection", kind: "window_update", step: () => windowUpdate(0, 1), most: 3_000 },
  { name: "WINDOW_UPDATE of a stream", kind: "window_update", before: UNANSWERED, step: () => windowUpdate(1, 1), most: 3_000 },
  {
    name: "PRIORITY",
    kind: "priority",
    step: (index) => frame(FRAME.priority, 0, idOf(index), Buffer.concat([uint32(0), Buffer.from([1])])),
    most: 3_000,
  },
  { name: "GOAWAY", kind: "goaway", step: () => goaway(0, 0), most: 100 },
  { name: "unknown frames", kind: "stray_frame", step: () => frame(0xfe, 0, 0), most: 30_000 },
  {
    name: "frames on a stream that is over",
    kind: "stray_frame",
    before: Buffer.concat([UNANSWERED, reset(1, 8)]),
    step: () => data(1, "x"),
    most: 30_000,
  },
  {
    name: "an HPACK bomb: one field referred to thousands of times",
    kind: "hpack_bomb",
    before: BOMB,
    step: (index) => frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, idOf(index), Buffer.alloc(8_000, REFERENCE)),
    most: 3,
  },
  {
    name: "small HPACK bombs, one after the other",
    kind: "large_head",
    before: BOMB,
    step: (index) => frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, idOf(index), Buffer.alloc(1_000, REFERENCE)),
    most: 600,
  },
  {
    name: "HPACK table thrash by sections of thousands of fields",
    kind: "large_head",
    step: (index) => frame(FRAME.headers, FLAG.endHeaders | FLAG.endStream, idOf(index), THRASH),
    most: 600,
  },
  {
    name: "heads of more than 100 fields",
    kind: "large_head",
    step: (index) => headers(idOf(index), [...request(), ...TOO_MANY]),
    most: 600,
  },
  {
    name: "heads of more than 64 KiB",
    kind: "large_head",
    step: (index) =>
      Buffer.concat(
        LARGE.map((piece, at) =>
          frame(
            at === 0 ? FRAME.headers : FRAME.continuation,
            (at === LARGE.length - 1 ? FLAG.endHeaders : 0) | (at === 0 ? FLAG.endStream : 0),
            idOf(index),
            piece,
          ),
        ),
      ),
    most: 600,
  },
];
