// What is compared: two proxies in a row, each a process of its own, the first reached without and the second with mutual TLS.

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
  close(): Promise<void>;
}

/** Starts a contender in front of the origin. */
export type StartContender = (origin: { readonly port: number }, folder: string) => Promise<Contender>;
