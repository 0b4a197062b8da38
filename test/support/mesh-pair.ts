// Two workloads' data planes, joined by real sockets and mTLS on loopback, without a control plane: what the stage lists and the engines do can be
// tested with it alone. Explicit capture; the caller's sidecar finds the callee in a fixed snapshot.
import { randomBytes } from "node:crypto";
import { systemClock } from "../../core/clock.ts";
import { createMetrics, type Metrics } from "../../core/metrics.ts";
import type { Logger } from "../../core/log.ts";
import { silentLogger } from "../../core/log.ts";
import { newRequestId } from "../../core/request-id.ts";
import { noTracer } from "../../core/tracing.ts";
import { createObserver, type Observer } from "../../sidecar/admin/observer.ts";
import { createEngine, type EngineTimeouts } from "../../sidecar/create-engine.ts";
import type { DestinationView, Discovery, Endpoint, PortProtocol } from "../../sidecar/discovery/discovery.ts";
import type { EngineName } from "../../sidecar/engine.ts";
import type { Exchange } from "../../sidecar/exchange.ts";
import type { IdentitySource } from "../../sidecar/identity/identity-source.ts";
import { createInbound, type InboundParts } from "../../sidecar/inbound.ts";
import { createOutbound } from "../../sidecar/outbound.ts";
import { parseAccess } from "../../sidecar/policy/access.ts";
import { createLoadShed, type LoadShed } from "../../sidecar/policy/load-shed.ts";
import { createRateLimiter, parseRateLimits } from "../../sidecar/policy/rate-limit.ts";
import { parseRoutes } from "../../sidecar/policy/route-rules.ts";
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
import { createMeshDialer } from "../../sidecar/transport/mesh-dial.ts";
import { createStaticIdentity, createThrowawayCa, type ThrowawayCa } from "./throwaway-ca.ts";

const CALLER = "spiffe://cluster.local/ns/demo/sa/web";
const CALLEE = "spiffe://cluster.local/ns/demo/sa/orders";
const HOST = "127.0.0.1";

