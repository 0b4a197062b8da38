// What main.ts and its two child processes tell each other, and the one grammar in which clients tell the app how to behave: all randomness is the
// clients', so that a seed tells what was asked for.
import type { Leaf } from "../support/throwaway-ca.ts";

/** Where the data planes are, and how to come to the inbound one as a mesh peer. */
export interface MeshReady {
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly servername: string;
  readonly leaf: Pick<Leaf, "certPem" | "keyPem">;
}

/** What the data planes' process says of itself. Counts of exchanges are sums of both sides since the start. */
export interface MeshLook {
  readonly begun: number;
  readonly finished: number;
  readonly finishedTwice: number;
  /** Admitted by load shedding and not over. */
  readonly inFlight: number;
  /** Of exchanges that ended in a refusal, how many for each reason. */
  readonly refused: Readonly<Record<string, number>>;
  /** After a collection: what is alive of the heap, what the heap holds of the system, and what buffers hold beside it. */
  readonly heapUsedBytes: number;
  readonly heapTotalBytes: number;
  readonly externalBytes: number;
  /** What keeps the event loop busy, by kind: `TCPSocketWrap`, `TLSWrap`, … */
  readonly resources: Readonly<Record<string, number>>;
  /** Timers that are armed, also those that do not keep the process alive. */
  readonly timers: number;
}

/** How the app answers a request. */
export const ANSWERS = ["length", "chunked", "until-close", "early", "silent", "garbage"] as const;
/** What the app does with the connection after a whole answer. */
export const AFTERWARDS = ["keep", "keep", "keep", "close", "reset"] as const;
/** How the app reads a body. */
export const READS = ["all", "all", "slow", "none"] as const;

/** Orders to the app, in a request's query. */
export interface Order {
  readonly how: (typeof ANSWERS)[number];
  /** Content of the answer, bytes. */
  readonly size: number;
  /** Wait between two pieces of the answer, ms. */
  readonly paceMs: number;
  /** Bytes of content after which the answer is cut off; -1 for never. */
  readonly cutAt: number;
  /** How it is cut off. */
  readonly cutBy: "reset" | "end";
  readonly after: (typeof AFTERWARDS)[number];
  readonly read: (typeof READS)[number];
  /** Interim answers before the final one. */
  readonly interim: number;
}

/** The target of a request that carries an order. */
export function targetOf(order: Order): string {
  return `/order?${new URLSearchParams(Object.entries(order).map(([name, value]) => [name, String(value)])).toString()}`;
}

/** Reads a target of {@link targetOf}. */
export function orderOf(target: string): Order {
  const query = new URL(target, "http://app").searchParams;
  const text = (name: string) => query.get(name) ?? "";
  return {
    how: text("how") as Order["how"],
    size: Number(text("size")),
    paceMs: Number(text("paceMs")),
    cutAt: Number(text("cutAt")),
    cutBy: text("cutBy") as Order["cutBy"],
    after: text("after") as Order["after"],
    read: text("read") as Order["read"],
    interim: Number(text("interim")),
  };
}

/** First byte of an opaque connection, which no HTTP request begins with. The second is one of {@link OPAQUE}. */
export const OPAQUE_MARK = 0;
/** What the app does on an opaque connection or in a tunnel. */
export const OPAQUE = { echo: 0, echoThenReset: 1, halfCloseFirst: 2, neverRead: 3 } as const;

/** Content that can be checked without keeping it: byte n of the content named `key`. */
export function contentOf(key: number, size: number): Buffer {
  const content = Buffer.allocUnsafe(size);
  for (let at = 0; at < size; at += 1) content[at] = (key * 31 + at * 7 + (at >>> 8)) & 0xff;
  return content;
}
