// The control plane's boot story (design 2, style 20): the roles that are wanted, one gRPC port for what sidecars ask, one HTTP port for people,
// and the webhook. Shutdown is the same story backwards. Who the parts are and what they need from each other is all that is decided here.
import { X509Certificate } from "node:crypto";
import { buildInfo } from "../../core/build-info.ts";
import type { Clock } from "../../core/clock.ts";
import type { Environment } from "../../core/config.ts";
import { startGrpcServer } from "../../grpc/server.ts";
import { createAdmission } from "../../grpc/admission.ts";
import { createHealthHistory } from "../../core/health-history.ts";
import { createLifecycle } from "../../core/lifecycle.ts";
import type { Logger } from "../../core/log.ts";
import { type CallLimits, createCallerLimits } from "../../core/policy/caller-limits.ts";
import { createMetrics } from "../../core/metrics.ts";
import { startTracing } from "../../core/tracing.ts";
import { identityService, registryService } from "../../core/wire/load.ts";
import { findRoot } from "../../core/x509/chain.ts";
import { createJudgedAt } from "../../core/x509/judged-at.ts";
import { fromPemBundle } from "../../core/x509/pem.ts";
import { startControlAdmin } from "./admin.ts";
import { openTrail } from "./audit-trail.ts";
import type { ControlConfig } from "./config.ts";
import { watchEventLoop } from "./event-loop.ts";
import { listening } from "./listening.ts";
import { forgetAddress, rememberAddress } from "./local-address.ts";
import { startAuthorityRole } from "./roles/authority.ts";
import { startInjectorRole } from "./roles/injector.ts";
import { startRegistryRole } from "./roles/registry.ts";
import type { Checks } from "./roles/role.ts";
import { startServerIdentity } from "./roles/server-identity.ts";

/** What the process gives. */
export interface ControlSurroundings {
  readonly env: Environment;
  readonly clock: Clock;
  readonly log: Logger;
  /** Runs at `POST /exit`. */
  readonly onExit: () => void;
}

/** A running control plane. */
export interface ControlPlane {
  /** Where it really listens; null for a port that no role needs. */
  readonly ports: { readonly grpc: number | null; readonly admin: number; readonly webhook: number | null };
  /** Stops everything in reverse order; false when something had to be cut off. */
  drain(reason: string): Promise<boolean>;
}

/** Starts every wanted role; on a failure the lifecycle closes what was started and the error is thrown. */
export async function startControl(config: ControlConfig, { env, clock, log, onExit }: ControlSurroundings): Promise<ControlPlane> {
  const build = buildInfo();
  const metrics = createMetrics({ component: "control", version: build.version, commit: build.commit });
  const lifecycle = createLifecycle({ log, clock, drainTimeoutMs: config.drainTimeout });
  let isReady = false;
  await lifecycle.start("tracing", () => startTracing({ component: "control", env, log }));
  await lifecycle.start("event loop", () => watchEventLoop(metrics));
  const trail = await openTrail(config, { clock, log, metrics, lifecycle });
  const limits = createCallLimits(config, clock);
  const judgedAt = createJudgedAt(clock);
  const surroundings = { config, env, clock, judgedAt, log, metrics, audit: trail.audit, random: Math.random, limits };

  const ca = config.roles.has("ca") ? await lifecycle.start("ca", () => startAuthorityRole(surroundings)) : null;
  const registry = config.roles.has("registry")
    ? await lifecycle.start("registry", () => startRegistryRole({ ...surroundings, ca: ca?.authority ?? null }))
    : null;

  // Sidecars ask the CA and the registry on one port, so one certificate and one connection serve both.
  const services = [
    ...(ca === null ? [] : [{ definition: identityService, implementation: ca.authority.identityImplementation }]),
    ...(registry === null ? [] : [{ definition: registryService, implementation: registry.registryImplementation }]),
  ];
  const server =
    services.length === 0
      ? null
      : await lifecycle.start("own identity", () => startServerIdentity({ ...surroundings, ca: ca?.authority ?? null }));
  const grpc =
    server === null
      ? null
      : await lifecycle.start("grpc", () =>
          listening("REMORA_GRPC_PORT", config.bindAddress, config.grpcPort, () =>
            startGrpcServer({
              host: config.bindAddress,
              port: config.grpcPort,
              log,
              services,
              admission: createAdmission({
                trustDomain: config.trustDomain,
                // A workload that joins has no identity yet; everything else is for those that have.
                open: [identityService["Certify"]?.path ?? ""],
                limits,
                judgedAt,
                metrics,
                audit: trail.audit,
              }),
              tls: server.tls,
              onTlsChange: server.onTlsChange,
              judgedAt,
              isTrusted: (client, issuers) => trusts(server.tls().ca, client, issuers),
            }),
          ),
        );

  registry?.begin();

  function trusts(rootsPem: string, client: X509Certificate, issuers: readonly X509Certificate[]): boolean {
    const roots = fromPemBundle(rootsPem).map((der) => new X509Certificate(der));
    return findRoot(client, { issuers, roots, trustDomain: config.trustDomain, nowMs: judgedAt(client) }) !== null;
  }

  const injector = config.roles.has("injector") ? await lifecycle.start("injector", () => startInjectorRole(surroundings)) : null;

  const checks = { ...ca?.checks, ...registry?.checks, ...injector?.checks, ...trail.checks };
  const health = await lifecycle.start("health", () => createHealthHistory({ read: () => askAll(checks), clock, metrics }));
  const admin = await lifecycle.start("admin", () =>
    listening("REMORA_ADMIN_PORT", config.bindAddress, config.adminPort, () =>
      startControlAdmin({
        ...surroundings,
        health: () => health.report(),
        routes: [...(ca?.routes ?? []), ...(registry?.routes ?? [])],
        waitingFor: () => (isReady ? (injector?.waitingFor() ?? []) : ["start or shutdown"]),
        onExit,
      }),
    ),
  );

  const ports = { grpc: grpc?.port ?? null, admin: admin.port, webhook: injector?.port ?? null };
  if (config.stateDir !== null && !config.inKubernetes) {
    const folder = config.stateDir;
    await lifecycle.start("address file", async () => {
      await rememberAddress(folder, { pid: process.pid, host: config.bindAddress, trustDomain: config.trustDomain, ports });
      return { close: () => forgetAddress(folder) };
    });
  }
  isReady = true;
  log.info(
    { roles: [...config.roles], address: config.bindAddress, ports, store: config.store, version: build.version },
    "control plane ready",
  );
  return {
    ports,
    drain(reason) {
      isReady = false;
      return lifecycle.drain(reason);
    },
  };
}

function createCallLimits(
  { identityStreams, identityCallRate, identityMessageRate, addressCallRate }: ControlConfig,
  clock: Clock,
): CallLimits {
  const ofStreams = { clock, streams: identityStreams, messagesPerSecond: identityMessageRate };
  return {
    identities: createCallerLimits({ ...ofStreams, callsPerSecond: identityCallRate }),
    addresses: createCallerLimits({ ...ofStreams, callsPerSecond: addressCallRate }),
  };
}

function askAll(checks: Checks) {
  return Object.fromEntries(Object.entries(checks).map(([name, check]) => [name, check()]));
}
