// Both sides of the sidecar, wired and listening, and how they end without failing a request.
import { randomBytes, randomInt } from "node:crypto";
import type { Clock } from "../core/clock.ts";
import { newRequestId } from "../core/request-id.ts";
import { appHost, bindAddress } from "./addresses.ts";
import type { Observer } from "./admin/observer.ts";
import type { OwnListeners } from "./capture/loop-guard.ts";
import { createOriginalDstReader } from "./capture/original-dst.ts";
import type { SidecarConfig } from "./config.ts";
import { createEngine } from "./create-engine.ts";
import type { Discovery } from "./discovery/discovery.ts";
import type { Engine } from "./engine.ts";
import { type Peer, type Refusal, refuse } from "./exchange.ts";
import type { IdentitySource } from "./identity/identity-source.ts";
import { createInbound } from "./inbound.ts";
import { createOutbound, type OutboundParts } from "./outbound.ts";
import { createLoadShed, type LoadShed } from "./policy/load-shed.ts";
import { createRateLimiter, type RateLimiter } from "./policy/rate-limit.ts";
import { createRoutes, DEFAULT_ROUTE } from "./policy/routes.ts";
import { DEFAULT_RETRY_BUDGET } from "./resilience/retry-budget.ts";
import { createInboundSignatures } from "./signing/inbound-signatures.ts";
import { createMessageCertificates } from "./signing/message-certificates.ts";
import { createNonceCache } from "./signing/nonce-cache.ts";
import { createOutboundSignatures } from "./signing/outbound-signatures.ts";
import { createSigner } from "./signing/signer.ts";
import { createVerifier } from "./signing/verifier.ts";
import { type Listener, startListener } from "./transport/listener.ts";
import { createMeshAcceptor } from "./transport/mesh-accept.ts";
import { createMeshDialer } from "./transport/mesh-dial.ts";
import { createTrustWatch } from "./trust-watch.ts";

/** Time after deregistering in which peers that have not heard yet are still served, ms. */
export const LAST_CALLS_MS = 500;
/** How often the drain looks whether everything has ended, ms. */
const DRAIN_POLL_MS = 25;
const HANDSHAKE_TIMEOUT_MS = 5_000;

/** Both sides of the sidecar, and what they share. */
export interface Traffic {
  readonly inbound: Listener;
  readonly outbound: Listener;
  readonly engine: Engine;
  readonly inboundShed: LoadShed;
  readonly outboundShed: LoadShed;
  /** Cuts off whatever is left. */
  close(): Promise<void>;
}

/** Limits that hold for several processes together, which then also share the ports. */
export interface SharedLimits {
  readonly limiter: RateLimiter;
  readonly inboundShed: LoadShed;
  readonly outboundShed: LoadShed;
  readonly inboundConnections: LoadShed;
  readonly outboundConnections: LoadShed;
}

/** What both sides are made of. */
export interface TrafficParts {
  readonly config: SidecarConfig;
  readonly identity: IdentitySource;
  readonly discovery: Discovery;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly random: () => number;
  /** Set in one of several workers. Default: this process is alone. */
  readonly shared?: SharedLimits;
}

