// What is compared: two proxies in a row, each a process of its own, the first reached without and the second with mutual TLS.

import type { StartProcess } from "./processes.ts";

/** A running contender. */
export interface Contender {
  readonly name: string;
  /** What the load generator asks for. */
  readonly url: string;
  /** `Host` to send, or null for the URL's. */
  readonly host: string | null;
  /** Process ids of the first and the second hop. */
  readonly hops: readonly [client: number, server: number];
  /** From the start of the slower hop's process until it served, ms. */
  readonly startMs: number;
}

/** Starts a contender's processes, by `start` alone: the caller ends them, also when the contender fails half way. */
export type StartContender = (options: {
  readonly originPort: number;
  /** An empty folder of its own. */
  readonly folder: string;
  readonly start: StartProcess;
}) => Promise<Contender>;
