// One kind of Kubernetes object, listed once and then followed: a map of what matters of each, always whole, seldom more than a moment old. Unlike the
// client library's informer it keeps only facts and not objects (a Node is 30 KB of which we need one word), lists in pages, asks for bookmarks so
// that a quiet watch resumes where it was, and goes on serving what it knows while the API server is away.
import type { Clock, Timer } from "../clock.ts";
import type { Logger } from "../log.ts";
import { explain, isEarlier, isGone, isSilence, SILENCE } from "./watch-failure.ts";

/** One page of a list. */
export interface ListPage {
  readonly items: readonly unknown[];
  readonly metadata?: { readonly resourceVersion?: string; readonly _continue?: string } | undefined;
}

/** Starts one watch. `onEnd` is called once, with what went wrong or null; the promise is settled when the API server answered. */
export type StartWatch = (
  path: string,
  query: Readonly<Record<string, string>>,
  onEvent: (type: string, object: unknown) => void,
  onEnd: (error: unknown) => void,
) => Promise<{ abort(): void }>;

/** The facts of one object before and after; null: there was, or is, nothing to keep. Never both null. */
export interface ObjectChange<Facts> {
  readonly before: Facts | null;
  readonly after: Facts | null;
}

/** What is followed, and how. */
export interface WatchedListOptions<Facts> {
  /** For messages: "namespaces". */
  readonly what: string;
  /** Path of the watch. */
  readonly path: string;
  readonly fieldSelector?: string;
  readonly list: (page: { readonly limit: number; readonly _continue?: string }) => Promise<ListPage>;
  readonly watch: StartWatch;
  /** What to keep of an object; null for nothing. Never throws. */
  readonly read: (object: unknown) => Facts | null;
  /** True: the two say the same, so that a list that is made again changes nothing. Default: never. */
  readonly isSame?: (before: Facts, after: Facts) => boolean;
  /** Called after every change, and after every list with all that it changed, which may be nothing. */
  readonly onChange: (changes: readonly ObjectChange<Facts>[]) => void;
  /** Called when a list begins. */
  readonly onList?: () => void;
  /** Called for each failure, also those that are logged no more because they are the same as before. */
  readonly onFailure?: () => void;
  /** Objects of one page. Default 100: nodes are up to 50 KB each. */
  readonly pageItems?: number;
  /** After how long the API server is to end a watch. One that is silent for 5 s longer is taken for dead. Default 25. */
  readonly watchSeconds?: number;
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  readonly log: Logger;
}

/** A list that is being followed. */
export interface WatchedList<Facts> {
  /** By namespace, then by name; what has no namespace is under "". */
  readonly facts: ReadonlyMap<string, ReadonlyMap<string, Facts>>;
  /** How many objects facts are kept of. */
  readonly size: number;
  /** Settled with the first list. */
  readonly synced: Promise<void>;
  /** Ms for which nothing was heard, or 0 while the watch stands. */
  staleMs(): number;
  /** What is wrong with the watch, or null. */
  problem(): string | null;
  close(): void;
}

const PAGE_ITEMS = 100;
/** The API server ends a watch then, with a bookmark just before. */
const WATCH_SECONDS = 25;
/** How much longer a watch may be silent than the API server was told to let it live. */
const GRACE_MS = 5_000;
/** A watch that ends sooner is begun again with a growing pause, though nobody called it a failure. */
const SHORT_MS = 1_000;
const PAUSE_LEAST_MS = 200;
const PAUSE_MOST_MS = 5_000;

