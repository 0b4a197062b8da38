// What RFC 9113 does not allow a client, row by row: the bytes, the section that says so, and what has to come of them. Nothing of it may reach an app.
import {
  block,
  data,
  FLAG,
  FRAME,
  type Field,
  frame,
  goaway,
  headers,
  PREFACE,
  request,
  reset,
  settings,
  uint32,
  windowUpdate,
} from "./frame-text.ts";

/** What a client hears: a stream that is reset, a connection that is given up with a GOAWAY, or an answer. */
export type Outcome = { readonly stream: number } | { readonly connection: number } | { readonly status: number };

/** One row. Its stream is number 1 where it has one. */
export interface FlawRow {
  readonly name: string;
  /** Of RFC 9113, unless it says otherwise. */
  readonly section: string;
  readonly bytes: Buffer;
  readonly outcome: Outcome;
  /** False where the bytes hold a request that is right, too. */
  readonly reachesNobody?: false;
  /** What comes before, instead of a preface with empty SETTINGS. */
  readonly preface?: Buffer;
}

const NO_ERROR = 0;
const PROTOCOL_ERROR = 1;
const FLOW_CONTROL_ERROR = 3;
const STREAM_CLOSED = 5;
const FRAME_SIZE_ERROR = 6;
const COMPRESSION_ERROR = 9;

const MALFORMED: Outcome = { stream: PROTOCOL_ERROR };
const PROTOCOL: Outcome = { connection: PROTOCOL_ERROR };
const SIZE: Outcome = { connection: FRAME_SIZE_ERROR };

/** A request without the fields named, with others behind. */
function without(names: readonly string[], ...more: readonly Field[]): Field[] {
  return [...request().filter(([name]) => !names.includes(name)), ...more];
}

function malformed(section: string, name: string, fields: readonly Field[]): FlawRow {
  return { section, name, bytes: headers(1, fields), outcome: MALFORMED };
}

/** A request whose body is still to come, on a path that the app does not answer. */
const OPEN = headers(1, request("POST", "/never"), false);
const END = FLAG.endHeaders | FLAG.endStream;

