// What every role of the control plane is given, and what it gives back for health.
import type { HealthReport } from "../../../core/admin-server.ts";
import type { Audit } from "../../../core/audit/audit.ts";
import type { Clock } from "../../../core/clock.ts";
import type { Environment } from "../../../core/config.ts";
import type { Logger } from "../../../core/log.ts";
import type { Metrics } from "../../../core/metrics.ts";
import type { CallLimits } from "../../../core/policy/caller-limits.ts";
import type { JudgedAt } from "../../../core/x509/judged-at.ts";
import type { ControlConfig } from "../config.ts";

/** Given to every role. */
export interface RoleSurroundings {
  readonly config: ControlConfig;
  readonly env: Environment;
  readonly clock: Clock;
  readonly judgedAt: JudgedAt;
  readonly log: Logger;
  readonly metrics: Metrics;
  readonly audit: Audit;
  /** What one caller may take, over gRPC and REST together. */
  readonly limits: CallLimits;
  /** 0..1 */
  readonly random: () => number;
}

/** Health checks by name. */
export type Checks = Readonly<Record<string, () => HealthReport["checks"][string]>>;

/** The service account that the control plane itself runs as. */
export const CONTROL_SERVICE_ACCOUNT = "remora-control";
