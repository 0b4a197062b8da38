// The composition root of the data plane (style 20): admin, identity, discovery, listeners, ready; shutdown is the same story backwards.
import { randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type Readiness, startAdminServer } from "../core/admin-server.ts";
import type { BuildInfo } from "../core/build-info.ts";
import type { Clock } from "../core/clock.ts";
import { CertError } from "../core/errors.ts";
import { createHealthHistory } from "../core/health-history.ts";
import { createLifecycle } from "../core/lifecycle.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { spiffeId } from "../core/spiffe.ts";
import { addressesOf, appHost, bindAddress } from "./addresses.ts";
import { createAppHooks } from "./admin/app-hooks.ts";
import { createAppProbes } from "./admin/app-probes.ts";
import { type HealthSources, healthOf } from "./admin/health.ts";
import { leaveRoute } from "./admin/leave.ts";
import type { SidecarConfig } from "./config.ts";
import type { Discovery } from "./discovery/discovery.ts";
import { startDiscovery } from "./discovery/start-discovery.ts";
import type { IdentitySource } from "./identity/identity-source.ts";
import { startIdentity } from "./identity/start-identity.ts";
import { trustReport } from "./identity/trust-report.ts";
import type { WorkloadCredential } from "./identity/workload-credential.ts";
import { LAST_CALLS_MS } from "./traffic.ts";
import { createTrafficHost, type TrafficHost } from "./traffic-host.ts";
import { openFilesLimit, openFilesProblem } from "./transport/open-files.ts";

/** What a sidecar is started with. */
export interface SidecarParts {
  readonly config: SidecarConfig;
  /** For OTEL_* only; everything else is in `config`. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly build: BuildInfo;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Asked for by `POST /exit`. */
  readonly onExit: () => void;
}

/** A running sidecar. */
export interface Sidecar {
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly adminPort: number;
  /** Deregisters, lets requests in flight finish within `drainTimeout`, and closes everything. True when nothing was cut off. */
  drain(reason: string): Promise<boolean>;
}

/** What is being waited for, told by `/ready`. */
type Waiting = Set<"identity" | "listeners">;

/** Starts a sidecar; resolves when it is ready. Rejects when it can never be: wrong settings, a refused credential, a port in use. */
export async function startSidecar(parts: SidecarParts): Promise<Sidecar> {
  const { config, clock, log } = parts;
  const lifecycle = createLifecycle({ log, clock, drainTimeoutMs: config.drainTimeout + LAST_CALLS_MS });
  const waiting: Waiting = new Set(["identity", "listeners"]);
  const state: { discovery: Discovery | null; identity: IdentitySource | null } = { discovery: null, identity: null };
  const instanceId = config.instanceId === "" ? randomUUID() : config.instanceId;

  const host = await lifecycle.start("traffic host", () => createTrafficHost(parts));
  const readHealth = () => healthOf({ ...healthSources(state), workers: host.workers() }, clock).checks;
  const health = await lifecycle.start("health", () => createHealthHistory({ read: readHealth, clock, metrics: host.metrics }));
  const admin = await lifecycle.start("admin", () =>
    startAdminServer({
      host: bindAddress(config),
      port: config.adminPort,
      log,
      metrics: host.metrics,
      metricsToken: config.metricsToken,
      info: () => ({
        component: "sidecar",
        ...parts.build,
        instanceId,
        identity: identityOf(config),
        capture: config.capture,
        mode: config.mode,
        engine: config.engine,
        channel: config.channel,
        ...workersOf(host),
      }),
      health: () => health.report(),
      ready: () => readiness(waiting, host, lifecycle.isDraining),
      onExit: parts.onExit,
      routes: [
        ...(config.probes === "" ? [] : createAppProbes(config.probes, { appHost: appHost(config) })),
        ...(config.hooks === "" ? [] : createAppHooks(config.hooks, { appHost: appHost(config), log })),
        leaveRoute(log, () => state.discovery?.setState("draining")),
      ],
    }),
  );

  const identity = await lifecycle.start("identity", () => obtainIdentity(parts));
  state.identity = identity;
  waiting.delete("identity");

  const discovery = await lifecycle.start("discovery", () => announce(parts, identity, host, instanceId));
  state.discovery = discovery;

  const filesProblem = openFilesProblem(config.maxConnections, openFilesLimit());
  if (filesProblem !== null) log.warn({ maxConnections: config.maxConnections }, filesProblem);
  const traffic = await lifecycle.start("listeners", () => host.open(identity, discovery));
  await lifecycle.start("traffic", () => ({ close: () => traffic.drain() }));
  waiting.delete("listeners");
  discovery.setState("ready");
  log.info(
    { identity: identity.identity, outboundPort: traffic.outboundPort, inboundPort: traffic.inboundPort, adminPort: admin.port },
    "ready",
  );

  return {
    outboundPort: traffic.outboundPort,
    inboundPort: traffic.inboundPort,
    adminPort: admin.port,
    drain: (reason) => lifecycle.drain(reason),
  };
}

