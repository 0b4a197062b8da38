// The composition root of the data plane (style 20): admin, identity, discovery, listeners, ready; shutdown is the same story backwards.
import { randomBytes, randomInt, randomUUID } from "node:crypto";
import { readFile } from "node:fs/promises";
import { type HealthReport, startAdminServer } from "../core/admin-server.ts";
import type { BuildInfo } from "../core/build-info.ts";
import type { Clock } from "../core/clock.ts";
import { CertError } from "../core/errors.ts";
import { createLifecycle } from "../core/lifecycle.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { spiffeId } from "../core/spiffe.ts";
import { childTraceparent } from "../core/trace-context.ts";
import { startTracing } from "../core/tracing.ts";
import { createAppProbes } from "./admin/app-probes.ts";
import { createObserver, type Observer } from "./admin/observer.ts";
import type { OwnListeners } from "./capture/loop-guard.ts";
import { createOriginalDstReader } from "./capture/original-dst.ts";
import { createCompatEngine } from "./compat/compat-engine.ts";
import type { SidecarConfig } from "./config.ts";
import type { Discovery } from "./discovery/discovery.ts";
import { startDiscovery } from "./discovery/start-discovery.ts";
import type { Engine } from "./engine.ts";
import type { IdentitySource } from "./identity/identity-source.ts";
import { startIdentity } from "./identity/start-identity.ts";
import type { WorkloadCredential } from "./identity/workload-credential.ts";
import { createInbound } from "./inbound.ts";
import { createOutbound } from "./outbound.ts";
import { createLoadShed, type LoadShed } from "./policy/load-shed.ts";
import { createRateLimiter } from "./policy/rate-limit.ts";
import { createInboundSignatures } from "./signing/inbound-signatures.ts";
import { createMessageCertificates } from "./signing/message-certificates.ts";
import { createNonceCache } from "./signing/nonce-cache.ts";
import { createOutboundSignatures } from "./signing/outbound-signatures.ts";
import { createSigner } from "./signing/signer.ts";
import { createVerifier } from "./signing/verifier.ts";
import { type Listener, startListener } from "./transport/listener.ts";
import { createMeshAcceptor } from "./transport/mesh-accept.ts";
import { createMeshDialer } from "./transport/mesh-dial.ts";

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

/** Largest share of a leaf's life that may be left unrenewed before readiness warns. */
const LOW_CERTIFICATE_RATIO = 0.1;
/** Time after deregistering in which peers that have not heard yet are still served, ms. */
const LAST_CALLS_MS = 500;
/** How often the drain looks whether everything has ended, ms. */
const DRAIN_POLL_MS = 25;
/** Heartbeats older than this make the registry count as away, ms: the lease. */
const REGISTRY_AWAY_MS = 15_000;
const HANDSHAKE_TIMEOUT_MS = 5_000;

/** What is being waited for, told by `/ready`. */
type Waiting = Set<"identity" | "listeners">;