/** Settings of the callee's side, and of signing on both. */
export interface MeshPairOptions {
  /** Where the callee's app listens. */
  readonly appPort: number;
  readonly protocol?: PortProtocol;
  readonly mode?: InboundParts["mode"];
  readonly rateLimit?: string;
  readonly allow?: string;
  readonly maxInFlight?: number;
  readonly signing?: SigningMode;
  readonly verify?: SigningMode;
  readonly egress?: "allow" | "deny";
  readonly log?: Logger;
  /** Further instances, e.g. one that refuses connections: inbound ports on loopback. */
  readonly otherInboundPorts?: readonly number[];
  /** How many instances the callee has in the snapshot, all of them the same sidecar; 1 by default. */
  readonly instances?: number;
  /** Host of the callee's app; loopback by default. */
  readonly appHost?: string;
  /** What moves HTTP on both sides; `splice` by default. */
  readonly engine?: EngineName;
  /** Times of the engine, where not its defaults. */
  readonly timeouts?: EngineTimeouts;
  /** Routes of the caller. */
  readonly routes?: string;
  /** Retries per request of the caller, and those that are free each second; the defaults without. */
  readonly retryBudget?: RetryBudgetSettings;
  /** Holds each look-up of the caller until `give` is called; by default it is answered at once. */
  readonly lookup?: (give: () => void) => void;
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

/** A running pair. The service is called `orders`. */
export interface MeshPair {
  readonly ca: ThrowawayCa;
  readonly caller: IdentitySource;
  readonly callee: IdentitySource;
  /** Where the caller's app is pointed at. */
  readonly outboundPort: number;
  /** The callee's sidecar. */
  readonly inboundPort: number;
  readonly callerMetrics: Metrics;
  readonly calleeMetrics: Metrics;
  readonly callerShed: LoadShed;
  readonly calleeShed: LoadShed;
  readonly callerLedger: Ledger;
  readonly calleeLedger: Ledger;
  /** Swaps in new leaves and message keys on both sides. */
  renew(): void;
  drain(direction: "inbound" | "outbound"): void;
  close(): Promise<void>;
}

/** Starts both sides. */
export async function startMeshPair(options: MeshPairOptions): Promise<MeshPair> {
  const ca = createThrowawayCa();
  const caller = createStaticIdentity(ca, CALLER);
  const callee = createStaticIdentity(ca, CALLEE);
  const clock = systemClock;
  const log = options.log ?? silentLogger();
  const build = { component: "sidecar", version: "0", commit: "test" };
  const callerMetrics = createMetrics(build);
  const calleeMetrics = createMetrics(build);
  const timings = { connectTimeoutMs: 1000, silentAfterMs: 300, decidedAfterMs: 300, idleTimeoutMs: 60_000 };
  const calleeEngine = await createEngine(options.engine ?? "splice", clock, options.timeouts);
  const callerEngine = await createEngine(options.engine ?? "splice", clock, options.timeouts);
  const callerShed = createLoadShed({ maxInFlight: 1024 });
  const calleeShed = createLoadShed({ maxInFlight: options.maxInFlight ?? 1024 });
  const callerSide = kept(createObserver({ metrics: callerMetrics, log, accessLog: true, clock, tracer: noTracer }));
  const calleeSide = kept(createObserver({ metrics: calleeMetrics, log, accessLog: true, clock, tracer: noTracer }));
  const certificatesOf = (identity: IdentitySource) =>
    createMessageCertificates({ trust: { trustDomain: identity.trustDomain, roots: () => identity.current().roots }, clock });

  const acceptor = createMeshAcceptor({ identity: callee, clock, handshakeTimeoutMs: 1000 });
  const inbound = createInbound({
    mode: options.mode ?? "strict",
    identity: callee.identity,
    own: { addresses: [], ports: [] },
    inboundPort: 0,
    declaredPorts: new Map([[options.appPort, options.protocol ?? "detect"]]),
    appHost: options.appHost ?? HOST,
    originalDst: null,
    acceptor,
    engine: calleeEngine,
    access: parseAccess(options.allow ?? "*"),
    limiter: createRateLimiter({ rules: parseRateLimits(options.rateLimit ?? ""), clock }),
    shed: calleeShed,
    signatures: createInboundSignatures(
      createVerifier({
        identity: callee.identity,
        credentials: () => callee.current(),
        required: options.verify ?? "hmac",
        clock,
        certificates: certificatesOf(callee),
        nonces: createNonceCache({ clock, seed: [1, 2] }),
      }),
    ),
    observer: calleeSide.observer,
    clock,
    requestId: newRequestId,
    ...timings,
  });
  const inboundListener = await startListener({ host: HOST, port: 0, maxConnections: 1000, accept: inbound.accept });

  const endpoint = (inboundPort: number, instanceId: string): Endpoint => ({
    id: `${instanceId}:${options.appPort}`,
    instanceId,
    identity: callee.identity,
    address: HOST,
    port: options.appPort,
    inboundPort,
    protocol: options.protocol ?? "detect",
    messageCertificate: callee.current().messageCertificate,
    version: "0",
    state: "ready",
  });
  const ownPorts = new Array<number>(options.instances ?? 1).fill(inboundListener.port);
  const endpoints = [...ownPorts, ...(options.otherInboundPorts ?? [])].map((port, index) => endpoint(port, `orders-${index}`));
  let view: DestinationView = {
    key: "service/orders/0",
    service: "demo/orders",
    protocol: options.protocol ?? "detect",
    endpoints,
    version: 1,
  };
  let revision = 0;
  const discovery: Discovery = {
    lookup(destination, done) {
      const give = () => done(destination.kind === "service" && destination.name === "orders" ? view : null);
      if (options.lookup === undefined) give();
      else options.lookup(give);
    },
    get revision() {
      return revision;
    },
    peek: () => view,
    markRefused(refused) {
      revision += 1;
      view = { ...view, endpoints: view.endpoints.filter(({ id }) => id !== refused.id) };
    },
    heartbeatAgeMs: () => 0,
    setState: () => {},
    deregister: async () => {},
    close: async () => {},
  };
  const dialer = createMeshDialer({ identity: caller, clock, connectTimeoutMs: 1000 });
  const own = { addresses: [] as string[], ports: [] as number[] };
  const outbound = createOutbound({
    egress: options.egress ?? "allow",
    own,
    inboundPort: 0,
    opaquePorts: new Set(),
    originalDst: null,
    discovery,
    dialer,
    engine: callerEngine,
    shed: callerShed,
    signatures: createOutboundSignatures(
      createSigner({ identity: caller.identity, credentials: () => caller.current(), mode: options.signing ?? "hmac", clock, randomBytes }),
      certificatesOf(caller),
    ),
    observer: callerSide.observer,
    clock,
    random: Math.random,
    routes: createRoutes({ rules: parseRoutes(options.routes ?? ""), defaults: DEFAULT_ROUTE, namespace: "demo" }),
    ...(options.retryBudget === undefined ? {} : { retryBudget: options.retryBudget }),
    requestId: newRequestId,
    ...timings,
  });
  const outboundListener = await startListener({ host: HOST, port: 0, maxConnections: 1000, accept: outbound.accept });
  own.ports.push(outboundListener.port);

  return {
    ca,
    caller,
    callee,
    outboundPort: outboundListener.port,
    inboundPort: inboundListener.port,
    callerMetrics,
    calleeMetrics,
    callerShed,
    calleeShed,
    callerLedger: callerSide.ledger,
    calleeLedger: calleeSide.ledger,
    renew() {
      caller.renew();
      callee.renew();
    },
    drain(direction) {
      (direction === "inbound" ? calleeEngine : callerEngine).drain(direction);
    },
    async close() {
      calleeEngine.close();
      callerEngine.close();
      dialer.close();
      acceptor.close();
      await Promise.all([inboundListener.close(), outboundListener.close()]);
    },
  };
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
