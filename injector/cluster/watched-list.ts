// One kind of Kubernetes object, listed once and then followed: a map of what matters of each, always whole, seldom more than a moment old. Unlike the
// client library's informer it keeps only facts and not objects (a Node is 30 KB of which we need one word), lists in pages, asks for bookmarks so
// that a quiet watch resumes where it was, and goes on serving what it knows while the API server is away.
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";

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
  /** Called after every change, and after the first list. */
  readonly onChange: () => void;
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  readonly log: Logger;
}

/** A list that is being followed. */
export interface WatchedList<Facts> {
  /** By namespace, then by name; what has no namespace is under "". */
  readonly facts: ReadonlyMap<string, ReadonlyMap<string, Facts>>;
  /** Settled with the first list. */
  readonly synced: Promise<void>;
  /** Ms for which nothing was heard, or 0 while the watch stands. */
  staleMs(): number;
  /** What is wrong with the watch, or null. */
  problem(): string | null;
  close(): void;
}

/** Nodes are up to 50 KB each: 5 MB for a page of them. */
const PAGE_ITEMS = 100;
/** The API server ends a watch then, with a bookmark just before. Less than the 30 s of silence after which the client gives up. */
const WATCH_SECONDS = 25;
const PAUSE_LEAST_MS = 200;
const PAUSE_MOST_MS = 10_000;
const GONE = 410;

/** Lists, then follows, until `close`. Failures are retried for ever, with a growing pause. */
export function followList<Facts>(options: WatchedListOptions<Facts>): WatchedList<Facts> {
  const { what, path, list, watch, read, onChange, clock, random, log } = options;
  let facts = new Map<string, Map<string, Facts>>();
  let version: string | null = null; // null: to be listed (again)
  let lostAtMonoMs: number | null = clock.monoMs(); // null while the watch stands
  let problem: string | null = null;
  let failures = 0;
  let closed = false;
  let running: { abort(): void } | null = null;
  let waiting: { readonly timer: Timer; readonly wake: () => void } | null = null;
  const synced = Promise.withResolvers<void>();

  async function relist(): Promise<void> {
    const fresh = new Map<string, Map<string, Facts>>();
    let next: string | undefined;
    let listed: string | undefined;
    do {
      const page = await list({ limit: PAGE_ITEMS, ...(next === undefined ? {} : { _continue: next }) });
      for (const item of page.items) put(fresh, item);
      listed = page.metadata?.resourceVersion;
      next = page.metadata?._continue;
    } while (next !== undefined && next !== "" && !closed);
    facts = fresh;
    version = listed ?? null;
    onChange();
    synced.resolve();
  }

  function put(into: Map<string, Map<string, Facts>>, object: unknown): void {
    const { name, namespace } = metadataOf(object);
    const kept = read(object);
    if (kept === null) {
      drop(into, object);
      return;
    }
    const siblings = into.get(namespace) ?? new Map<string, Facts>();
    siblings.set(name, kept);
    into.set(namespace, siblings);
  }

  function drop(from: Map<string, Map<string, Facts>>, object: unknown): void {
    const { name, namespace } = metadataOf(object);
    const siblings = from.get(namespace);
    siblings?.delete(name);
    if (siblings?.size === 0) from.delete(namespace);
  }

  function take(type: string, object: unknown): void {
    if (closed) return;
    if (type === "ERROR") {
      // The object is a Status. 410: what we know is older than what the API server remembers.
      if ((object as { readonly code?: unknown } | null)?.code === GONE) version = null;
      return;
    }
    const { resourceVersion } = metadataOf(object);
    if (resourceVersion !== undefined) version = resourceVersion;
    failures = 0;
    if (type === "BOOKMARK") return;
    if (type === "DELETED") drop(facts, object);
    else put(facts, object);
    onChange();
  }

  /** One watch from its beginning to its end; throws what ended it, unless the API server meant to. */
  async function watchOnce(from: string): Promise<void> {
    const query = {
      resourceVersion: from,
      allowWatchBookmarks: "true",
      timeoutSeconds: String(WATCH_SECONDS),
      ...(options.fieldSelector === undefined ? {} : { fieldSelector: options.fieldSelector }),
    };
    const ended = Promise.withResolvers<unknown>();
    let isOver = false;
    const started = await watch(path, query, take, (error) => {
      isOver = true;
      ended.resolve(error);
    });
    running = started;
    if (closed) started.abort();
    else if (!isOver) stand();
    const error = await ended.promise;
    running = null;
    lostAtMonoMs ??= clock.monoMs();
    if (isGone(error)) version = null;
    else if (error !== null && error !== undefined && !isSilence(error)) throw error;
  }

  function stand(): void {
    lostAtMonoMs = null;
    if (problem !== null) log.info({ what }, "the watch of the API server stands again");
    problem = null;
  }

  async function follow(): Promise<void> {
    while (!closed) {
      try {
        if (version === null) await relist();
        if (version !== null && !closed) await watchOnce(version);
        failures = 0;
      } catch (error) {
        fail(error);
      }
      if (!closed) await pause();
    }
  }

  function fail(error: unknown): void {
    if (closed) return;
    failures += 1;
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
    synced: synced.promise,
    staleMs: () => (lostAtMonoMs === null ? 0 : clock.monoMs() - lostAtMonoMs),
    problem: () => problem,
    close() {
      closed = true;
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

function isGone(error: unknown): boolean {
  const status = error as { readonly code?: unknown; readonly statusCode?: unknown } | null | undefined;
  return status?.code === GONE || status?.statusCode === GONE;
}

/** The client gives up on a connection on which nothing came; it is no failure of what is followed. */
function isSilence(error: unknown): boolean {
  return (error as { readonly name?: unknown }).name === "TimeoutError";
}

function explain(error: unknown): string {
  const code = (error as { readonly code?: unknown; readonly statusCode?: unknown } | null) ?? {};
  const status = typeof code.code === "number" ? code.code : code.statusCode;
  if (status === 403) return "the API server answers 403, the service account lacks the right to list and watch them";
  if (typeof status === "number") return `the API server answers ${status}`;
  const reason = error instanceof Error && error.cause instanceof Error ? error.cause : error;
  return reason instanceof Error ? reason.message : String(reason);
}