/** Starts a sidecar; resolves when it is ready. Rejects when it can never be: wrong settings, a refused credential, a port in use. */
export async function startSidecar(parts: SidecarParts): Promise<Sidecar> {
  const { config, clock, log, metrics } = parts;
  const lifecycle = createLifecycle({ log, clock, drainTimeoutMs: config.drainTimeout + LAST_CALLS_MS });
  const waiting: Waiting = new Set(["identity", "listeners"]);
  const state: { discovery: Discovery | null; identity: IdentitySource | null } = { discovery: null, identity: null };
  const instanceId = config.instanceId === "" ? randomUUID() : config.instanceId;

  const tracing = await lifecycle.start("tracing", () => startTracing({ component: "sidecar", env: parts.env, log }));
  const admin = await lifecycle.start("admin", () =>
    startAdminServer({
      host: bindAddress(config),
      port: config.adminPort,
      log,
      metrics,
      metricsToken: config.metricsToken,
      info: () => ({
        component: "sidecar",
        ...parts.build,
        instanceId,
        identity: identityOf(config),
        capture: config.capture,
        mode: config.mode,
        channel: config.channel,
      }),
      health: () => healthOf(state, clock),
      ready: () => ({ ready: waiting.size === 0 && !lifecycle.isDraining, waitingFor: lifecycle.isDraining ? ["draining"] : [...waiting] }),
      onExit: parts.onExit,
      routes: config.probes === "" ? [] : createAppProbes(config.probes, { appHost: appHost(config) }),
    }),
  );

  const identity = await lifecycle.start("identity", () => obtainIdentity(parts));
  state.identity = identity;
  waiting.delete("identity");

  const observer = createObserver({ metrics, log, accessLog: config.accessLog, clock, tracer: tracing.tracer });
  const discovery = await lifecycle.start("discovery", () => announce(parts, identity, observer, instanceId));
  state.discovery = discovery;

  const traffic = await lifecycle.start("listeners", () => openListeners(parts, identity, discovery, observer));
  await lifecycle.start("traffic", () => ({ close: () => drainTraffic(traffic, discovery, clock) }));
  waiting.delete("listeners");
  discovery.setState("ready");
  log.info(
    { identity: identity.identity, outboundPort: traffic.outbound.port, inboundPort: traffic.inbound.port, adminPort: admin.port },
    "ready",
  );

  return {
    outboundPort: traffic.outbound.port,
    inboundPort: traffic.inbound.port,
    adminPort: admin.port,
    drain: (reason) => lifecycle.drain(reason),
  };
}

function identityOf(config: SidecarConfig) {
  return spiffeId({ trustDomain: config.trustDomain, namespace: config.namespace, serviceAccount: config.serviceAccount });
}

function bindAddress(config: SidecarConfig): string {
  if (config.bindAddress !== "") return config.bindAddress;
  return config.capture === "transparent" ? "::" : "127.0.0.1";
}

/** Addresses as announced: the pod's, or the one the ports are bound to. */
function addressesOf(config: SidecarConfig): readonly string[] {
  if (config.podIps.length > 0) return config.podIps;
  const bound = bindAddress(config);
  return bound === "::" || bound === "0.0.0.0" ? ["127.0.0.1"] : [bound];
}

function appHost(config: SidecarConfig): string {
  if (config.appHost !== "") return config.appHost;
  return config.capture === "explicit" ? "127.0.0.1" : (config.podIps[0] ?? "127.0.0.1");
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

function announce(parts: SidecarParts, identity: IdentitySource, observer: Observer, instanceId: string): Promise<Discovery> {
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
    load: () => observer.takeLoad(),
    stateDir: config.stateDir,
    clock,
    random,
    log,
    metrics,
    lookupTimeoutMs: config.lookupTimeout,
  });
}

/** Both sides of the sidecar, and what they share. */
interface Traffic {
  readonly inbound: Listener;
  readonly outbound: Listener;
  readonly engine: Engine;
  readonly inboundShed: LoadShed;
  readonly outboundShed: LoadShed;
  /** Cuts off whatever is left. */
  close(): Promise<void>;
}

