// Events on workloads: what the injector did with a pod, for `kubectl describe`. A pod that is refused never exists, so the Event stands at what makes it:
// the Deployment behind the ReplicaSet. Never on the path of a request: what is recorded is queued, and written one at a time, at a pace, by this file.
// What happens again is counted in the same Event (events.k8s.io/v1, `series`), so that a hundred replicas are one line.
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";

/** Where an Event stands; `uid` is how `kubectl describe` finds it. */
export interface ObjectReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly namespace: string;
  readonly name: string;
  readonly uid?: string;
}

/** What happened. */
export interface WorkloadEvent {
  /** The controller of the pod as the pod names it, or the pod. */
  readonly regarding: ObjectReference;
  readonly type: "Normal" | "Warning";
  /** One word in CamelCase, such as `InjectionRefused`. */
  readonly reason: string;
  /** What was being done, such as `Injecting`. */
  readonly action: string;
  /** A sentence; cut at 1024 characters. */
  readonly note: string;
  /** What of the object it is about, such as one of its rollouts: about another one it is another Event. Default: the object as a whole. */
  readonly about?: string;
}

/** An Event as it is written. */
export interface NewEvent extends Omit<WorkloadEvent, "about"> {
  readonly name: string;
  readonly atMs: number;
  readonly reportingController: string;
  readonly reportingInstance: string;
}

/** Where Events are written. Rejects when that fails. */
export interface EventSink {
  create(event: NewEvent): Promise<void>;
  /** Says how often an Event was seen, and when last. Resolves with false when it is gone. */
  countAgain(event: { readonly namespace: string; readonly name: string; readonly count: number; readonly atMs: number }): Promise<boolean>;
  /** What controls a ReplicaSet or Job; null when nothing does, or it is gone. */
  controllerOf(reference: ObjectReference): Promise<ObjectReference | null>;
}

