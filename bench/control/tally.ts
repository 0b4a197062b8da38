// What the simulated sidecars saw, counted: answers to heartbeats and how late they were, updates and when the last watcher had each, failures by what they said.
import type { HeartbeatResponse, WatchUpdate } from "../../core/wire/registry.ts";
import { field, TEXT, UINT64 } from "../../core/wire/field.ts";
import { message } from "../../core/wire/message.ts";
import { watchUpdate } from "../../core/wire/registry-messages.ts";
import { rank } from "../load/rank.ts";

const headOfUpdate = message<Pick<WatchUpdate, "key" | "version">>("WatchUpdate", { key: field(1, TEXT), version: field(2, UINT64) });

/** Latencies of one measurement, ms. */
export interface Latency {
  readonly p50: number;
  readonly p90: number;
  readonly p99: number;
  readonly max: number;
}

/** What was counted since {@link Tally.reset}. */
export interface Counts {
  readonly answers: number;
  readonly refusals: number;
  /** From when a heartbeat was due to its answer. */
  readonly answer: Latency;
  /** From when it was due to when the simulator wrote it: its own part of the above. */
  readonly late: Latency;
  readonly updates: number;
  /** From the announcement of a new instance to the last watcher that was told of it. */
  readonly spread: Latency;
  /** How often each failure was seen. */
  readonly failures: Readonly<Record<string, number>>;
  /** The largest interval that the registry asked for. */
  readonly intervalMs: number;
}

/** Counts. */
export class Tally {
  /** End of every simulated certificate, epoch ms. */
  readonly certificatesEndMs: number;
  #answerMs: number[] = [];
  #lateMs: number[] = [];
  #refusals = 0;
  #updates = 0;
  #intervalMs = 0;
  #failures: Record<string, number> = {};
  /** When an instance was announced first, and when it was last told to a watcher. */
  readonly #announcedMonoMs = new Map<string, number>();
  readonly #toldMonoMs = new Map<string, number>();
  #followsSpread = false;

  constructor(certificatesEndMs: number) {
    this.certificatesEndMs = certificatesEndMs;
  }

  /** Reads an update; its endpoints only where they are followed: reading all of them for all would take more CPU than there is beside the control plane. */
  read(bytes: Buffer): WatchUpdate {
    return this.#followsSpread ? watchUpdate.decode(bytes) : ({ ...headOfUpdate.decode(bytes), upserts: [] } as unknown as WatchUpdate); // nobody looks at the rest
  }

  /** Forgets what was counted; `followsSpread` follows new instances to their watchers from now on. */
  reset(followsSpread = false): void {
    this.#answerMs = [];
    this.#lateMs = [];
    this.#refusals = 0;
    this.#updates = 0;
    this.#intervalMs = 0;
    this.#failures = {};
    this.#announcedMonoMs.clear();
    this.#toldMonoMs.clear();
    this.#followsSpread = followsSpread;
  }

  sent(lateMs: number): void {
    this.#lateMs.push(lateMs);
  }

  announced(instanceId: string): void {
    if (this.#followsSpread) this.#announcedMonoMs.set(instanceId, performance.now());
  }

  /** `tookMs` from when it was due. */
  answered(tookMs: number, { accepted, reason, message, nextIntervalMs }: HeartbeatResponse): void {
    this.#answerMs.push(tookMs);
    this.#intervalMs = Math.max(this.#intervalMs, nextIntervalMs);
    if (accepted) return;
    this.#refusals += 1;
    this.#count(`refused ${reason}: ${message}`);
  }

  updated({ upserts, full }: WatchUpdate): void {
    this.#updates += 1;
    // A whole answer is for who asks for the first time: it says nothing of when the others knew.
    if (!this.#followsSpread || full) return;
    for (const { instanceId } of upserts) if (this.#announcedMonoMs.has(instanceId)) this.#toldMonoMs.set(instanceId, performance.now());
  }

  failed(error: Error): void {
    this.#count(error.message);
  }

  #count(what: string): void {
    const key = what.replaceAll(/[0-9a-f-]{36}|\d+(\.\d+)*/g, "N").slice(0, 120);
    this.#failures[key] = (this.#failures[key] ?? 0) + 1;
  }

  counts(): Counts {
    const spread = [...this.#toldMonoMs].map(([id, told]) => told - (this.#announcedMonoMs.get(id) ?? Number.NaN));
    return {
      answers: this.#answerMs.length,
      refusals: this.#refusals,
      answer: latencyOf(this.#answerMs),
      late: latencyOf(this.#lateMs),
      updates: this.#updates,
      spread: latencyOf(spread),
      failures: this.#failures,
      intervalMs: this.#intervalMs,
    };
  }
}

/** Percentiles of times in ms; NaN of none. */
export function latencyOf(timesMs: readonly number[]): Latency {
  const sorted = [...timesMs].sort((a, b) => a - b);
  return { p50: rank(sorted, 0.5), p90: rank(sorted, 0.9), p99: rank(sorted, 0.99), max: rank(sorted, 1) };
}
