// The scenarios: what is sent, how hard, and through what kind of path. `npm run bench -- --scenario NAME` takes these names.
import type { Traffic } from "./contender.ts";

/** One scenario. */
export interface Scenario {
  readonly name: string;
  readonly traffic: Traffic;
  /** "closed": the next request of a connection goes out when the answer to the last is in; "constant": by the clock; "bulk": one endless answer. */
  readonly load: "closed" | "constant" | "bulk";
  readonly connections: number;
  /** Requests per second of a constant load; else 0. */
  readonly perSecond: number;
  /** Of the origin. */
  readonly path: string;
  /** Bytes of a POST body; 0: a GET. */
  readonly bodyBytes: number;
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
  perSecond: 0,
  path: "/",
  bodyBytes: 0,
  newConnections: false,
};

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
  ];
}
