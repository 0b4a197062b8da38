// What RFC 9113 does not allow a server, and what a hostile one may do beyond that: what it writes when a request comes, and what the client hears of it. Nothing
// of a flawed answer is passed on.
import type { FramePeer } from "./frame-peer.ts";
import { block, data, FLAG, FRAME, type Field, frame, goaway, headers, reset, settings, uint32, windowUpdate } from "./frame-text.ts";

/** What the client hears: a status of the sidecar, or an answer that was begun and is reset. */
export type Outcome = { readonly status: number } | { readonly isReset: true };

/** One row. */
export interface AnswerRow {
  readonly name: string;
  /** Of RFC 9113, unless it says otherwise. */
  readonly section: string;
  /** Writes the answer to the request on stream `id`. */
  answer(app: FramePeer, id: number): void;
  readonly outcome: Outcome;
  readonly method?: string;
  /** Label of `remora_http2_floods_total`, where the connection to the app is cut off for a flood. */
  readonly flood?: string;
}

const BAD_GATEWAY: Outcome = { status: 502 };
const OK: Field = [":status", "200"];

function malformed(section: string, name: string, fields: readonly Field[], isEnd = true): AnswerRow {
  return { section, name, answer: (app, id) => app.send(headers(id, fields, isEnd)), outcome: BAD_GATEWAY };
}

function flood(kind: string, name: string, step: (id: number) => Buffer, steps: number): AnswerRow {
  return {
    section: "10.5",
    name: `a flood of ${name}`,
    answer: (app, id) => app.send(...Array.from({ length: steps }, () => step(id))),
    outcome: BAD_GATEWAY,
    flood: kind,
  };
}