/** The rows. */
export const REQUEST_FLAWS: readonly FlawRow[] = [
  // Fields.
  malformed("8.2", "a name in upper case", [...request(), ["X-Upper", "a"]]),
  malformed("8.2.1", "a name with a space", [...request(), ["x y", "a"]]),
  malformed("8.2.1", "an empty name", [...request(), ["", "a"]]),
  malformed("8.2.1", "a colon within a name", [...request(), ["x:y", "a"]]),
  malformed("8.2.1", "a name beyond ASCII", [...request(), ["x\xe9", "a"]]),
  malformed("8.2.1", "a line feed in a value", [...request(), ["x-a", "a\nx-forged: b"]]),
  malformed("8.2.1", "a carriage return in a value", [...request(), ["x-a", "a\rb"]]),
  malformed("8.2.1", "NUL in a value", [...request(), ["x-a", "a\0b"]]),
  malformed("8.2.1", "a blank in front of a value", [...request(), ["x-a", " a"]]),
  malformed("8.2.1", "a tab behind a value", [...request(), ["x-a", "a\t"]]),
  ...(["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"] as const).map((name) =>
    malformed("8.2.2", `the field ${name}`, [...request(), [name, name === "transfer-encoding" ? "chunked" : "x-a"]]),
  ),
  malformed("8.2.2", "te of anything but trailers", [...request(), ["te", "trailers, deflate"]]),
  // Pseudo-header fields.
  malformed("8.3", "a pseudo-header field behind others", [...without([":path"]), ["x-a", "b"], [":path", "/"]]),
  malformed("8.3", "a pseudo-header field that nobody knows", [[":unknown", "a"], ...request()]),
  malformed("8.3", "a pseudo-header field in upper case", [[":Method", "GET"], ...without([":method"])]),
  malformed("8.3", ":status in a request", [[":status", "200"], ...request()]),
  ...request().map(([name, value]) => malformed("8.3.1", `two ${name}`, [[name, value], ...request()])),
  ...[":method", ":scheme", ":path"].map((name) => malformed("8.3.1", `no ${name}`, without([name]))),
  malformed("8.3.1", "neither :authority nor host", without([":authority"])),
  malformed("8.3.1", "an empty :authority", [[":authority", ""], ...without([":authority"])]),
  malformed("8.3.1", "an empty host", without([":authority"], ["host", ""])),
  malformed("8.3.1", "userinfo in :authority", [[":authority", "user:secret@orders"], ...without([":authority"])]),
  malformed("8.3.1", "userinfo in host", without([":authority"], ["host", "user@orders"])),
  malformed("8.3.1", ":authority and host that disagree", [...request(), ["host", "other"]]),
  malformed("8.3.1", "two hosts that disagree", without([":authority"], ["host", "orders"], ["host", "other"])),
  malformed("8.3.1", "a path in :authority", [[":authority", "orders/admin"], ...without([":authority"])]),
  malformed("8.3.1", "a blank in :authority", [[":authority", "orders other"], ...without([":authority"])]),
  malformed("8.3.1", "an empty :path", [[":path", ""], ...without([":path"])]),
  malformed("8.3.1", "a :path without its slash", [[":path", "a"], ...without([":path"])]),
  malformed("8.3.1", "a :path in absolute form", [[":path", "http://orders/"], ...without([":path"])]),
  malformed("8.3.1", "* for a GET", [[":path", "*"], ...without([":path"])]),
  malformed("8.3.1", "a blank in :path", [[":path", "/ HTTP/1.1"], ...without([":path"])]),
  malformed("8.3.1", "a fragment in :path", [[":path", "/a#b"], ...without([":path"])]),
  malformed("8.3.1", "an empty :method", [[":method", ""], ...without([":method"])]),
  malformed("8.3.1", "a :method that is no token", [[":method", "GET /"], ...without([":method"])]),
  // CONNECT.
  malformed("8.5", "CONNECT with a :path", [
    [":method", "CONNECT"],
    [":authority", "orders:80"],
    [":path", "/"],
  ]),
  malformed("8.5", "CONNECT with a :scheme", [
    [":method", "CONNECT"],
    [":authority", "orders:80"],
    [":scheme", "http"],
  ]),
  malformed("8.5", "CONNECT without an :authority", [[":method", "CONNECT"]]),
  malformed("RFC 8441, 4", ":protocol without CONNECT", [...request(), [":protocol", "websocket"]].sort(pseudoFirst) as Field[]),
  malformed("RFC 8441, 4", "extended CONNECT without a :path", [
    [":method", "CONNECT"],
    [":protocol", "websocket"],
    [":scheme", "http"],
    [":authority", "orders"],
  ]),
  // Content.
  malformed("8.1.1", "a content-length that is no number", [...request("POST"), ["content-length", "5x"]]),
  malformed("8.1.1", "a negative content-length", [...request("POST"), ["content-length", "-1"]]),
  malformed("8.1.1", "two content-lengths that disagree", [...request("POST"), ["content-length", "1"], ["content-length", "2"]]),
  malformed("RFC 9110, 8.6", "two content-lengths that agree", [...request("POST"), ["content-length", "0"], ["content-length", "0"]]),
  malformed("8.1.1", "a content-length without content", [...request("POST"), ["content-length", "5"]]),
  {
    section: "8.1.1",
    name: "less content than content-length says",
    bytes: Buffer.concat([headers(1, [...request("POST", "/never"), ["content-length", "5"]], false), data(1, "four", true)]),
    outcome: MALFORMED,
    reachesNobody: false,
  },
  {
    section: "8.1.1",
    name: "more content than content-length says",
    bytes: Buffer.concat([headers(1, [...request("POST", "/never"), ["content-length", "5"]], false), data(1, "sixsix")]),
    outcome: MALFORMED,
    reachesNobody: false,
  },
  {
    section: "8.1",
    name: "a pseudo-header field in trailers",
    bytes: Buffer.concat([OPEN, headers(1, [[":path", "/"]])]),
    outcome: MALFORMED,
    reachesNobody: false,
  },
  {
    section: "8.1",
    name: "a second head that does not end the stream",
    bytes: Buffer.concat([OPEN, headers(1, [["x-a", "b"]], false)]),
    outcome: MALFORMED,
    reachesNobody: false,
  },
  {
    section: "8.2.2",
    name: "a field of a connection in trailers",
    bytes: Buffer.concat([OPEN, headers(1, [["connection", "close"]])]),
    outcome: MALFORMED,
    reachesNobody: false,
  },
  // Frames.
  {
    section: "3.4",
    name: "no preface",
    preface: Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r"),
    bytes: Buffer.alloc(0),
    outcome: PROTOCOL,
  },
  { section: "3.4", name: "a request before SETTINGS", preface: PREFACE, bytes: headers(1, request()), outcome: PROTOCOL },
  {
    section: "3.4",
    name: "an acknowledgement before SETTINGS",
    preface: PREFACE,
    bytes: frame(FRAME.settings, FLAG.ack, 0),
    outcome: PROTOCOL,
  },
  {
    section: "4.2",
    name: "a frame that is larger than SETTINGS_MAX_FRAME_SIZE",
    bytes: frame(FRAME.data, 0, 1, Buffer.alloc(16_385)),
    outcome: SIZE,
  },
  {
    section: "4.3",
    name: "a header block that is no HPACK",
    bytes: frame(FRAME.headers, END, 1, Buffer.from([0xff, 0xff, 0xff, 0xff, 0xff, 0x7f])),
    outcome: { connection: COMPRESSION_ERROR },
  },
  {
    section: "4.3",
    name: "an index beyond the table",
    bytes: frame(FRAME.headers, END, 1, Buffer.from([0xfe])),
    outcome: { connection: COMPRESSION_ERROR },
  },
  {
    section: "RFC 7541, 4.2",
    name: "a table larger than SETTINGS_HEADER_TABLE_SIZE",
    bytes: frame(FRAME.headers, END, 1, Buffer.from([0x3f, 0xff, 0xff, 0x03])),
    outcome: { connection: COMPRESSION_ERROR },
  },
  { section: "5.1", name: "DATA on an idle stream", bytes: data(1, "x"), outcome: PROTOCOL },
  { section: "5.1", name: "RST_STREAM on an idle stream", bytes: reset(1, 8), outcome: PROTOCOL },
  { section: "5.1", name: "WINDOW_UPDATE on an idle stream", bytes: windowUpdate(1, 1), outcome: PROTOCOL },
  {
    section: "5.1",
    name: "DATA on a half-closed stream",
    bytes: Buffer.concat([headers(1, request("POST", "/never")), data(1, "x")]),
    outcome: { stream: STREAM_CLOSED },
    reachesNobody: false,
  },
  {
    section: "5.1",
    name: "HEADERS on a half-closed stream",
    bytes: Buffer.concat([headers(1, request("POST", "/never")), headers(1, [["x-a", "b"]])]),
    outcome: { stream: STREAM_CLOSED },
    reachesNobody: false,
  },
  { section: "5.1.1", name: "a stream with an even number", bytes: headers(2, request()), outcome: PROTOCOL },
  { section: "6.1", name: "DATA without a stream", bytes: data(0, "x"), outcome: PROTOCOL },
  {
    section: "6.1",
    name: "DATA with padding as long as the frame",
    bytes: Buffer.concat([OPEN, frame(FRAME.data, FLAG.padded, 1, Buffer.from([4, 0, 0, 0]))]),
    outcome: PROTOCOL,
    reachesNobody: false,
  },
  {
    section: "4.2",
    name: "DATA too short for its padding's length",
    bytes: Buffer.concat([OPEN, frame(FRAME.data, FLAG.padded, 1)]),
    outcome: SIZE,
    reachesNobody: false,
  },
  { section: "6.2", name: "HEADERS without a stream", bytes: headers(0, request()), outcome: PROTOCOL },
  {
    section: "6.2",
    name: "HEADERS with padding as long as the frame",
    bytes: frame(FRAME.headers, END | FLAG.padded, 1, Buffer.from([2, 0x82])),
    outcome: PROTOCOL,
  },
  {
    section: "4.2",
    name: "HEADERS too short for their padding's length",
    bytes: frame(FRAME.headers, END | FLAG.padded, 1),
    outcome: SIZE,
  },
  {
    section: "4.2",
    name: "HEADERS too short for their priority",
    bytes: frame(FRAME.headers, END | FLAG.priority, 1, Buffer.alloc(4)),
    outcome: SIZE,
  },
  { section: "6.3", name: "PRIORITY without a stream", bytes: frame(FRAME.priority, 0, 0, Buffer.alloc(5)), outcome: PROTOCOL },
  { section: "6.3", name: "PRIORITY of another size", bytes: frame(FRAME.priority, 0, 1, Buffer.alloc(4)), outcome: SIZE },
  { section: "6.4", name: "RST_STREAM without a stream", bytes: reset(0, 8), outcome: PROTOCOL },
  {
    section: "6.4",
    name: "RST_STREAM of another size",
    bytes: Buffer.concat([OPEN, frame(FRAME.reset, 0, 1, Buffer.alloc(3))]),
    outcome: SIZE,
    reachesNobody: false,
  },
  { section: "6.5", name: "SETTINGS on a stream", bytes: frame(FRAME.settings, 0, 1), outcome: PROTOCOL },
  { section: "6.5", name: "SETTINGS of another size", bytes: frame(FRAME.settings, 0, 0, Buffer.alloc(5)), outcome: SIZE },
  {
    section: "6.5",
    name: "an acknowledgement with settings in it",
    bytes: frame(FRAME.settings, FLAG.ack, 0, Buffer.alloc(6)),
    outcome: SIZE,
  },
  { section: "6.5.2", name: "SETTINGS_ENABLE_PUSH of 2", bytes: settings([2, 2]), outcome: PROTOCOL },
  { section: "RFC 8441, 3", name: "SETTINGS_ENABLE_CONNECT_PROTOCOL of 2", bytes: settings([8, 2]), outcome: PROTOCOL },
  {
    section: "6.5.2",
    name: "SETTINGS_INITIAL_WINDOW_SIZE beyond 31 bits",
    bytes: settings([4, 0x80000000]),
    outcome: { connection: FLOW_CONTROL_ERROR },
  },
  { section: "6.5.2", name: "SETTINGS_MAX_FRAME_SIZE below 16384", bytes: settings([5, 16_383]), outcome: PROTOCOL },
  { section: "6.5.2", name: "SETTINGS_MAX_FRAME_SIZE beyond 24 bits", bytes: settings([5, 0x1000000]), outcome: PROTOCOL },
  {
    section: "6.6",
    name: "PUSH_PROMISE of a client",
    bytes: frame(FRAME.pushPromise, FLAG.endHeaders, 1, Buffer.concat([uint32(2), block(request())])),
    outcome: PROTOCOL,
  },
  { section: "6.7", name: "PING on a stream", bytes: frame(FRAME.ping, 0, 1, Buffer.alloc(8)), outcome: PROTOCOL },
  { section: "6.7", name: "PING of another size", bytes: frame(FRAME.ping, 0, 0, Buffer.alloc(7)), outcome: SIZE },
  { section: "6.8", name: "GOAWAY on a stream", bytes: frame(FRAME.goaway, 0, 1, Buffer.alloc(8)), outcome: PROTOCOL },
  { section: "6.8", name: "GOAWAY of another size", bytes: frame(FRAME.goaway, 0, 0, Buffer.alloc(7)), outcome: SIZE },
  { section: "6.9", name: "WINDOW_UPDATE of another size", bytes: frame(FRAME.windowUpdate, 0, 0, Buffer.alloc(5)), outcome: SIZE },
  { section: "6.9", name: "WINDOW_UPDATE of nothing for the connection", bytes: windowUpdate(0, 0), outcome: PROTOCOL },
  {
    section: "6.9",
    name: "WINDOW_UPDATE of nothing for a stream",
    bytes: Buffer.concat([OPEN, windowUpdate(1, 0)]),
    outcome: MALFORMED,
    reachesNobody: false,
  },
  {
    section: "6.9.1",
    name: "a connection's window beyond 31 bits",
    bytes: windowUpdate(0, 0x7fffffff),
    outcome: { connection: FLOW_CONTROL_ERROR },
  },
  {
    section: "6.9.1",
    name: "a stream's window beyond 31 bits",
    bytes: Buffer.concat([OPEN, windowUpdate(1, 0x7fffffff)]),
    outcome: { stream: FLOW_CONTROL_ERROR },
    reachesNobody: false,
  },
  {
    section: "6.9.2",
    name: "a stream's window beyond 31 bits by SETTINGS",
    bytes: Buffer.concat([OPEN, windowUpdate(1, 1), settings([4, 0x7fffffff])]),
    outcome: { connection: FLOW_CONTROL_ERROR },
    reachesNobody: false,
  },
  {
    section: "6.10",
    name: "CONTINUATION without HEADERS",
    bytes: frame(FRAME.continuation, FLAG.endHeaders, 1, block(request())),
    outcome: PROTOCOL,
  },
  {
    section: "6.10",
    name: "CONTINUATION behind a whole section",
    bytes: Buffer.concat([OPEN, frame(FRAME.continuation, FLAG.endHeaders, 1)]),
    outcome: PROTOCOL,
    reachesNobody: false,
  },
  {
    section: "6.10",
    name: "another frame within a header section",
    bytes: Buffer.concat([frame(FRAME.headers, 0, 1, block(request())), frame(FRAME.ping, 0, 0, Buffer.alloc(8))]),
    outcome: PROTOCOL,
  },
  {
    section: "6.10",
    name: "an unknown frame within a header section",
    bytes: Buffer.concat([frame(FRAME.headers, 0, 1, block(request())), frame(0xfe, 0, 0)]),
    outcome: PROTOCOL,
  },
  {
    section: "6.10",
    name: "DATA within a header section",
    bytes: Buffer.concat([frame(FRAME.headers, 0, 1, block(request())), data(1, "x")]),
    outcome: PROTOCOL,
  },
  {
    section: "6.10",
    name: "CONTINUATION of another stream",
    bytes: Buffer.concat([frame(FRAME.headers, 0, 1, block(request())), frame(FRAME.continuation, FLAG.endHeaders, 3)]),
    outcome: PROTOCOL,
  },
  // What is right, or harmless.
  {
    section: "8.2.3",
    name: "cookies in several fields",
    bytes: headers(1, [...request(), ["cookie", "a=b"], ["cookie", "c=d"]]),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "8.2.2",
    name: "te: trailers",
    bytes: headers(1, [...request(), ["te", "trailers"]]),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "8.3.1",
    name: "host instead of :authority",
    bytes: headers(1, without([":authority"], ["host", "orders"])),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  { section: "8.3.1", name: "* for OPTIONS", bytes: headers(1, request("OPTIONS", "*")), outcome: { status: 200 }, reachesNobody: false },
  {
    section: "5.5",
    name: "an unknown frame",
    bytes: Buffer.concat([frame(0xfe, 0xff, 7, Buffer.alloc(30)), headers(1, request())]),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "4.1",
    name: "the reserved bit of a stream's number",
    bytes: headers(0x80000001 >>> 0, request()),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "6.5.2",
    name: "an unknown setting",
    bytes: Buffer.concat([settings([99, 1]), headers(1, request())]),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "6.8",
    name: "a client's GOAWAY",
    bytes: Buffer.concat([goaway(0, NO_ERROR), headers(1, request())]),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "5.3",
    name: "HEADERS with padding and a priority",
    bytes: frame(
      FRAME.headers,
      END | FLAG.padded | FLAG.priority,
      1,
      Buffer.concat([Buffer.from([3]), Buffer.alloc(5), block(request()), Buffer.alloc(3)]),
    ),
    outcome: { status: 200 },
    reachesNobody: false,
  },
  {
    section: "10.5.1",
    name: "a head of more than 100 fields",
    bytes: headers(1, [...request(), ...Array.from({ length: 101 }, (_, at) => [`x-${at}`, ""] as const)]),
    outcome: { status: 431 },
  },
];

function pseudoFirst([left]: Field | string[], [right]: Field | string[]): number {
  return Number(!left?.startsWith(":")) - Number(!right?.startsWith(":"));
}
