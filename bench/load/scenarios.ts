// The scenarios: what is sent, how hard, and through what kind of path. `npm run bench -- --scenario NAME` takes these names.
import type { Traffic } from "./contender.ts";
import { BIG_ANSWER_BYTES, REQUEST_MESSAGE, STREAMED_MESSAGE, STREAMED_MESSAGES, UNARY_ANSWER } from "./grpc-messages.ts";

/** One scenario. */
export interface Scenario {
  readonly name: string;
  readonly traffic: Traffic;
  /**
   * "closed": the next request of a connection, or stream, goes out when the answer to the last is in; "constant": by the clock; "bulk": one answer
   * without end, or by gRPC one long one after another.
   */
  readonly load: "closed" | "constant" | "bulk";
  readonly connections: number;
  /** Requests at once on each connection; 1 but for gRPC. */
  readonly streams: number;
  /** Requests per second of a constant load; else 0. */
  readonly perSecond: number;
  /** Of the origin. */
  readonly path: string;
  /** Bytes of a POST body; 0: a GET. */
  readonly bodyBytes: number;
  /** Bytes of a right answer's body, which are looked at in gRPC only; else 0. */
  readonly answerBytes: number;
  /** True: each request opens a connection to the first hop and asks to close it. */
  readonly newConnections: boolean;
  /** In words, for the tables. */
  readonly title: string;
}

/** Requests per second of the constant load when `--rate` says nothing. */
export const DEFAULT_RATE = 1_000;

const GET: Omit<Scenario, "name" | "connections" | "title"> = {
  traffic: "http",
  load: "closed",
  streams: 1,
  perSecond: 0,
  path: "/",
  bodyBytes: 0,
  answerBytes: 0,
  newConnections: false,
};

const CALL: Omit<Scenario, "name" | "connections" | "title"> = {
  ...GET,
  traffic: "grpc",
  path: "/unary",
  bodyBytes: REQUEST_MESSAGE.length,
  answerBytes: UNARY_ANSWER.length,
};

/** Where what signatures cost is looked at. */
export const SIGNED_SCENARIO = "grpc-unary-4x32";
/** Where one answer is compared with the raw relay. */
export const GRPC_BULK_SCENARIO = "grpc-bulk-64m";

/** Every scenario; `rate` is that of the constant load. */
export function scenarios(rate: number): readonly Scenario[] {
  return [
    { ...GET, name: "get-1k-c1", connections: 1, title: "GET, 1 KB answers, 1 connection" },
    { ...GET, name: "get-1k-c32", connections: 32, title: "GET, 1 KB answers, 32 connections" },
    { ...GET, name: "get-1k-c256", connections: 256, title: "GET, 1 KB answers, 256 connections" },
    { ...GET, name: "post-10k", connections: 32, bodyBytes: 10_240, title: "POST of 10 KB, 32 connections" },
    { ...GET, name: "get-1m", connections: 8, path: "/1m", title: "GET, 1 MB answers, 8 connections" },
    {
      ...GET,
      name: "new-connection",
      connections: 32,
      newConnections: true,
      title: "GET, 1 KB answers, a new connection for each request",
    },
    {
      ...GET,
      name: `rate-${rate}`,
      load: "constant",
      perSecond: rate,
      connections: 16,
      title: `GET, 1 KB answers, ${rate} requests a second over 16 connections`,
    },
    {
      ...GET,
      name: "tcp-bulk",
      traffic: "tcp",
      load: "bulk",
      connections: 4,
      path: "/bulk",
      title: "opaque TCP, 4 connections as fast as they go",
    },
    { ...CALL, name: "grpc-unary-1x1", connections: 1, title: "gRPC, 1 KB answers, 1 connection, 1 stream" },
    { ...CALL, name: SIGNED_SCENARIO, connections: 4, streams: 32, title: "gRPC, 1 KB answers, 4 connections of 32 streams" },
    { ...CALL, name: "grpc-unary-64x1", connections: 64, title: "gRPC, 1 KB answers, 64 connections of 1 stream" },
    {
      ...CALL,
      name: "grpc-stream-1000",
      connections: 4,
      streams: 4,
      path: "/stream",
      answerBytes: STREAMED_MESSAGES * STREAMED_MESSAGE.length,
      title: `gRPC, ${STREAMED_MESSAGES} messages of ${STREAMED_MESSAGE.length} bytes in each answer, 4 connections of 4 streams`,
    },
    {
      ...CALL,
      name: GRPC_BULK_SCENARIO,
      load: "bulk",
      connections: 1,
      path: "/64m",
      answerBytes: BIG_ANSWER_BYTES,
      title: "gRPC, answers of 64 MiB, one at a time over 1 connection",
    },
  ];
}