/** The rows. */
export const ANSWER_FLAWS: readonly AnswerRow[] = [
  malformed("8.2", "a name in upper case", [OK, ["X-Upper", "a"]]),
  malformed("8.2.1", "a line feed in a value", [OK, ["x-a", "a\nset-cookie: b"]]),
  malformed("8.2.2", "the field connection", [OK, ["connection", "close"]]),
  malformed("8.2.2", "the field transfer-encoding", [OK, ["transfer-encoding", "chunked"]]),
  malformed("8.3", "a pseudo-header field behind others", [["x-a", "b"], OK]),
  malformed("8.3", "a pseudo-header field of requests", [OK, [":path", "/"]]),
  malformed("8.3.2", "no :status", [["x-a", "b"]]),
  malformed("8.3.2", "two :status", [OK, OK]),
  ...["20", "2000", "2x0", "099", "600", "+20", ""].map((status) =>
    malformed("8.3.2", `the :status ${JSON.stringify(status)}`, [[":status", status]]),
  ),
  malformed("8.6", "101", [[":status", "101"]]),
  malformed("8.1", "an interim answer that ends the stream", [[":status", "103"]]),
  malformed("8.1.1", "a content-length that is no number", [OK, ["content-length", "x"]]),
  malformed("8.1.1", "two content-lengths", [OK, ["content-length", "1"], ["content-length", "2"]]),
  malformed("8.1.1", "a content-length without content", [OK, ["content-length", "5"]]),
  malformed("10.5.1", "a head of more than 100 fields", [OK, ...Array.from({ length: 101 }, (_, at) => [`x-${at}`, ""] as const)]),
  {
    section: "10.5.1",
    name: "a head that stands for more than 64 KiB",
    answer: (app, id) => {
      app.send(headers(id, [[":status", "103"]], false));
      // One field for the table, and twenty references to it.
      const bomb = Buffer.concat([Buffer.from([0x88]), block([["x-bomb", "b".repeat(4_000)]], true), Buffer.alloc(20, 0xbe)]);
      app.send(frame(FRAME.headers, FLAG.endHeaders, id, bomb));
    },
    outcome: BAD_GATEWAY,
  },
  {
    section: "8.1.1",
    name: "less content than content-length says",
    answer: (app, id) => app.send(headers(id, [OK, ["content-length", "5"]], false), data(id, "four", true)),
    outcome: { isReset: true },
  },
  {
    section: "8.1.1",
    name: "more content than content-length says",
    answer: (app, id) => app.send(headers(id, [OK, ["content-length", "1"]], false), data(id, "two", true)),
    outcome: { isReset: true },
  },
  {
    section: "RFC 9110, 6.4.1",
    name: "content in an answer to HEAD",
    method: "HEAD",
    answer: (app, id) => app.send(headers(id, [OK, ["content-length", "4"]], false), data(id, "body", true)),
    outcome: { isReset: true },
  },
  {
    section: "RFC 9110, 6.4.1",
    name: "content in a 204",
    answer: (app, id) => app.send(headers(id, [[":status", "204"]], false), data(id, "body", true)),
    outcome: { isReset: true },
  },
  {
    section: "8.1",
    name: "a pseudo-header field in trailers",
    answer: (app, id) => app.send(headers(id, [OK], false), headers(id, [OK])),
    outcome: { isReset: true },
  },
  {
    section: "8.1",
    name: "trailers that do not end the stream",
    answer: (app, id) => app.send(headers(id, [OK], false), headers(id, [["x-a", "b"]], false)),
    outcome: { isReset: true },
  },
  { section: "5.1", name: "DATA before the head", answer: (app, id) => app.send(data(id, "x", true)), outcome: BAD_GATEWAY },
  { section: "5.1", name: "a stream that nobody opened", answer: (app) => app.send(headers(1_001, [OK])), outcome: BAD_GATEWAY },
  {
    section: "6.6",
    name: "PUSH_PROMISE, though we refuse pushes",
    answer: (app, id) =>
      app.send(frame(FRAME.pushPromise, FLAG.endHeaders, id, Buffer.concat([uint32(2), block([[":method", "GET"]])])), headers(id, [OK])),
    outcome: BAD_GATEWAY,
  },
  { section: "6.7", name: "PING of another size", answer: (app) => app.send(frame(FRAME.ping, 0, 0)), outcome: BAD_GATEWAY },
  {
    section: "4.2",
    name: "a frame that is too large",
    answer: (app, id) => app.send(frame(FRAME.data, 0, id, Buffer.alloc(16_385))),
    outcome: BAD_GATEWAY,
  },
  {
    section: "4.3",
    name: "a header block that is no HPACK",
    answer: (app, id) => app.send(frame(FRAME.headers, 5, id, Buffer.from([0xfe]))),
    outcome: BAD_GATEWAY,
  },
  { section: "6.4", name: "a reset", answer: (app, id) => app.send(reset(id, 2)), outcome: BAD_GATEWAY },
  { section: "6.8", name: "GOAWAY for an error", answer: (app, id) => app.send(goaway(id, 2), reset(id, 2)), outcome: BAD_GATEWAY },
  {
    section: "8.1",
    name: "interim answers without end",
    answer: (app, id) =>
      app.send(
        ...Array.from({ length: 100 }, () =>
          headers(
            id,
            [
              [":status", "103"],
              ["link", "v".repeat(1_000)],
            ],
            false,
          ),
        ),
      ),
    outcome: BAD_GATEWAY,
  },
  {
    section: "6.10",
    name: "trailers that never end",
    answer: (app, id) =>
      app.send(
        headers(id, [OK], false),
        frame(FRAME.headers, FLAG.endStream, id, block([["x-a", "b"]])),
        ...Array.from({ length: 40 }, () => frame(FRAME.continuation, 0, id, block([["x-a", "b"]]))),
      ),
    outcome: { isReset: true },
    flood: "continuation",
  },
  flood("settings", "SETTINGS", () => settings([3, 100]), 200),
  flood("ping", "PING", () => frame(FRAME.ping, 0, 0, Buffer.alloc(8)), 600),
  flood("window_update", "WINDOW_UPDATE", () => windowUpdate(0, 1), 3_000),
  flood("priority", "PRIORITY", (id) => frame(FRAME.priority, 0, id, Buffer.alloc(5)), 3_000),
  flood("goaway", "GOAWAY", () => goaway(0x7fffffff, 0), 100),
  flood("stray_frame", "unknown frames", () => frame(0xfe, 0, 0), 30_000),
  {
    section: "10.5",
    name: "a flood of empty DATA",
    answer: (app, id) => app.send(headers(id, [OK], false), ...Array.from({ length: 600 }, () => data(id, ""))),
    outcome: { isReset: true },
    flood: "empty_data",
  },
];
