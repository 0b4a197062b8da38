// What an auditor asks a control plane for: who registered and left, who was refused, which certificate went to whom, who rotated what. Everybody who has
// such a thing to say says it to an `Audit`; where it goes (a chained file, audit-file.ts, or the ordinary log, below) is decided once, at the start.
import type { Logger } from "../log.ts";

/** What an event may carry besides its name. Never secrets. `seq`, `time`, `event`, `prev` and `hash` are the record's own. */
export type AuditFields = Readonly<Record<string, string | number | boolean | null | readonly string[]>>;

/** Every event: whether it speaks of a refusal, at which level the ordinary log has it, and in which words. */
export const AUDIT_EVENTS = {
  /** The file's own: it was opened, after a crash perhaps (`torn`). */
  "audit.opened": { level: "info", message: "audit file opened", refusal: false },
  /** Records were lost: the disk was full or too slow. `lost` of them, since `since`. */
  "audit.gap": { level: "error", message: "audit records were lost", refusal: false },
  /** Somebody else wrote to the file or cut it. */
  "audit.foreign": { level: "error", message: "the audit file was changed by somebody else", refusal: false },
  /** Refusals that came too often to be written one by one. */
  "audit.refusals_suppressed": { level: "warn", message: "refusals that are not listed one by one", refusal: false },
  "control.started": { level: "info", message: "control plane started", refusal: false },
  "control.stopped": { level: "info", message: "control plane stopped", refusal: false },
  "instance.registered": { level: "debug", message: "instance registered", refusal: false },
  /** Another process, other services, addresses or ports than before; not a renewal, not its load. */
  "instance.changed": { level: "debug", message: "instance changed", refusal: false },
  "instance.left": { level: "debug", message: "instance left", refusal: false },
  "instance.replaced": { level: "info", message: "a newer instance took the place of this one", refusal: false },
  /** Nobody renewed its lease; with a shared store also: it left by another replica, whose file says so. */
  "instance.ended": { level: "debug", message: "lease ended", refusal: false },
  "announcement.refused": { level: "debug", message: "announcement refused", refusal: true },
  "call.refused": { level: "info", message: "call refused", refusal: true },
  "watch.refused": { level: "info", message: "watch refused", refusal: true },
  "read.refused": { level: "info", message: "reading the mesh refused", refusal: true },
  "certificate.issued": { level: "info", message: "certificate issued", refusal: false },
  "certificate.refused": { level: "warn", message: "certificate refused", refusal: true },
  /** What a process signs with and trusts from its start on: `place`, `step` of a rotation, `signs` and `trusts` (root ids), `issuer` (key id), `notAfter`. */
  "ca.ready": { level: "debug", message: "certificate authority in use", refusal: false },
  /** The same after a change of what is kept: a step of a rotation, a new issuer. Who made it, the API server's own audit trail or the file's owner knows. */
  "ca.changed": { level: "debug", message: "the certificate authority changed", refusal: false },
  /** What is kept cannot be used, or would cut workloads off: `place`, `reason`. The CA before stays in use. */
  "ca.change_refused": { level: "debug", message: "a change of the certificate authority refused", refusal: false },
} as const satisfies Readonly<Record<string, { level: "debug" | "info" | "warn" | "error"; message: string; refusal: boolean }>>;

/** The name of an event. */
export type AuditEventName = keyof typeof AUDIT_EVENTS;

/** Where events are told. */
export interface Audit {
  /** Tells one event. Never throws, never waits. */
  record(event: AuditEventName, fields: AuditFields): void;
}

/** The audit trail of a process that keeps no file: each event is a line of the ordinary log. */
export function auditToLog(log: Logger): Audit {
  return {
    record(event, fields) {
      const { level, message } = AUDIT_EVENTS[event];
      log[level]({ ...fields, event }, message);
    },
  };
}