async function openListeners(parts: SidecarParts, identity: IdentitySource, discovery: Discovery, observer: Observer): Promise<Traffic> {
  const { config, clock, random } = parts;
  const host = bindAddress(config);
  const originalDst = config.capture === "transparent" ? createOriginalDstReader() : null;
  const engine = createCompatEngine(clock);
  const certificates = createMessageCertificates({
    trust: { trustDomain: identity.trustDomain, roots: () => identity.current().roots },
    clock,
  });
  const own: OwnListeners = {
    addresses: config.podIps,
    ports: [config.outboundPort, config.inboundPort, config.adminPort],
  };
  const shared = {
    own,
    inboundPort: config.inboundPort,
    originalDst,
    engine,
    observer,
    clock,
    requestId: () => randomUUID(),
    childTraceparent,
    connectTimeoutMs: config.connectTimeout,
    silentAfterMs: config.detectTimeout,
    decidedAfterMs: config.detectTimeout,
    idleTimeoutMs: config.idleTimeout,
  };

  const acceptor = createMeshAcceptor({ identity, clock, handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS });
  const inboundShed = createLoadShed({ maxInFlight: config.maxInflight });
  const inbound = createInbound({
    ...shared,
    mode: config.mode,
    identity: identity.identity,
    declaredPorts: new Map(config.ports.map((port) => [port.number, port.protocol])),
    appHost: appHost(config),
    acceptor,
    access: config.allow,
    limiter: createRateLimiter({ rules: config.rateLimit, clock }),
    shed: inboundShed,
    signatures: createInboundSignatures(
      createVerifier({
        identity: identity.identity,
        credentials: () => identity.current(),
        required: config.verify,
        clock,
        certificates,
        nonces: createNonceCache({ clock, seed: [randomInt(2 ** 32), randomInt(2 ** 32)] }),
      }),
    ),
  });

  const dialer = createMeshDialer({ identity, clock, connectTimeoutMs: config.connectTimeout });
  const outboundShed = createLoadShed({ maxInFlight: config.maxInflight });
  const outbound = createOutbound({
    ...shared,
    egress: config.egress,
    opaquePorts: config.opaquePorts,
    discovery,
    dialer,
    random,
    shed: outboundShed,
    signatures: createOutboundSignatures(
      createSigner({ identity: identity.identity, credentials: () => identity.current(), mode: config.signing, clock, randomBytes }),
      certificates,
    ),
  });

  const { maxConnections } = config;
  const inboundListener = await startListener({ host, port: config.inboundPort, maxConnections, accept: inbound.accept });
  const outboundListener = await startListener({ host, port: config.outboundPort, maxConnections, accept: outbound.accept }).catch(
    async (error: unknown) => {
      await inboundListener.close();
      throw error;
    },
  );

  return {
    inbound: inboundListener,
    outbound: outboundListener,
    engine,
    inboundShed,
    outboundShed,
    async close() {
      engine.close();
      dialer.close();
      acceptor.close();
      await Promise.all([inboundListener.close(), outboundListener.close()]);
    },
  };
}

/**
 * Leaves the mesh in an order that fails no request: peers are told, those who have not heard are served for a moment longer, what is in flight
 * ends, and the app's own calls go on until the last of its answers is out. The lifecycle's deadline bounds it all.
 */
async function drainTraffic(traffic: Traffic, discovery: Discovery, clock: Clock): Promise<void> {
  discovery.setState("draining");
  await discovery.deregister();
  traffic.engine.drain("inbound");
  await pause(clock, LAST_CALLS_MS);
  traffic.inbound.stop();
  traffic.engine.drain("inbound"); // again, for HTTP/2 connections that came in the meantime: they have had no GOAWAY
  while (traffic.inboundShed.inFlight > 0 || traffic.inbound.connections > 0) await pause(clock, DRAIN_POLL_MS);
  traffic.engine.drain("outbound");
  traffic.outbound.stop();
  while (traffic.outboundShed.inFlight > 0) await pause(clock, DRAIN_POLL_MS);
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}

function healthOf(state: { readonly discovery: Discovery | null; readonly identity: IdentitySource | null }, clock: Clock): HealthReport {
  const { discovery, identity } = state;
  if (identity === null || discovery === null) {
    return { status: "down", checks: { identity: { status: "down", message: "no certificate yet" } } };
  }
  const { leaf, expiresAtMs } = identity.current();
  const lifeMs = expiresAtMs - leaf.validFromDate.getTime();
  const isLow = expiresAtMs - clock.nowMs() < lifeMs * LOW_CERTIFICATE_RATIO;
  const isAway = discovery.heartbeatAgeMs() > REGISTRY_AWAY_MS;
  const expired = expiresAtMs <= clock.nowMs();
  const certificate = expired ? "down" : isLow ? "degraded" : "ok";
  const checks = {
    certificate: { status: certificate, message: `ends ${new Date(expiresAtMs).toISOString()}` },
    registry: isAway
      ? { status: "degraded" as const, message: `no heartbeat was accepted for ${Math.round(discovery.heartbeatAgeMs() / 1000)} s` }
      : { status: "ok" as const },
  } satisfies HealthReport["checks"];
  const status = expired ? "down" : isLow || isAway ? "degraded" : "ok";
  return { status, checks };
}
