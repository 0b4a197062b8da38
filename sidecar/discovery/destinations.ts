// The destinations a sidecar knows or is asking for: a bounded table of immutable views (style 14). It owns who waits for an answer, what
// is forgotten, and early removal; the stream that asks and the file that remembers are its users.
import { LRUCache } from "lru-cache";
import type { Clock, Timer } from "../../core/clock.ts";
import type { WatchUpdate } from "../../core/wire/registry.ts";
import type { Destination, DestinationView, Endpoint } from "./discovery.ts";
import { destinationKey } from "./discovery.ts";
import type { RefusedEndpoints } from "./refused-endpoints.ts";
import { createRefusedEndpoints } from "./refused-endpoints.ts";
import type { Remembered } from "./snapshot-format.ts";
import { protocolOfWire } from "../../core/wire/port-protocol.ts";
import { isAskable, readEndpoint } from "./wire-endpoint.ts";

/** A destination nobody used for this long is forgotten and no longer watched. */
const IDLE_MS = 600_000;
const IDLE_SWEEP_MS = 60_000;
/** Callers that may wait for the first answer about one destination; more are told null at once. */
const MAX_WAITING = 4096;

/** What the registry said last about one destination; `view` null: it is in no snapshot. */
interface Known {
  readonly kind: "known";
  /** As the registry said, with endpoints marked as refused. Null exactly when `view` is. */
  readonly whole: DestinationView | null;
  /** What callers see. */
  readonly view: DestinationView | null;
  readonly version: number;
}

interface Asking {
  readonly kind: "asking";
  readonly waiting: ((view: DestinationView | null) => void)[];
  /** Runs out once: then everybody waiting is told what is on disk, and so is whoever asks later. */
  readonly timer: Timer;
  /** Set when the timer has run out or the registry cannot be reached and `remembered` can be told instead. */
  settled: boolean;
  /** From disk. */
  readonly remembered: DestinationView | null;
}

interface Entry {
  readonly destination: Destination;
  state: Known | Asking;
  usedMonoMs: number;
}

/** Settings of {@link createDestinations}. */
export interface DestinationsOptions {
  readonly clock: Clock;
  readonly lookupTimeoutMs: number;
  /** 1..1000: the registry watches at most 1024 per stream. */
  readonly maxDestinations: number;
  readonly remembered: readonly Remembered[];
  /** A destination is to be watched; `knownVersion` 0: nothing is held. */
  readonly ask: (destination: Destination, knownVersion: number) => void;
  /** A destination was forgotten. */
  readonly unask: (destination: Destination) => void;
  /** A view changed. */
  readonly changed: () => void;
  /** Who has to hear which. */
  readonly follower?: DestinationFollower | undefined;
}

/** Follows what callers see of each destination. */
export interface DestinationFollower {
  /** A destination was found, changed, or is in no snapshot any more (null). */
  changed(key: string, view: DestinationView | null): void;
  /** A destination is not held any more. */
  forgotten(key: string): void;
}

/** The table. */
export interface Destinations {
  size(): number;
  /** As {@link Discovery.revision}. */
  revision(): number;
  lookup(destination: Destination, done: (view: DestinationView | null) => void): void;
  peek(key: string): DestinationView | null;
  markRefused(endpoint: Endpoint): void;
  /** Takes one message of the registry. False: it made no sense here and was ignored. */
  apply(update: WatchUpdate): boolean;
  /** The registry cannot be reached: whoever waits for something that is on disk gets that. */
  unreachable(): void;
  /** Everything to watch, with the version held. */
  watched(): Iterable<readonly [Destination, number]>;
  /** Everything found, to be saved. */
  found(): Iterable<Remembered>;
  close(): void;
}