/** What the recorder works with. */
export interface EventRecorderOptions {
  readonly sink: EventSink;
  /** Name of this replica. */
  readonly instance: string;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** Takes Events. */
export interface EventRecorder {
  /** Never waits, never throws. Beyond the bounds an Event is dropped and counted. */
  record(event: WorkloadEvent): void;
  /** Writes nothing more; resolves when what is being written is. */
  close(): Promise<void>;
}

/** `kubectl get events` shows it in its widest form. */
export const REPORTING_CONTROLLER = "remora.io/injector";
const MAX_NOTE_LENGTH = 1024;
/** Events that wait to be written. */
const MAX_WAITING = 256;
/** Kinds of happening that are remembered, each as one Event; the one that was seen least recently goes first. */
const MAX_SERIES = 1024;
/** What was not seen for so long becomes a new Event when it is seen again. */
const SERIES_MS = 10 * 60_000;
/** How often the count of one Event is written. */
const COUNT_PERIOD_MS = 60_000;
const MAX_OWNERS = 1024;
/** Writes that are free, and then one each so often. */
const BURST = 25;
const PACE_MS = 200;

/** One kind of happening at one object. */
interface Series {
  readonly event: WorkloadEvent;
  count: number;
  lastAtMs: number;
  /** What of `count` is written; 0 before the Event is. */
  written: number;
  /** Monotonic. */
  writtenAtMonoMs: number;
  /** Set once it is created. */
  stored: { readonly namespace: string; readonly name: string } | null;
  waits: boolean;
}

/** Starts with nothing. */
export function createEventRecorder({ sink, instance, clock, log, metrics }: EventRecorderOptions): EventRecorder {
  const seen = new Map<string, Series>(); // the least recently seen first
  const owners = new Map<string, ObjectReference>();
  const waiting: Series[] = [];
  const outcomes = metrics.counter({
    name: "remora_events_total",
    help: "Events on workloads: recorded, and of those written (one for many), dropped because too many waited, or failed.",
    labels: ["outcome"],
  });
  let credit = BURST;
  let creditAtMonoMs = clock.monoMs();
  let counting: Timer | null = null; // armed exactly while a count may be behind
  let working: Promise<void> | null = null;
  let closed = false;

  function record(event: WorkloadEvent): void {
    if (closed) return;
    outcomes.inc({ outcome: "recorded" });
    const key = keyOf(event);
    const nowMs = clock.nowMs();
    const known = seen.get(key);
    if (known === undefined || nowMs - known.lastAtMs > SERIES_MS) {
      begin(key, { event, count: 1, lastAtMs: nowMs, written: 0, writtenAtMonoMs: 0, stored: null, waits: false });
      return;
    }
    seen.delete(key);
    seen.set(key, known);
    known.count += 1;
    known.lastAtMs = nowMs;
    counting ??= clock.after(COUNT_PERIOD_MS / 4, writeCounts);
  }

  function begin(key: string, series: Series): void {
    const [oldest] = seen.keys();
    if (seen.size >= MAX_SERIES && oldest !== undefined) seen.delete(oldest);
    seen.delete(key);
    if (!enqueue(series)) return; // not remembered either: the next one tries again
    seen.set(key, series);
  }

  /** Warnings stand before what is normal: that a rollout was halted is not told a minute later, after hundreds of injections. */
  function enqueue(series: Series): boolean {
    const isWarning = series.event.type === "Warning";
    if (waiting.length >= MAX_WAITING) {
      outcomes.inc({ outcome: "dropped" });
      if (!isWarning || !giveUpLastNormal()) return false;
    }
    series.waits = true;
    const firstNormal = waiting.findIndex(({ event }) => event.type === "Normal");
    waiting.splice(isWarning && firstNormal !== -1 ? firstNormal : waiting.length, 0, series);
    working ??= work().finally(() => {
      working = null;
    });
    return true;
  }

  /** False: only warnings wait. */
  function giveUpLastNormal(): boolean {
    const last = waiting.at(-1);
    if (last === undefined || last.event.type !== "Normal") return false;
    waiting.pop();
    last.waits = false;
    if (last.stored === null) seen.delete(keyOf(last.event));
    return true;
  }

  async function work(): Promise<void> {
    for (let next = waiting.shift(); next !== undefined && !closed; next = waiting.shift()) {
      next.waits = false;
      await takeCredit();
      if (!closed) await write(next);
    }
  }

  async function write(series: Series): Promise<void> {
    // An Event that is created stands for one, however many there were by then.
    const count = series.stored === null ? 1 : series.count;
    try {
      if (series.stored === null) await create(series);
      else if (!(await sink.countAgain({ ...series.stored, count, atMs: series.lastAtMs }))) seen.delete(keyOf(series.event));
      series.written = count;
      series.writtenAtMonoMs = clock.monoMs();
      outcomes.inc({ outcome: "written" });
    } catch (error) {
      outcomes.inc({ outcome: "failed" });
      seen.delete(keyOf(series.event));
      log.warn({ err: error, reason: series.event.reason }, "Event cannot be written");
    }
  }

  async function create(series: Series): Promise<void> {
    const { event, lastAtMs } = series;
    const { type, reason, action } = event;
    const regarding = await workloadOf(event.regarding);
    // The name has to be unique in the namespace for an hour, as in client-go.
    const name = `${regarding.name.slice(0, 220)}.${BigInt(Math.round(lastAtMs * 1000)).toString(16)}${suffix()}`;
    const note = event.note.length <= MAX_NOTE_LENGTH ? event.note : `${event.note.slice(0, MAX_NOTE_LENGTH - 1)}…`;
    await sink.create({
      type,
      reason,
      action,
      regarding,
      note,
      name,
      atMs: lastAtMs,
      reportingController: REPORTING_CONTROLLER,
      reportingInstance: instance.slice(0, 128),
    });
    series.stored = { namespace: regarding.namespace, name };
  }

  /** The object that people know. Asked for once; where that fails the Event stands at what the pod named. */
  async function workloadOf(reference: ObjectReference): Promise<ObjectReference> {
    if (reference.kind !== "ReplicaSet" && reference.kind !== "Job") return reference;
    const key = `${reference.kind}/${reference.namespace}/${reference.name}`;
    const known = owners.get(key);
    if (known !== undefined) return known;
    const found = await sink.controllerOf(reference).catch((error: unknown) => {
      log.debug({ err: error, kind: reference.kind, name: reference.name }, "owner of a workload cannot be read");
      return null;
    });
    const [oldest] = owners.keys();
    if (owners.size >= MAX_OWNERS && oldest !== undefined) owners.delete(oldest);
    const owner = found ?? reference;
    owners.set(key, owner);
    return owner;
  }

  /** Waits until there is one. */
  async function takeCredit(): Promise<void> {
    for (earn(); credit === 0 && !closed; earn()) await pause(PACE_MS);
    credit -= 1;
  }

  /** One more each {@link PACE_MS}, up to {@link BURST}. */
  function earn(): void {
    const earned = Math.floor((clock.monoMs() - creditAtMonoMs) / PACE_MS);
    credit = Math.min(BURST, credit + earned);
    creditAtMonoMs += earned * PACE_MS;
  }

  function pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = clock.after(ms, resolve);
      wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  let wake: (() => void) | null = null;

  function writeCounts(): void {
    counting = null;
    let behind = false;
    for (const series of seen.values()) {
      if (series.count === series.written || series.waits) continue;
      const isDue = series.stored !== null && clock.monoMs() - series.writtenAtMonoMs >= COUNT_PERIOD_MS;
      if (!isDue || !enqueue(series)) behind = true;
    }
    if (behind) counting = clock.after(COUNT_PERIOD_MS / 4, writeCounts);
  }

  return {
    record,
    async close() {
      closed = true;
      counting?.cancel();
      wake?.();
      await working;
    },
  };
}

/** The note is not part of it, as in the API: it may tell of one replica only. */
function keyOf({ regarding, type, reason, action, about = "" }: WorkloadEvent): string {
  return [regarding.namespace, regarding.kind, regarding.name, regarding.uid ?? "", type, reason, action, about].join("\n");
}

/** Two replicas of ours may write in the same microsecond. */
function suffix(): string {
  return crypto.randomUUID().slice(0, 4);
}
