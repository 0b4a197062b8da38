// Destinations as a worker knows them: asked of the first process on first use, and told by it on each change. The first process decides what is
// forgotten and how long a refused endpoint is left alone; a worker only remembers, and takes an endpoint that refused out of its own views at once.
import { LRUCache } from "lru-cache";
import type { Clock } from "../../core/clock.ts";
import { type Destination, type DestinationView, type Discovery, destinationKey, type Endpoint } from "../discovery/discovery.ts";
import type { FromWorker, PushedView } from "./messages.ts";

/** As many as the first process watches. */
const MAX_DESTINATIONS = 1000;
/** Callers that may wait for the first answer about one destination; more are told null at once. */
const MAX_WAITING = 4096;
/** How often is said what is in use. Well below the time after which the first process forgets what nobody uses. */
const USED_PERIOD_MS = 60_000;

interface Known {
  readonly kind: "known";
  readonly view: DestinationView | null;
}

interface Asking {
  readonly kind: "asking";
  readonly waiting: ((view: DestinationView | null) => void)[];
}

interface Entry {
  state: Known | Asking;
  /** Since it was said last. */
  isUsed: boolean;
}

/** A {@link Discovery} that is told. */
export interface WorkerDiscovery extends Discovery {
  takeViews(views: readonly PushedView[]): void;
  forget(key: string): void;
}

/** Makes one that knows nothing. `say` reaches the first process. */
export function createWorkerDiscovery(clock: Clock, say: (message: FromWorker) => void): WorkerDiscovery {
  const entries = new LRUCache<string, Entry>({
    max: MAX_DESTINATIONS,
    disposeAfter: ({ state }, key, reason) => {
      if (reason !== "evict") return;
      say({ kind: "unwatch", key });
      if (state.kind === "asking") answer(state, null);
    },
  });
  const usedTimer = clock.every(USED_PERIOD_MS, sayUsed);

  function sayUsed(): void {
    const keys: string[] = [];
    for (const [key, entry] of entries.entries()) {
      if (entry.isUsed) keys.push(key);
      entry.isUsed = false;
    }
    if (keys.length > 0) say({ kind: "used", keys });
  }

  function answer(state: Asking, view: DestinationView | null): void {
    for (const done of state.waiting.splice(0)) done(view);
  }

  let revision = 0;

  function know(entry: Entry, view: DestinationView | null): void {
    const before = entry.state;
    const held = before.kind === "known" ? (before.view?.endpoints ?? []) : [];
    const shown = view === null ? null : Object.freeze({ ...view, endpoints: Object.freeze(sameObjects(view.endpoints, held)) });
    entry.state = { kind: "known", view: shown };
    revision += 1;
    if (before.kind === "asking") answer(before, shown);
  }

  return {
    revision: () => revision,
    lookup(destination: Destination, done) {
      const key = destinationKey(destination);
      const entry = entries.get(key);
      if (entry === undefined) {
        entries.set(key, { state: { kind: "asking", waiting: [done] }, isUsed: false });
        return say({ kind: "lookup", destination });
      }
      entry.isUsed = true;
      const { state } = entry;
      if (state.kind === "known") return done(state.view);
      if (state.waiting.length >= MAX_WAITING) return done(null);
      state.waiting.push(done);
    },
    peek(key) {
      const entry = entries.get(key);
      if (entry === undefined) return null;
      entry.isUsed = true;
      return entry.state.kind === "known" ? entry.state.view : null;
    },
    markRefused(endpoint) {
      const keys: string[] = [];
      for (const [key, entry] of entries.entries()) {
        const view = entry.state.kind === "known" ? entry.state.view : null;
        if (view === null || !view.endpoints.some(({ id }) => id === endpoint.id)) continue;
        keys.push(key);
        entry.state = { kind: "known", view: without(view, endpoint) };
        revision += 1;
      }
      say({ kind: "refused", endpoint, keys });
    },
    takeViews(views) {
      for (const { key, view } of views) {
        const entry = entries.peek(key);
        if (entry !== undefined) know(entry, view); // else it was given up while this travelled
      }
    },
    forget(key) {
      // One that is being asked for again is answered by the answer to that.
      if (entries.peek(key)?.state.kind !== "known") return;
      entries.delete(key);
      revision += 1;
    },
    heartbeatAgeMs: () => 0,
    setState: () => {},
    deregister: async () => {},
    async close() {
      usedTimer.cancel();
    },
  };
}

/** The last way to a service stays, as in the first process: it is worth a try. */
function without(view: DestinationView, endpoint: Endpoint): DestinationView {
  const endpoints = view.endpoints.filter(({ id }) => id !== endpoint.id);
  return endpoints.length === 0 ? view : Object.freeze({ ...view, endpoints: Object.freeze(endpoints) });
}

/** Endpoints that did not change stay the objects they were: pools and balancers hang on them. */
function sameObjects(endpoints: readonly Endpoint[], held: readonly Endpoint[]): readonly Endpoint[] {
  const before = new Map(held.map((endpoint) => [endpoint.id, endpoint]));
  return endpoints.map((endpoint) => {
    const old = before.get(endpoint.id);
    return old !== undefined && isSame(old, endpoint) ? old : Object.freeze(endpoint);
  });
}

function isSame(a: Endpoint, b: Endpoint): boolean {
  return (
    a.identity === b.identity &&
    a.address === b.address &&
    a.port === b.port &&
    a.inboundPort === b.inboundPort &&
    a.protocol === b.protocol &&
    a.version === b.version &&
    a.state === b.state &&
    a.instanceId === b.instanceId &&
    (a.messageCertificate === b.messageCertificate ||
      (a.messageCertificate !== null && b.messageCertificate !== null && a.messageCertificate.equals(b.messageCertificate)))
  );
}
