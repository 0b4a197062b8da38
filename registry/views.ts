// The questions somebody watches, each answered once for all who ask (design 8). A change of a lease or a service marks only the questions it
// can touch; marked ones are answered again together, a moment later, and only an answer that really differs gets a new version.
import type { Clock, Timer } from "../core/clock.ts";
import { announcedServices } from "./lease.ts";
import type { LeaseChange, Leases } from "./lease-table.ts";
import type { Question } from "./question.ts";
import { questionKey } from "./question.ts";
import type { Resolved, ResolvedEndpoint } from "./resolve.ts";
import { NOT_FOUND, resolve } from "./resolve.ts";
import type { ServiceSource } from "./service-source.ts";
import { serviceIdOf } from "./service-source.ts";
import { VersionedView, type View } from "./view.ts";

/** Changes within this time travel together. */
const GATHER_MS = 20;
/** Least time between two versions of an answer: a service whose instances start or leave by the dozen is told in steps, not in one per instance. */
const BETWEEN_MS = 100;
/** How long a service that lost its last instance stays found, empty, so that callers refuse instead of going around the mesh. */
const EMPTY_HOLD_MS = 60_000;
/** Answers kept for nobody, so that a sidecar that comes back is told "unchanged". The oldest goes first. */
const MAX_IDLE_VIEWS = 4096;
const VERSIONS_PER_MS = 2048;
const REPLICAS = 64;

/** A question being watched. */
export interface WatchedView {
  readonly current: View;
  /** Stops watching. Idempotent. */
  stop(): void;
}

/** The answers of one registry. */
export interface Views {
  /** Watches `question`; `changed` is called after each new version. */
  watch(question: Question, changed: () => void): WatchedView;
  /** Answers marked questions now instead of a moment later. */
  flush(): void;
  close(): void;
}

/** Settings of {@link createViews}. */
export interface ViewsOptions {
  readonly leases: Leases;
  readonly source: ServiceSource;
  readonly clock: Clock;
  /** 0..1; tells replicas' versions apart. */
  readonly random: () => number;
}

interface Topic {
  readonly key: string;
  readonly question: Question;
  readonly watchers: Set<Watch>;
  current: VersionedView;
  /** When its answer last changed. */
  versionMonoMs: number;
  /** Monotonic instant until which an emptied service stays found; 0 while it has instances or never had. */
  heldUntilMonoMs: number;
}

/** One of those who watch a topic. A class, as there are tens of thousands: what is shared is on its prototype. */
class Watch implements WatchedView {
  readonly changed: () => void;
  readonly #topic: Topic;
  readonly #onStop: (topic: Topic) => void;

  constructor(topic: Topic, changed: () => void, onStop: (topic: Topic) => void) {
    this.#topic = topic;
    this.changed = changed;
    this.#onStop = onStop;
  }

  get current(): View {
    return this.#topic.current;
  }

