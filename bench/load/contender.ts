// What is compared: two proxies in a row, each a process of its own, the first reached without and the second with mutual TLS. "none" is the same
// load without any proxy.

import type { StartProcess } from "./processes.ts";

/** What goes through: HTTP/1.1 requests, bytes that nobody looks at, or gRPC, which is HTTP/2 in cleartext before and behind the hops. */
export type Traffic = "http" | "tcp" | "grpc";

/** Where the load goes, and whose cost is counted. */
export interface Path {
  /** What the load generator asks for. */
  readonly url: string;
  /** `Host` or `:authority` to send, or null for the URL's. */
  readonly host: string | null;
  /** Bulk loads only: the authority to ask for by CONNECT before the bytes; default null, where the port leads there by itself. */
  readonly tunnel?: string | null;
  /** Process ids of the first and the second hop; null without proxies. What they start themselves is counted with them. */
  readonly hops: readonly [client: number, server: number] | null;
}

/** A running pair of proxies. */
export interface Contender extends Path {
  readonly name: string;
  readonly hops: readonly [client: number, server: number];
  /** From the start of the slower hop's process until it served, ms. */
  readonly startMs: number;
}

/** What a contender is started with. */
export interface StartOptions {
  readonly originPort: number;
  /** An empty folder of its own. */
  readonly folder: string;
  readonly start: StartProcess;
  /** Default "http". */
  readonly traffic?: Traffic;
}

/** Starts a contender's processes, by `start` alone: the caller ends them, also when the contender fails half way. */
export type StartContender = (options: StartOptions) => Promise<Contender>;
