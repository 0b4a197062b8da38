// Waits for whichever comes first, and leaves no listener behind.
import type { EventEmitter } from "node:events";

/** What happened, with the event's first argument; null when nothing did in time. */
export type Happened = { readonly event: string; readonly value: unknown } | null;

/** Resolves with the first of `events`, or with null after `waitMs`. */
export function firstOf(emitter: EventEmitter, events: readonly string[], waitMs: number): Promise<Happened> {
  return new Promise((resolve) => {
    const settle = (happened: Happened) => {
      clearTimeout(timer);
      for (const [event, listener] of listeners) emitter.off(event, listener);
      resolve(happened);
    };
    const timer = setTimeout(settle, waitMs, null);
    const listeners = events.map((event) => [event, (value: unknown) => settle({ event, value })] as const);
    for (const [event, listener] of listeners) emitter.on(event, listener);
  });
}
