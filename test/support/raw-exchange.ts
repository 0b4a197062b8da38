// Listens to the other end of any byte stream, TCP or TLS, and waits for what it says or for its end.
import type { Duplex } from "node:stream";

/** What has come from the other end so far. */
export interface Listener {
  readonly stream: Duplex;
  /** Everything received, latin1. */
  text(): string;
  /** Resolves when `wanted` has been received, or the stream ended, or after `waitMs`; gives the text. */
  until(wanted: RegExp, waitMs?: number): Promise<string>;
  /** Resolves when the stream ended, or after `waitMs`; true when it ended. */
  ended(waitMs?: number): Promise<boolean>;
}

const EVENTS = ["data", "end", "close"] as const;

/** Starts to listen. Errors of the stream count as its end. */
export function listenTo(stream: Duplex): Listener {
  let text = "";
  stream.on("data", (chunk: Buffer) => {
    text += chunk.toString("latin1");
  });
  stream.on("error", () => {});

  function settle(done: () => boolean, waitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        for (const event of EVENTS) stream.off(event, check);
        resolve(done());
      };
      const check = () => {
        if (done() || stream.destroyed) finish();
      };
      const timer = setTimeout(finish, waitMs);
      for (const event of EVENTS) stream.on(event, check);
      check();
    });
  }

  return {
    stream,
    text: () => text,
    async until(wanted, waitMs = 3000) {
      await settle(() => wanted.test(text), waitMs);
      return text;
    },
    ended: (waitMs = 3000) => settle(() => stream.readableEnded || stream.destroyed, waitMs),
  };
}

/** Runs `work` for all items, at most `atOnce` at a time, in order of the items. */
export async function eachOf<T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  async function worker(): Promise<void> {
    while (next < items.length) await work(items[next++] as T);
  }
  await Promise.all(Array.from({ length: Math.min(atOnce, items.length) }, worker));
}
