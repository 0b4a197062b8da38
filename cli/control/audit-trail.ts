// Where the audit trail of this control plane goes: a chained file, or the log. It is the first part to be opened and the last to be closed, so that it hears
// of everything; its first and last events are the process's own.
import { hostname } from "node:os";
import { type Audit, auditToLog } from "../../core/audit/audit.ts";
import { type AuditFile, openAuditFile } from "../../core/audit/audit-file.ts";
import { buildInfo } from "../../core/build-info.ts";
import type { Clock } from "../../core/clock.ts";
import { ConfigError } from "../../core/errors.ts";
import type { Lifecycle } from "../../core/lifecycle.ts";
import { formatAccessList } from "../../core/policy/access-list.ts";
import { formatWatchRules } from "../../core/policy/watch-rules.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { ControlConfig } from "./config.ts";
import type { Checks } from "./roles/role.ts";

/** The trail and what it says of itself. */
export interface Trail {
  readonly audit: Audit;
  readonly checks: Checks;
}

/** Opens it. @throws ConfigError when the file cannot be used */
export async function openTrail(
  config: ControlConfig,
  {
    clock,
    log,
    metrics,
    lifecycle,
  }: { readonly clock: Clock; readonly log: Logger; readonly metrics: Metrics; readonly lifecycle: Lifecycle },
): Promise<Trail> {
  const { auditFile: path } = config;
  if (path === null) return { audit: auditToLog(log), checks: {} };
  const about = { host: hostname(), pid: process.pid };
  const file = await lifecycle.start("audit", async () => {
    const options = { path, maxBytes: config.auditFileSize, keep: config.auditFileKeep, clock, log, metrics, about };
    const opened = await openAuditFile(options).catch((cause: unknown) => {
      const why = cause instanceof Error ? cause.message : String(cause);
      throw new ConfigError("invalid_value", `REMORA_AUDIT_FILE=${path} cannot be used: ${why}`, { cause });
    });
    return { ...ending(opened), audit: opened };
  });
  file.audit.record("control.started", { ...about, version: buildInfo().version, ...rules(config) });
  return { audit: file.audit, checks: { audit: () => file.audit.health() } };
}

function ending(file: AuditFile): { close(): Promise<void> } {
  return {
    close() {
      file.record("control.stopped", { pid: process.pid });
      return file.close();
    },
  };
}

/** What decides who may do what: a change of it shows as a difference between two starts. */
function rules({ roles, trustDomain, store, inKubernetes, leafTtl, meshReaders, readToken, watchRoles }: ControlConfig) {
  return {
    parts: [...roles],
    trustDomain,
    store,
    inKubernetes,
    leafTtlMs: leafTtl,
    meshReaders: formatAccessList(meshReaders ?? []),
    readToken: readToken !== null,
    watchRoles: watchRoles === null ? "everybody" : formatWatchRules(watchRoles),
  };
}