/** Makes the table. */
export function createDestinations(options: DestinationsOptions): Destinations {
  const { clock, lookupTimeoutMs, ask, unask, changed, follower } = options;
  const entries = new LRUCache<string, Entry>({
    max: Math.min(Math.max(options.maxDestinations, 1), 1000),
    dispose: (entry, key, reason) => {
      if (reason !== "evict" && reason !== "delete") return;
      forget(entry);
      follower?.forgotten(key);
    },
  });
  const refused: RefusedEndpoints = createRefusedEndpoints(clock, (ids) => showAgain(new Set(ids)));
  const idleTimer = clock.every(IDLE_SWEEP_MS, forgetIdle);
  for (const { destination, view } of options.remembered) {
    entries.set(view.key, { destination, state: asking(view.key, view), usedMonoMs: clock.monoMs() });
  }

  let revision = 0;

  function asking(key: string, remembered: DestinationView | null): Asking {
    return { kind: "asking", waiting: [], timer: clock.after(lookupTimeoutMs, () => timeOut(key)), settled: false, remembered };
  }

  function timeOut(key: string): void {
    const entry = entries.peek(key);
    if (entry !== undefined && entry.state.kind === "asking") settle(entry.state, entry.state.remembered);
  }

  function settle(state: Asking, view: DestinationView | null): void {
    state.settled = true;
    state.timer.cancel();
    for (const done of state.waiting.splice(0)) done(view);
  }

  function forget(entry: Entry): void {
    revision += 1;
    if (entry.state.kind === "asking") settle(entry.state, entry.state.remembered);
    unask(entry.destination);
  }

  function forgetIdle(): void {
    const oldest = clock.monoMs() - IDLE_MS;
    for (const key of [...entries.rkeys()]) {
      if ((entries.peek(key)?.usedMonoMs ?? 0) >= oldest) return;
      entries.delete(key);
    }
  }

  function shown(whole: DestinationView | null): DestinationView | null {
    if (whole === null) return null;
    const endpoints = refused.without(whole.endpoints);
    return endpoints === whole.endpoints ? whole : Object.freeze({ ...whole, endpoints: Object.freeze(endpoints) });
  }

  function know(entry: Entry, whole: DestinationView | null, version: number): void {
    const before = entry.state;
    entry.state = { kind: "known", whole, view: shown(whole), version };
    revision += 1;
    if (before.kind === "asking") settle(before, entry.state.view);
    follower?.changed(destinationKey(entry.destination), entry.state.view);
    changed();
  }

  /** Builds the views anew that hold one of `ids`. */
  function showAgain(ids: ReadonlySet<string>): void {
    for (const [key, entry] of entries.entries()) {
      const { state } = entry;
      if (state.kind !== "known" || state.whole === null) continue;
      if (!state.whole.endpoints.some(({ id }) => ids.has(id))) continue;
      const view = shown(state.whole);
      entry.state = { ...state, view };
      revision += 1;
      follower?.changed(key, view);
    }
  }

  function wholeAfter(key: string, update: WatchUpdate, before: readonly Endpoint[]): DestinationView | null {
    if (!update.found) return null;
    const endpoints = new Map(before.map((endpoint) => [endpoint.id, endpoint]));
    for (const id of update.removed) endpoints.delete(id);
    for (const wire of update.upserts) {
      const endpoint = readEndpoint(wire);
      if (endpoint === null) continue;
      refused.clear(endpoint.id);
      if (endpoint.state === "ready") endpoints.set(endpoint.id, endpoint);
      else endpoints.delete(endpoint.id);
    }
    const { service, version } = update;
    return Object.freeze({
      key,
      service,
      protocol: protocolOfWire(update.protocol),
      endpoints: Object.freeze([...endpoints.values()]),
      version,
    });
  }

  return {
    size: () => entries.size,
    revision: () => revision,
    lookup(destination, done) {
      const key = destinationKey(destination);
      const entry = entries.get(key);
      if (entry === undefined) {
        if (!isAskable(destination)) return done(null);
        const state = asking(key, null);
        state.waiting.push(done);
        entries.set(key, { destination, state, usedMonoMs: clock.monoMs() });
        return ask(destination, 0);
      }
      entry.usedMonoMs = clock.monoMs();
      const { state } = entry;
      if (state.kind === "known") return done(state.view);
      if (state.settled || state.waiting.length >= MAX_WAITING) return done(state.remembered);
      state.waiting.push(done);
    },
    peek(key) {
      const entry = entries.get(key);
      if (entry === undefined) return null;
      entry.usedMonoMs = clock.monoMs();
      return entry.state.kind === "known" ? entry.state.view : entry.state.remembered;
    },
    markRefused(endpoint) {
      if (refused.mark(endpoint)) showAgain(new Set([endpoint.id]));
    },
    apply(update) {
      const entry = entries.peek(update.key);
      if (entry === undefined) return false; // forgotten while the update travelled
      const { state } = entry;
      const held = state.kind === "known" ? state.whole : state.remembered;
      if (state.kind === "known" && state.version === update.version) return true;
      // A delta for somebody who holds nothing belongs to an earlier subscription; its own whole answer follows. What is remembered can be added to by a registry that
      // does not know everybody yet.
      const isForUs = update.full || state.kind === "known" || held !== null;
      if (!isForUs) return false;
      know(entry, wholeAfter(update.key, update, update.full ? [] : (held?.endpoints ?? [])), update.version);
      return true;
    },
    unreachable() {
      for (const { state } of entries.values()) if (state.kind === "asking" && state.remembered !== null) settle(state, state.remembered);
    },
    *watched() {
      for (const { destination, state } of entries.values()) {
        yield [destination, state.kind === "known" ? state.version : (state.remembered?.version ?? 0)];
      }
    },
    *found() {
      for (const { destination, state } of entries.values()) {
        const view = state.kind === "known" ? state.whole : state.remembered;
        if (view !== null) yield { destination, view };
      }
    },
    close() {
      idleTimer.cancel();
      refused.close();
      for (const { state } of entries.values()) if (state.kind === "asking") settle(state, state.remembered);
    },
  };
}