/** Ready once everything was there and while all workers listen. */
function readiness(waiting: Waiting, host: TrafficHost, isDraining: boolean): Readiness {
  if (isDraining) return { ready: false, waitingFor: ["draining"] };
  const allListen = host.workers()?.every(({ state }) => state === "listening") ?? true;
  const waitingFor = [...waiting, ...(allListen ? [] : ["workers"])];
  return { ready: waitingFor.length === 0, waitingFor };
}

function workersOf(host: TrafficHost): object {
  const workers = host.workers();
  return workers === null ? {} : { workers };
}

function identityOf(config: SidecarConfig) {
  return spiffeId({ trustDomain: config.trustDomain, namespace: config.namespace, serviceAccount: config.serviceAccount });
}

function obtainIdentity({ config, clock, random, log, metrics }: SidecarParts): Promise<IdentitySource> {
  const { joinToken, tokenFile } = config;
  async function credential(): Promise<WorkloadCredential> {
    if (joinToken !== null) return { joinToken: joinToken.reveal() };
    try {
      return { serviceAccountToken: (await readFile(tokenFile, "utf8")).trim() };
    } catch (cause) {
      throw new CertError("unavailable", `REMORA_TOKEN_FILE ${tokenFile} cannot be read, and REMORA_JOIN_TOKEN is not set`, { cause });
    }
  }
  return startIdentity({
    controlAddress: config.controlAddress,
    caAddress: config.caAddress,
    controlNamespace: config.controlNamespace,
    identity: identityOf(config),
    credential,
    pins: config.trustPin,
    stateDir: config.stateDir,
    clock,
    random,
    log,
    metrics,
  });
}

function announce(parts: SidecarParts, identity: IdentitySource, host: TrafficHost, instanceId: string): Promise<Discovery> {
  const { config, build, clock, random, log, metrics } = parts;
  return startDiscovery({
    identity,
    self: {
      instanceId,
      epoch: clock.nowMs(),
      services: config.services,
      addresses: addressesOf(config),
      ports: config.ports,
      inboundPort: config.capture === "explicit" ? config.inboundPort : 0,
      version: build.version,
      channel: config.channel,
    },
    load: () => host.takeLoad(),
    trust: () => trustReport(identity.current(), { trustDomain: identity.trustDomain, nowMs: clock.nowMs() }),
    follower: host.follower,
    stateDir: config.stateDir,
    clock,
    random,
    log,
    metrics,
    lookupTimeoutMs: config.lookupTimeout,
  });
}

function healthSources({
  identity,
  discovery,
}: {
  readonly identity: IdentitySource | null;
  readonly discovery: Discovery | null;
}): Omit<HealthSources, "workers"> {
  const credentials = identity?.current() ?? null;
  return {
    certificate:
      credentials === null ? null : { validFromMs: credentials.leaf.validFromDate.getTime(), expiresAtMs: credentials.expiresAtMs },
    heartbeatAgeMs: discovery?.heartbeatAgeMs() ?? null,
  };
}