/** Opens both ports. Rejects with Node's error when one can't be had; the other is closed again. */
export async function openTraffic(parts: TrafficParts): Promise<Traffic> {
  const { config, identity, discovery, observer, clock, random, shared: limits } = parts;
  const host = bindAddress(config);
  const originalDst = config.capture === "transparent" ? createOriginalDstReader() : null;
  const engine = await createEngine(config.engine, clock, {
    headMs: config.headTimeout,
    stallMs: config.stallTimeout,
    tunnelIdleMs: config.idleTimeout,
    queueMs: 2 * config.connectTimeout, // a dial that takes its whole time says so itself
  });
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
    requestId: newRequestId,
    connectTimeoutMs: config.connectTimeout,
    silentAfterMs: config.detectTimeout,
    decidedAfterMs: config.detectTimeout,
    idleTimeoutMs: config.idleTimeout,
  };

  const trust = createTrustWatch({ identity, drainTimeoutMs: config.drainTimeout, clock, random, observer });
  const acceptor = createMeshAcceptor({
    identity,
    clock,
    handshakeTimeoutMs: HANDSHAKE_TIMEOUT_MS,
    // Connections are what is spread over several workers: a peer's requests on one trunk would all be one worker's.
    knowsTrunks: engine.knowsTrunks && limits === undefined,
  });
  const inboundShed = limits?.inboundShed ?? createLoadShed({ maxInFlight: config.maxInflight });
  const inbound = createInbound({
    ...shared,
    mode: config.mode,
    identity: identity.identity,
    declaredPorts: new Map(config.ports.map((port) => [port.number, port.protocol])),
    appHost: appHost(config),
    acceptor,
    trust,
    access: config.allow,
    limiter: limits?.limiter ?? createRateLimiter({ rules: config.rateLimit, clock }),
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
  const outboundShed = limits?.outboundShed ?? createLoadShed({ maxInFlight: config.maxInflight });
  const outbound = createOutbound({
    ...shared,
    egress: config.egress,
    opaquePorts: config.opaquePorts,
    discovery,
    dialer,
    trust,
    random,
    ...resilience(config),
    shed: outboundShed,
    signatures: createOutboundSignatures(
      createSigner({ identity: identity.identity, credentials: () => identity.current(), mode: config.signing, clock, randomBytes }),
      certificates,
    ),
  });

  const listening = { host, maxConnections: config.maxConnections, reusePort: limits !== undefined };
  const inboundListener = await startListener({
    ...listening,
    port: config.inboundPort,
    bound: limits?.inboundConnections,
    refused: (why) => observer.refused("inbound", unaccepted(why, config), 0, NOBODY),
    accept: inbound.accept,
  });
  const outboundListener = await startListener({
    ...listening,
    port: config.outboundPort,
    bound: limits?.outboundConnections,
    refused: (why) => observer.refused("outbound", unaccepted(why, config), 0, NOBODY),
    accept: outbound.accept,
  }).catch(async (error: unknown) => {
    await inboundListener.close();
    throw error;
  });

  return {
    inbound: inboundListener,
    outbound: outboundListener,
    engine,
    inboundShed,
    outboundShed,
    async close() {
      trust.close();
      engine.close();
      dialer.close();
      acceptor.close();
      await Promise.all([inboundListener.close(), outboundListener.close()]);
    },
  };
}

/** How the app's requests are bounded, sent again, and kept from endpoints that fail. */
function resilience(config: SidecarConfig): Pick<OutboundParts, "routes" | "breaker" | "retryBudget"> {
  const { requestTimeout: timeoutMs, answerTimeout: answerTimeoutMs, streamIdleTimeout: idleTimeoutMs } = config;
  const defaults = { ...DEFAULT_ROUTE, timeoutMs, answerTimeoutMs, idleTimeoutMs };
  return {
    routes: createRoutes({ rules: config.routes, defaults, namespace: config.namespace }),
    breaker: {
      failures: config.breakerFailures,
      minBackoffMs: config.breakerMinBackoff,
      maxBackoffMs: Math.max(config.breakerMinBackoff, config.breakerMaxBackoff),
    },
    retryBudget: { ...DEFAULT_RETRY_BUDGET, ratio: config.retryBudget },
  };
}

/** A connection that was closed as it came. */
function unaccepted(why: "max_connections" | Error, { maxConnections }: SidecarConfig): Refusal {
  return refuse("overloaded", why === "max_connections" ? `${maxConnections} connections are open` : `not accepted: ${why.message}`);
}

/** Whose connection was not accepted is not known. */
const NOBODY: Peer = { identity: null, address: "", channelBinding: null, told: false };

/**
 * Leaves the mesh in an order that fails no request: peers are told, those who have not heard are served for a moment longer, what is in flight
 * ends, and the app's own calls go on until the last of its answers is out. The lifecycle's deadline bounds it all.
 */
export async function drainTraffic(traffic: Traffic, discovery: Discovery, clock: Clock): Promise<void> {
  discovery.setState("draining");
  await discovery.deregister();
  await drainInbound(traffic, clock);
  await drainOutbound(traffic, clock);
}

/** The part of {@link drainTraffic} that ends what comes to the app, once peers were told. */
export async function drainInbound({ engine, inbound, inboundShed }: Traffic, clock: Clock): Promise<void> {
  engine.drain("inbound");
  await pause(clock, LAST_CALLS_MS);
  inbound.stop();
  engine.drain("inbound"); // again, for HTTP/2 connections that came in the meantime: they have had no GOAWAY
  while (inboundShed.inFlight > 0 || inbound.connections > 0) await pause(clock, DRAIN_POLL_MS);
}

/** The part that ends the app's own calls, once the last of its answers is out. */
export async function drainOutbound({ engine, outbound, outboundShed }: Traffic, clock: Clock): Promise<void> {
  engine.drain("outbound");
  outbound.stop();
  while (outboundShed.inFlight > 0) await pause(clock, DRAIN_POLL_MS);
}

function pause(clock: Clock, ms: number): Promise<void> {
  return new Promise((resolve) => void clock.after(ms, resolve));
}
