// The data plane of one workload as a caller, and as a callee, by real sockets on loopback and without a control plane. Explicit capture. mesh-pair.ts joins one of
// each, mesh-fleet.ts many callees to one caller.
import { randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { systemClock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics, type Metrics } from "../../core/metrics.ts";
import { newRequestId } from "../../core/request-id.ts";
import { noTracer } from "../../core/tracing.ts";
import { createObserver, type Observer } from "../../sidecar/admin/observer.ts";
import { createEngine, type EngineTimeouts } from "../../sidecar/create-engine.ts";
import type { PortProtocol } from "../../core/wire/port-protocol.ts";
import type { Discovery } from "../../sidecar/discovery/discovery.ts";
import type { EngineName } from "../../sidecar/engine.ts";
import type { Exchange } from "../../sidecar/exchange.ts";
import type { IdentitySource } from "../../sidecar/identity/identity-source.ts";
import { createInbound, type InboundParts } from "../../sidecar/inbound.ts";
import { createOutbound } from "../../sidecar/outbound.ts";
import { parseAccess } from "../../sidecar/policy/access.ts";
import { createLoadShed, type LoadShed } from "../../sidecar/policy/load-shed.ts";
import { createRateLimiter, parseRateLimits } from "../../sidecar/policy/rate-limit.ts";
import { parseRoutes } from "../../core/policy/route-rules.ts";
import { createRoutes, DEFAULT_ROUTE } from "../../sidecar/policy/routes.ts";
import type { RetryBudgetSettings } from "../../sidecar/resilience/retry-budget.ts";
import { createInboundSignatures } from "../../sidecar/signing/inbound-signatures.ts";
import { createMessageCertificates } from "../../sidecar/signing/message-certificates.ts";
import { createNonceCache } from "../../sidecar/signing/nonce-cache.ts";
import { createOutboundSignatures } from "../../sidecar/signing/outbound-signatures.ts";
import type { SigningMode } from "../../sidecar/signing/profile.ts";
import { createSigner } from "../../sidecar/signing/signer.ts";
import { createVerifier } from "../../sidecar/signing/verifier.ts";
import { startListener } from "../../sidecar/transport/listener.ts";
import { createMeshAcceptor } from "../../sidecar/transport/mesh-accept.ts";
import { createTrustWatch } from "../../sidecar/trust-watch.ts";
import { createMeshDialer } from "../../sidecar/transport/mesh-dial.ts";

const HOST = "127.0.0.1";
const BUILD = { component: "sidecar", version: "0", commit: "test" };
const TIMINGS = { connectTimeoutMs: 1000, silentAfterMs: 300, decidedAfterMs: 300, idleTimeoutMs: 60_000 };

/** Settings of both sides. */
export interface SideOptions {
  readonly protocol?: PortProtocol;
  readonly log?: Logger;
  /** What moves HTTP; `splice` by default. */
  readonly engine?: EngineName;
  /** Times of the engine, where not its defaults. */
  readonly timeouts?: EngineTimeouts;
}

/** Settings of a callee. */
export interface CalleeOptions extends SideOptions {
  /** Where its app listens. */
  readonly appPort: number;
  readonly mode?: InboundParts["mode"];
  readonly rateLimit?: string;
  readonly allow?: string;
  readonly maxInFlight?: number;
  readonly verify?: SigningMode;
  /** False for a sidecar that knows no trunks, as those of several workers do not; by default it does if its engine does. */
  readonly knowsTrunks?: boolean;
  /** Host of its app; loopback by default. */
  readonly appHost?: string;
}

/** Settings of a caller. */
export interface CallerOptions extends SideOptions {
  readonly signing?: SigningMode;
  readonly egress?: "allow" | "deny";
  /** Its routes. */
  readonly routes?: string;
  /** Retries per request, and those that are free each second; the defaults without. */
  readonly retryBudget?: RetryBudgetSettings;
}

/** The requests that one side began and finished. */
export interface Ledger {
  readonly begun: number;
  /** As they were when they finished. */
  readonly finished: readonly FinishedExchange[];
  /** Requests that were finished more than once: always 0. */
  readonly finishedTwice: number;
}

/** What is kept of an exchange: its head is gone when it is over. */
export type FinishedExchange = Pick<
  Exchange,
  "method" | "authority" | "path" | "status" | "grpcStatus" | "refusal" | "expectedDigest" | "requestId" | "protocol"
>;

/** A running side. */
export interface Side {
  readonly port: number;
  readonly metrics: Metrics;
  readonly shed: LoadShed;
  readonly ledger: Ledger;
  /** Tells its clients to go elsewhere. */
  drain(): void;
  close(): Promise<void>;
}

/** A running callee. */
export interface Callee extends Side {
  /** Breaks off all connections to it. */
  cut(): void;
}

/** Starts the inbound side of a callee. */
export async function startCallee(identity: IdentitySource, options: CalleeOptions): Promise<Callee> {
  const { observer, ledger, metrics } = observed(options);
  const clock = systemClock;
  const engine = await createEngine(options.engine ?? "splice", clock, options.timeouts);
  const shed = createLoadShed({ maxInFlight: options.maxInFlight ?? 1024 });
  const acceptor = createMeshAcceptor({
    identity,
    clock,
    handshakeTimeoutMs: 1000,
    knowsTrunks: engine.knowsTrunks && options.knowsTrunks !== false,
  });
  const trust = createTrustWatch({ identity, drainTimeoutMs: 1000, clock, random: Math.random, observer });
  const inbound = createInbound({
    mode: options.mode ?? "strict",
    identity: identity.identity,
    own: { addresses: [], ports: [] },
    inboundPort: 0,
    declaredPorts: new Map([[options.appPort, options.protocol ?? "detect"]]),
    appHost: options.appHost ?? HOST,
    originalDst: null,
    acceptor,
    trust,
    engine,
    access: parseAccess(options.allow ?? "*"),
    limiter: createRateLimiter({ rules: parseRateLimits(options.rateLimit ?? ""), clock }),
    shed,
    signatures: createInboundSignatures(
      createVerifier({
        identity: identity.identity,
        credentials: () => identity.current(),
        required: options.verify ?? "hmac",
        clock,
        certificates: certificatesOf(identity),
        nonces: createNonceCache({ clock, seed: [1, 2] }),
      }),
    ),
    observer,
    clock,
    requestId: newRequestId,
    ...TIMINGS,
  });
  const accepted = new Set<Socket>();
  const listener = await startListener({
    host: HOST,
    port: 0,
    maxConnections: 1000,
    accept(socket) {
      accepted.add(socket);
      socket.once("close", () => accepted.delete(socket));
      inbound.accept(socket);
    },
  });
  return {
    port: listener.port,
    metrics,
    shed,
    ledger,
    drain: () => engine.drain("inbound"),
    cut() {
      for (const socket of accepted) socket.destroy();
    },
    async close() {
      trust.close();
      engine.close();
      acceptor.close();
      await listener.close();
    },
  };
}

/** Starts the outbound side of a caller, which finds its callees in `discovery`. */
export async function startCaller(identity: IdentitySource, discovery: Discovery, options: CallerOptions): Promise<Side> {
  const { observer, ledger, metrics } = observed(options);
  const clock = systemClock;
  const engine = await createEngine(options.engine ?? "splice", clock, options.timeouts);
  const shed = createLoadShed({ maxInFlight: 1024 });
  const dialer = createMeshDialer({ identity, clock, connectTimeoutMs: 1000 });
  const trust = createTrustWatch({ identity, drainTimeoutMs: 1000, clock, random: Math.random, observer });
  const own = { addresses: [] as string[], ports: [] as number[] };
  const outbound = createOutbound({
    egress: options.egress ?? "allow",
    own,
    inboundPort: 0,
    opaquePorts: new Set(),
    originalDst: null,
    discovery,
    dialer,
    trust,
    engine,
    shed,
    signatures: createOutboundSignatures(
      createSigner({
        identity: identity.identity,
        credentials: () => identity.current(),
        mode: options.signing ?? "hmac",
        clock,
        randomBytes,
      }),
      certificatesOf(identity),
    ),
    observer,
    clock,
    random: Math.random,
    routes: createRoutes({ rules: parseRoutes(options.routes ?? ""), defaults: DEFAULT_ROUTE, namespace: "demo" }),
    ...(options.retryBudget === undefined ? {} : { retryBudget: options.retryBudget }),
    requestId: newRequestId,
    ...TIMINGS,
  });
  const listener = await startListener({ host: HOST, port: 0, maxConnections: 1000, accept: outbound.accept });
  own.ports.push(listener.port);
  return {
    port: listener.port,
    metrics,
    shed,
    ledger,
    drain: () => engine.drain("outbound"),
    async close() {
      engine.close();
      dialer.close();
      await listener.close();
    },
  };
}

function certificatesOf(identity: IdentitySource) {
  return createMessageCertificates({
    trust: { trustDomain: identity.trustDomain, roots: () => identity.current().roots },
    clock: systemClock,
  });
}

function observed(options: SideOptions) {
  const metrics = createMetrics(BUILD);
  const log = options.log ?? silentLogger();
  return { metrics, ...kept(createObserver({ metrics, log, accessLog: true, clock: systemClock, tracer: noTracer })) };
}

/** Keeps a ledger of what an observer is told. */
function kept(observer: Observer): { readonly observer: Observer; readonly ledger: Ledger } {
  const finished: FinishedExchange[] = [];
  const seen = new WeakSet<Exchange>();
  const ledger = { begun: 0, finished, finishedTwice: 0 };
  return {
    ledger,
    observer: {
      ...observer,
      began(exchange) {
        ledger.begun += 1;
        observer.began(exchange);
      },
      finished(exchange) {
        if (seen.has(exchange)) ledger.finishedTwice += 1;
        seen.add(exchange);
        const { method, authority, path, status, grpcStatus, refusal, expectedDigest, requestId, protocol } = exchange;
        finished.push({ method, authority, path, status, grpcStatus, refusal, expectedDigest, requestId, protocol });
        observer.finished(exchange);
      },
    },
  };
}