  stop(): void {
    if (this.#topic.watchers.delete(this)) this.#onStop(this.#topic);
  }
}

/** Starts following `leases` and `source`. */
export function createViews({ leases, source, clock, random }: ViewsOptions): Views {
  const topics = new Map<string, Topic>();
  const idle = new Set<Topic>();
  const byService = new Map<string, Set<Topic>>();
  const byAddress = new Map<string, Set<Topic>>();
  const marked = new Set<Topic>();
  const nextVersion = createVersions(clock, random);
  /** Set exactly while marked questions wait to be answered again. */
  let gathering: Timer | null = null;
  const holdTimer = clock.every(1000, endHolds);

  function mark(found: Iterable<Topic> | undefined): void {
    for (const topic of found ?? []) marked.add(topic);
    if (marked.size > 0) gathering ??= clock.after(GATHER_MS, flushDue);
  }

  function onLease({ before, after }: LeaseChange): void {
    for (const lease of [before, after]) {
      if (lease === null) continue;
      for (const id of announcedServices(lease)) markService(id);
      for (const id of source.selecting(lease)) markService(id);
      for (const address of lease.addresses) mark(byAddress.get(address));
    }
  }

  function markService(id: string): void {
    mark(byService.get(id));
    for (const address of source.service(id)?.virtualAddresses ?? []) mark(byAddress.get(address));
  }

  function onServices(ids: ReadonlySet<string>): void {
    for (const id of ids) markService(id);
    // An address that stopped being virtual is found by what its topic last answered.
    mark([...topics.values()].filter((topic) => topic.question.kind === "address" && ids.has(topic.current.resolved.service)));
  }

  function flush(): void {
    gathering?.cancel();
    gathering = null;
    const due = [...marked];
    marked.clear();
    for (const topic of due) answerAgain(topic);
  }

  /** Answers those that had no new version for a while; the others wait until they had none. */
  function flushDue(): void {
    gathering = null;
    const now = clock.monoMs();
    let nextMonoMs = Number.POSITIVE_INFINITY;
    for (const topic of [...marked]) {
      const dueMonoMs = topic.versionMonoMs + BETWEEN_MS;
      if (dueMonoMs > now) nextMonoMs = Math.min(nextMonoMs, dueMonoMs);
      else {
        marked.delete(topic);
        answerAgain(topic);
      }
    }
    if (marked.size > 0) gathering ??= clock.after(Math.max(GATHER_MS, nextMonoMs - now), flushDue);
  }

  function answerAgain(topic: Topic): void {
    const resolved = hold(topic, resolve(topic.question, leases, source));
    const before = topic.current;
    const known = new Map(before.resolved.endpoints.map((endpoint) => [endpoint.id, endpoint]));
    const upserts = resolved.endpoints.filter((endpoint) => !sameEndpoint(known.get(endpoint.id), endpoint));
    const kept = new Set(resolved.endpoints.map((endpoint) => endpoint.id));
    const removed = [...known.keys()].filter((id) => !kept.has(id));
    const sameHead =
      before.resolved.found === resolved.found &&
      before.resolved.service === resolved.service &&
      before.resolved.protocol === resolved.protocol;
    if (sameHead && upserts.length === 0 && removed.length === 0) return;
    topic.current = before.next(nextVersion(), resolved, [...upserts.map(({ id }) => id), ...removed]);
    topic.versionMonoMs = clock.monoMs();
    for (const { changed } of [...topic.watchers]) changed();
  }

  function hold(topic: Topic, resolved: Resolved): Resolved {
    const { service, protocol } = topic.current.resolved;
    if (resolved.found || service === "" || isAnothers(topic.question, service)) {
      topic.heldUntilMonoMs = 0;
      return resolved;
    }
    const now = clock.monoMs();
    if (topic.heldUntilMonoMs === 0) topic.heldUntilMonoMs = now + EMPTY_HOLD_MS;
    return now < topic.heldUntilMonoMs ? { found: true, service, protocol, endpoints: [] } : NOT_FOUND;
  }

  /** A virtual address may be given to another service once its own is gone: that one's callers have nothing to wait for. */
  function isAnothers(question: Question, service: string): boolean {
    if (question.kind !== "address") return false;
    const entry = source.byVirtualAddress(question.address);
    return entry === undefined || serviceIdOf(entry) !== service;
  }

  function endHolds(): void {
    const now = clock.monoMs();
    mark(
      [...topics.values()].filter((topic) => topic.heldUntilMonoMs !== 0 && topic.heldUntilMonoMs <= now && topic.current.resolved.found),
    );
  }

  function topicOf(question: Question): Topic {
    const key = questionKey(question);
    const known = topics.get(key);
    if (known !== undefined) return known;
    const resolved = resolve(question, leases, source);
    const current = VersionedView.first(nextVersion(), resolved);
    const topic: Topic = { key, question, watchers: new Set(), current, versionMonoMs: Number.NEGATIVE_INFINITY, heldUntilMonoMs: 0 };
    topics.set(key, topic);
    index(topic, (map, name) => void (map.get(name)?.add(topic) ?? map.set(name, new Set([topic]))));
    return topic;
  }

  function forget(topic: Topic): void {
    idle.delete(topic);
    marked.delete(topic);
    topics.delete(topic.key);
    index(topic, (map, name) => {
      const found = map.get(name);
      found?.delete(topic);
      if (found?.size === 0) map.delete(name);
    });
  }

  function index({ question }: Topic, apply: (map: Map<string, Set<Topic>>, name: string) => void): void {
    if (question.kind === "service" || question.kind === "member") apply(byService, `${question.namespace}/${question.name}`);
    else if (question.kind === "address") apply(byAddress, question.address);
  }

  function rest(topic: Topic): void {
    if (topic.watchers.size > 0) return;
    idle.add(topic);
    const [oldest] = idle;
    if (idle.size > MAX_IDLE_VIEWS && oldest !== undefined) forget(oldest);
  }

  const stopLeases = leases.onChange(onLease);
  const stopSource = source.onChange(onServices);
  return {
    watch(question, changed) {
      const topic = topicOf(question);
      idle.delete(topic);
      const watch = new Watch(topic, changed, rest);
      topic.watchers.add(watch);
      return watch;
    },
    flush,
    close() {
      stopLeases();
      stopSource();
      gathering?.cancel();
      holdTimer.cancel();
    },
  };
}

/** For an answer that is only part of what its receiver then holds: no version is as low, so that nobody who comes back with it is told "unchanged". */
export function provisionalVersion(version: number): number {
  return Math.floor(version / REPLICAS);
}

/**
 * Versions grow within a replica and across its restarts, because they start from the wall clock; two replicas never give the same one
 * (short of the same random number), so that "I hold version v" always means the answer that v was given for.
 */
function createVersions(clock: Clock, random: () => number): () => number {
  const replica = Math.floor(random() * REPLICAS);
  let last = 0;
  return () => {
    const fromTime = Math.floor((clock.nowMs() * VERSIONS_PER_MS) / REPLICAS);
    last = Math.max(last + 1, fromTime);
    return last * REPLICAS + replica;
  };
}

/** Leases are immutable: the same lease object is the same endpoint, a different one may still look the same from outside. */
function sameEndpoint(a: ResolvedEndpoint | undefined, b: ResolvedEndpoint): boolean {
  if (a === undefined || a.address !== b.address || a.protocol !== b.protocol) return false;
  if (a.lease === b.lease) return true;
  return (
    a.lease.identity === b.lease.identity &&
    a.lease.inboundPort === b.lease.inboundPort &&
    a.lease.version === b.lease.version &&
    a.lease.epoch === b.lease.epoch &&
    sameBytes(a.lease.messageCertificate, b.lease.messageCertificate)
  );
}

function sameBytes(a: Buffer | null, b: Buffer | null): boolean {
  return a === null || b === null ? a === b : a.equals(b);
}
