// The control plane's admin port: health from the roles that run, readiness, and the registry's REST API.
import { type HealthReport, type Route, startAdminServer } from "../../core/admin-server.ts";
import { buildInfo } from "../../core/build-info.ts";
import type { RoleSurroundings } from "./roles/role.ts";

/** What the admin port shows. */
export interface ControlAdminOptions extends RoleSurroundings {
  readonly health: () => HealthReport;
  readonly routes: readonly Route[];
  /** What keeps the process from being ready; empty when nothing does. */
  readonly waitingFor: () => readonly string[];
  readonly onExit: () => void;
}

/** Listens on the admin port. */
export function startControlAdmin({
  config,
  log,
  metrics,
  health,
  routes,
  waitingFor,
  onExit,
}: ControlAdminOptions): ReturnType<typeof startAdminServer> {
  const startedAt = new Date().toISOString();
  return startAdminServer({
    host: config.bindAddress,
    port: config.adminPort,
    log,
    metrics,
    metricsToken: config.metricsToken,
    info: () => ({
      component: "control",
      ...buildInfo(),
      startedAt,
      roles: [...config.roles],
      trustDomain: config.trustDomain,
      store: config.store,
      inKubernetes: config.inKubernetes,
    }),
    health,
    ready() {
      const missing = waitingFor();
      return { ready: missing.length === 0, waitingFor: missing };
    },
    onExit,
    routes,
  });
}
