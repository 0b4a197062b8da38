// The audit trail in a file (design 8): events wait in memory, a bounded number of them, and are appended in the background, many at a time. Nothing here ever
// holds up or fails whoever has something to tell: while the disk is full, health says so, and the loss itself becomes a record once there is space.
import type { HealthCheck } from "../admin-routes.ts";
import type { Timer } from "../clock.ts";
import type { Logger } from "../log.ts";
import type { Metrics } from "../metrics.ts";
import { AUDIT_EVENTS, type Audit, type AuditFields } from "./audit.ts";
import { bodyOf, type ChainHead } from "./audit-record.ts";
import { type ChainedFile, type ChainedFileOptions, openChainedFile } from "./chained-file.ts";
import { createRefusalBrake } from "./refusal-brake.ts";

/** Kept in memory while the disk does not take them; further events are lost and counted. */
const MAX_WAITING_BYTES = 8 * 1024 * 1024;
/** Appended in one go. */
const MAX_BATCH = 512;
const RETRY_MS = 1000;
/** How often refusals that were only counted are written, and the end of the chain is told to the ordinary log. */
const SUMMARY_PERIOD_MS = 60_000;
const CLOSE_TIMEOUT_MS = 2000;

/** What {@link openAuditFile} needs. */
export interface AuditFileOptions extends ChainedFileOptions {
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Default 8 MiB. */
  readonly maxWaitingBytes?: number;
}

/** An audit trail that ends in a file. */
export interface AuditFile extends Audit {
  /** The end of the chain on disk: what an auditor keeps elsewhere, so that a file that lost its end shows. */
  readonly head: ChainHead;
  /** `degraded` while events cannot be written. */
  health(): HealthCheck;
  /** Writes what waits, for 2 s at most. Later events are dropped. */
  close(): Promise<void>;
}

/** Opens the file. Rejects when its path cannot be used at all; a full disk is no reason to. */
export async function openAuditFile(options: AuditFileOptions): Promise<AuditFile> {
  const { clock, log, path, maxWaitingBytes = MAX_WAITING_BYTES } = options;
  const file = await openChainedFile(options);
  const brake = createRefusalBrake(() => clock.monoMs());
  const counts = createCounts(options.metrics, file);
  const waiting: string[] = [];
  let waitingBytes = 0;
  /** Set while events are lost: from the first one until there is room for half of what may wait, so that gaps are few. */
  let gap: { readonly sinceMs: number; lost: number } | null = null;
  let problem: { readonly sinceMs: number; readonly message: string } | null = null;
  let writing: Promise<void> | null = null;
  let isClosed = false;
  let toldSeq = file.head.seq;
  let retry: Timer | null = null;

  function push(body: string): void {
    waiting.push(body);
    waitingBytes += body.length;
  }

  function keep(body: string): void {
    if (gap !== null && waitingBytes < maxWaitingBytes / 2) endGap();
    if (gap === null && waitingBytes + body.length <= maxWaitingBytes) return push(body);
    gap ??= { sinceMs: clock.nowMs(), lost: 0 };
    gap.lost += 1;
    counts.lost.inc();
  }

  function endGap(): void {
    if (gap === null) return;
    push(bodyOf("audit.gap", { lost: gap.lost, since: new Date(gap.sinceMs).toISOString() }, clock.nowMs()));
    gap = null;
  }

  function write(): void {
    writing ??= writeAll().finally(() => {
      writing = null;
      if (waiting.length > 0 && problem === null) write(); // told between the last look and now
    });
  }

  async function writeAll(): Promise<void> {
    // Events of the same turn travel together.
    await Promise.resolve();
    while (waiting.length > 0 || gap !== null) {
      if (waiting.length === 0) endGap();
      const batch = waiting.slice(0, MAX_BATCH);
      try {
        await file.append(batch);
      } catch (error) {
        fail(error as NodeJS.ErrnoException);
        return;
      }
      succeed(batch);
    }
  }

  function succeed(batch: readonly string[]): void {
    waiting.splice(0, batch.length);
    for (const body of batch) waitingBytes -= body.length;
    counts.written.inc(batch.length);
    if (problem !== null) log.info({ path, waited: new Date(problem.sinceMs).toISOString() }, "the audit file can be written again");
    problem = null;
  }

  function fail(error: NodeJS.ErrnoException): void {
    const message = `the audit file cannot be written: ${error.code ?? error.message}; ${waiting.length} events wait`;
    if (problem === null) log.error({ err: error, path }, "the audit file cannot be written, events wait in memory");
    problem = { sinceMs: problem?.sinceMs ?? clock.nowMs(), message };
    counts.failures.inc();
    if (!isClosed) retry = clock.after(RETRY_MS, write);
  }

  function summarize(): void {
    for (const { of, reason, count } of brake.counted()) keep(bodyOf("audit.refusals_suppressed", { of, reason, count }, clock.nowMs()));
    if (waiting.length > 0) write();
    if (file.head.seq === toldSeq) return;
    toldSeq = file.head.seq;
    log.info({ path, seq: toldSeq, hash: file.head.hash }, "audit head");
  }

  const summary = clock.every(SUMMARY_PERIOD_MS, summarize);

  return {
    get head() {
      return file.head;
    },
    record(event, fields: AuditFields) {
      if (isClosed) return;
      if (AUDIT_EVENTS[event].refusal && !brake.take(event, fields)) return;
      keep(bodyOf(event, fields, clock.nowMs()));
      // While the disk refuses, the timer tries again: not every event.
      if (problem === null) write();
    },
    health() {
      if (problem !== null) return { status: "degraded", since: problem.sinceMs, message: problem.message };
      return { status: "ok", message: `record ${file.head.seq}, hash ${file.head.hash}` };
    },
    async close() {
      summary.cancel();
      retry?.cancel();
      summarize();
      isClosed = true;
      write();
      await Promise.race([writing, new Promise((resolve) => setTimeout(resolve, CLOSE_TIMEOUT_MS).unref())]);
      log.info({ path, seq: file.head.seq, hash: file.head.hash }, "audit head");
      await file.close();
    },
  };
}

function createCounts(metrics: Metrics, file: ChainedFile) {
  metrics.gauge({ name: "remora_audit_seq", help: "Number of the last record in the audit file.", read: () => file.head.seq });
  const counter = (name: string, help: string) => metrics.counter({ name, help }).child();
  return {
    written: counter("remora_audit_records_total", "Events written into the audit file."),
    lost: counter("remora_audit_lost_total", "Events lost because the audit file could not be written for too long."),
    failures: counter("remora_audit_write_failures_total", "Failed writes of the audit file; the events wait and are written later."),
  };
}
