// Tells one worker about destinations: answers what it asks, then each change, several changes of one turn as one message. One object per life of a
// worker; it owns which destinations that worker follows.
import type { DestinationView, Discovery } from "../discovery/discovery.ts";
import { destinationKey } from "../discovery/discovery.ts";
import type { FromWorker, PushedView, ToWorker } from "./messages.ts";

/** What a worker may ask about destinations. */
type Question = Extract<FromWorker, { readonly kind: "lookup" | "used" | "unwatch" | "refused" }>;

/** The feed of one worker. */
export interface DestinationFeed {
  ask(question: Question): void;
  /** A destination changed. */
  changed(key: string, view: DestinationView | null): void;
  /** A destination is not known any more. */
  forgotten(key: string): void;
}

/** Makes a feed that follows nothing. `say` reaches the worker. Followed keys are bounded by what `discovery` holds. */
export function createDestinationFeed(discovery: Discovery, say: (message: ToWorker) => void): DestinationFeed {
  const followed = new Set<string>();
  /** Changes not told yet; not empty exactly while a flush is due. */
  const waiting = new Map<string, DestinationView | null>();

  function flush(): void {
    const views: PushedView[] = [...waiting].map(([key, view]) => ({ key, view }));
    waiting.clear();
    if (views.length > 0) say({ kind: "views", views });
  }

  function tell(key: string, view: DestinationView | null): void {
    if (waiting.size === 0) setImmediate(flush);
    waiting.set(key, view);
  }

  return {
    ask(question) {
      switch (question.kind) {
        case "lookup": {
          const key = destinationKey(question.destination);
          followed.add(key);
          // At once and apart: a `forget` may follow in the same turn, and must not overtake the answer.
          discovery.lookup(question.destination, (view) => say({ kind: "views", views: [{ key, view }] }));
          return;
        }
        case "used":
          for (const key of question.keys) discovery.peek(key); // being looked at is what keeps it
          return;
        case "unwatch":
          followed.delete(question.key);
          waiting.delete(question.key);
          return;
        case "refused":
          discovery.markRefused(question.endpoint);
          // The worker has taken it out by itself; when it was left in here, for whatever reason, it is told so.
          for (const key of question.keys) tell(key, discovery.peek(key));
      }
    },
    changed(key, view) {
      if (followed.has(key)) tell(key, view);
    },
    forgotten(key) {
      waiting.delete(key);
      if (followed.delete(key)) say({ kind: "forget", key });
    },
  };
}