/** Lists, then follows, until `close`. Failures are retried for ever, with a growing pause. */
export function followList<Facts>(options: WatchedListOptions<Facts>): WatchedList<Facts> {
  const { what, path, list, watch, read, isSame = () => false, onChange, clock, random, log } = options;
  const { pageItems = PAGE_ITEMS, watchSeconds = WATCH_SECONDS } = options;
  let facts = new Map<string, Map<string, Facts>>();
  let size = 0;
  let version: string | null = null; // null: to be listed (again)
  let heardMonoMs = clock.monoMs();
  let hasSpoken = false; // the last watch, since it stands
  let lostAtMonoMs: number | null = heardMonoMs; // null while the watch stands
  let problem: string | null = null;
  let failures = 0;
  let closed = false;
  let running: { abort(): void } | null = null;
  let silence: Timer | null = null;
  let waiting: { readonly timer: Timer; readonly wake: () => void } | null = null;
  const synced = Promise.withResolvers<void>();

  /** Nothing is touched before the last page is there; then what vanished goes and what is new comes in one step. */
  async function relist(): Promise<void> {
    options.onList?.();
    const fresh = new Map<string, Map<string, Facts>>();
    let next: string | undefined;
    let listed: string | undefined;
    do {
      const page = await list({ limit: pageItems, ...(next === undefined ? {} : { _continue: next }) });
      for (const item of page.items) put(fresh, item);
      listed = page.metadata?.resourceVersion;
      next = page.metadata?._continue;
    } while (next !== undefined && next !== "" && !closed);
    if (closed) return;
    const changes = [...differences(facts, fresh)];
    facts = fresh;
    size = [...fresh.values()].reduce((sum, siblings) => sum + siblings.size, 0);
    version = listed === "" ? null : (listed ?? null);
    onChange(changes);
    synced.resolve();
  }

  /** What a list changes. An object that says the same as before stays the very same facts, in both. */
  function* differences(
    before: ReadonlyMap<string, ReadonlyMap<string, Facts>>,
    after: ReadonlyMap<string, Map<string, Facts>>,
  ): Iterable<ObjectChange<Facts>> {
    for (const [namespace, siblings] of after) {
      const known = before.get(namespace);
      for (const [name, kept] of siblings) {
        const old = known?.get(name) ?? null;
        if (old !== null && isSame(old, kept)) siblings.set(name, old);
        else yield { before: old, after: kept };
      }
    }
    for (const [namespace, siblings] of before) {
      for (const [name, old] of siblings) if (after.get(namespace)?.has(name) !== true) yield { before: old, after: null };
    }
  }

  /** The facts that are kept of it now, or null. */
  function put(into: Map<string, Map<string, Facts>>, object: unknown): Facts | null {
    const { name, namespace } = metadataOf(object);
    const kept = read(object);
    if (kept === null) {
      drop(into, object);
      return null;
    }
    const siblings = into.get(namespace) ?? new Map<string, Facts>();
    siblings.set(name, kept);
    into.set(namespace, siblings);
    return kept;
  }

  function drop(from: Map<string, Map<string, Facts>>, object: unknown): void {
    const { name, namespace } = metadataOf(object);
    const siblings = from.get(namespace);
    siblings?.delete(name);
    if (siblings?.size === 0) from.delete(namespace);
  }

  function take(type: string, object: unknown): void {
    if (closed || type === "ERROR") return;
    heard();
    hasSpoken = true;
    const { resourceVersion } = metadataOf(object);
    if (resourceVersion !== undefined) version = resourceVersion;
    failures = 0;
    if (type !== "BOOKMARK") change(object, type === "DELETED");
  }

  function change(object: unknown, isDeleted: boolean): void {
    const { name, namespace } = metadataOf(object);
    const before = facts.get(namespace)?.get(name) ?? null;
    if (isDeleted) drop(facts, object);
    const after = isDeleted ? null : put(facts, object);
    size += (after === null ? 0 : 1) - (before === null ? 0 : 1);
    onChange(before === null && after === null ? [] : [{ before, after }]);
  }

  function heard(): void {
    heardMonoMs = clock.monoMs();
    silence?.refresh();
  }

  /** One watch from its beginning to its end; throws what ended it, unless the API server meant to. */
  async function watchOnce(from: string): Promise<void> {
    const query = {
      resourceVersion: from,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(watchSeconds),
      ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
    };
    const ended = Promise.withResolvers<unknown>();
    let isOver = false;
    const end = (error: unknown) => {
      isOver = true;
      ended.resolve(error);
    };
    silence = clock.after(watchSeconds * 1000 + GRACE_MS, () => end(SILENCE));
    const onEvent = (type: string, object: unknown) => {
      if (isOver) return; // what comes late from a watch that was given up is older than what the next one brings
      if (type === "ERROR") end(object);
      else take(type, object);
    };
    void watch(path, query, onEvent, end).then((started) => {
      if (closed || isOver) return started.abort();
      running = started;
      stand();
    }, end);
    const startedMonoMs = clock.monoMs();
    const error = await ended.promise;
    silence.cancel();
    running?.abort();
    running = null;
    const stood = lostAtMonoMs === null;
    lostAtMonoMs ??= error === SILENCE ? heardMonoMs : clock.monoMs();
    if (isGone(error))
      version = null; // what we know is older than what the API server remembers
    else if (isSilence(error) && !stood) throw new Error(`no answer within ${watchSeconds + GRACE_MS / 1000} s`);
    else if (error !== null && error !== undefined && !isSilence(error)) throw error;
    const wasShort = clock.monoMs() - startedMonoMs < SHORT_MS;
    failures = wasShort ? failures + 1 : 0;
    if (version !== null && !wasShort && !hasSpoken && !closed) await refuseFuture(version);
  }

  /**
   * An API server whose etcd was put back to an earlier state says nothing at all to a watch from a version that it has not reached yet (1.36), so that
   * a watch that brought neither an event nor a bookmark may be one from the future. Then everything is listed anew.
   */
  async function refuseFuture(from: string): Promise<void> {
    const { metadata } = await list({ limit: 1 });
    if (!isEarlier(metadata?.resourceVersion, from)) return;
    log.warn({ what, known: from, now: metadata?.resourceVersion }, "the API server is behind what it said before; listing anew");
    version = null;
  }

  function stand(): void {
    heard();
    hasSpoken = false;
    lostAtMonoMs = null;
    if (problem !== null) log.info({ what }, "the watch of the API server stands again");
    problem = null;
  }

  async function follow(): Promise<void> {
    while (!closed) {
      try {
        if (version === null) await relist();
        if (version !== null && !closed) await watchOnce(version);
      } catch (error) {
        fail(error);
      }
      if (!closed) await pause();
    }
  }

  function fail(error: unknown): void {
    if (closed) return;
    failures += 1;
    options.onFailure?.();
    if (isGone(error)) version = null;
    const message = `${what}: ${explain(error)}`;
    if (problem !== message) log.warn({ what, problem: message }, "the watch of the API server broke; starting it again");
    problem = message;
  }

  function pause(): Promise<void> {
    const ceiling = Math.min(PAUSE_MOST_MS, PAUSE_LEAST_MS * 2 ** Math.min(failures, 16));
    return new Promise((resolve) => {
      waiting = { timer: clock.after(ceiling * (0.5 + random() / 2), resolve), wake: resolve };
    });
  }

  void follow();
  return {
    get facts() {
      return facts;
    },
    get size() {
      return size;
    },
    synced: synced.promise,
    staleMs: () => (lostAtMonoMs === null ? 0 : clock.monoMs() - lostAtMonoMs),
    problem: () => problem,
    close() {
      closed = true;
      silence?.cancel();
      running?.abort();
      waiting?.timer.cancel();
      waiting?.wake();
    },
  };
}

function metadataOf(object: unknown): { readonly name: string; readonly namespace: string; readonly resourceVersion: string | undefined } {
  const metadata = (object as { readonly metadata?: Readonly<Record<string, unknown>> } | null)?.metadata;
  const text = (key: string) => (typeof metadata?.[key] === "string" ? metadata[key] : undefined);
  return { name: text("name") ?? "", namespace: text("namespace") ?? "", resourceVersion: text("resourceVersion") };
}
