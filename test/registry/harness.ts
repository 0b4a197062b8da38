// A registry on a real TLS port, with the certificates of a throwaway authority, and plain gRPC clients to talk to it.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { Client, credentials } from "@grpc/grpc-js";
import { createSecureContext } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { systemClock } from "../../core/clock.ts";
import { startGrpcServer } from "../../grpc/server.ts";
import { silentLogger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { CallLimits } from "../../core/policy/caller-limits.ts";
import { createMetrics } from "../../core/metrics.ts";
import { registryService } from "../../core/wire/load.ts";
import type { HeartbeatRequest, HeartbeatResponse, WatchRequest, WatchUpdate } from "../../core/wire/registry.ts";
import { createAnnouncePolicy } from "../../registry/announce-policy.ts";
import type { LeaseStore } from "../../registry/lease-store.ts";
import { createMemoryStore } from "../../registry/memory-store.ts";
import type { Registry, RegistryOptions } from "../../registry/registry.ts";
import { createRegistry } from "../../registry/registry.ts";
import type { ServiceSource } from "../../registry/service-source.ts";
import { noServices } from "../../registry/service-source.ts";
import type { Leaf, ThrowawayCa } from "../support/throwaway-ca.ts";
import { createThrowawayCa } from "../support/throwaway-ca.ts";

/** What to start; everything has a default. */
export interface RegistryServerOptions {
  readonly ca?: ThrowawayCa;
  readonly store?: LeaseStore;
  readonly services?: ServiceSource;
  readonly kubernetes?: boolean;
  readonly clock?: Clock;
  readonly port?: number;
  readonly leaseMs?: number;
  readonly heartbeatIntervalMs?: number;
  readonly authenticate?: NonNullable<RegistryOptions["authenticate"]>;
  /** Default: never busy, however slow the machine is. */
  readonly utilization?: () => number;
  readonly readers?: NonNullable<RegistryOptions["readers"]>;
  readonly watchRules?: NonNullable<RegistryOptions["watchRules"]>;
  readonly audit?: NonNullable<RegistryOptions["audit"]>;
  readonly limits?: CallLimits;
  /** False: it is still to be told that it can be reached. Default true. */
  readonly begins?: boolean;
}

/** A running registry. */
export interface RegistryServer {
  readonly address: string;
  readonly port: number;
  readonly ca: ThrowawayCa;
  readonly registry: Registry;
  readonly store: LeaseStore;
  readonly metrics: Metrics;
  /** The value of one line of /metrics. */
  metric(line: string): Promise<number>;
  close(): Promise<void>;
}

/** Starts a registry on 127.0.0.1. */
export async function startRegistryServer(options: RegistryServerOptions = {}): Promise<RegistryServer> {
  const { ca = createThrowawayCa(), clock = systemClock, services = noServices, leaseMs = 15_000, heartbeatIntervalMs = 5000 } = options;
  const log = silentLogger();
  const metrics = createMetrics({ component: "control", version: "0.0.0", commit: "test" });
  const store = options.store ?? createMemoryStore({ clock, leaseMs });
  const registry = createRegistry({
    store,
    services,
    mayAnnounce: createAnnouncePolicy({ source: services, kubernetes: options.kubernetes ?? false }),
    clock,
    random: Math.random,
    log,
    metrics,
    trustDomain: ca.trustDomain,
    heartbeatIntervalMs,
    leaseMs,
    utilization: options.utilization ?? (() => 0),
    ...(options.limits === undefined ? {} : { limits: options.limits }),
    ...(options.authenticate === undefined ? {} : { authenticate: options.authenticate }),
    ...(options.readers === undefined ? {} : { readers: options.readers }),
    ...(options.watchRules === undefined ? {} : { watchRules: options.watchRules }),
    ...(options.audit === undefined ? {} : { audit: options.audit }),
  });
  const own = ca.leaf("remora-system/remora-control", { addresses: [Buffer.from([127, 0, 0, 1])], dnsNames: ["localhost"] });
  const server = await startGrpcServer({
    host: "127.0.0.1",
    port: options.port ?? 0,
    log,
    services: [{ definition: registryService, implementation: registry.registryImplementation }],
    tls: () => ({ key: own.keyPem, cert: own.certPem, ca: ca.rootPem }),
    onTlsChange: () => () => {},
    closeGraceMs: 100,
  });
  if (options.begins !== false) registry.begin();
  return {
    address: `127.0.0.1:${server.port}`,
    port: server.port,
    ca,
    registry,
    store,
    metrics,
    metric: async (line) => readMetric(await metrics.registry.metrics(), line),
    async close() {
      await registry.close();
      await server.close();
    },
  };
}

function readMetric(text: string, line: string): number {
  const found = text.split("\n").find((candidate) => candidate.startsWith(`${line} `));
  return found === undefined ? 0 : Number(found.slice(line.length + 1));
}

/** One open stream, as tests use it. */
export interface TestStream<Request, Response> {
  send(message: Request): void;
  /** The next message; rejects when the stream ends first, or after 5 s. */
  next(): Promise<Response>;
  /** The next message that `matches`; others are dropped. */
  until(matches: (message: Response) => boolean): Promise<Response>;
  /** How it ended: a gRPC status code, 0 for OK. */
  ended(): Promise<{ readonly code: number; readonly details: string }>;
  readonly call: ClientDuplexStream<Request, Response>;
}

/** A client with one certificate; `leaf` null: without any. */
export interface TestClient {
  heartbeat(): TestStream<HeartbeatRequest, HeartbeatResponse>;
  watch(): TestStream<WatchRequest, WatchUpdate>;
  close(): void;
}

/** Connects with `leaf`. */
export function createTestClient(server: RegistryServer, leaf: Leaf | null): TestClient {
  const context = createSecureContext({ ca: server.ca.rootPem, ...(leaf === null ? {} : { key: leaf.keyPem, cert: leaf.certPem }) });
  const client = new Client(server.address, credentials.createFromSecureContext(context), {
    "grpc.use_local_subchannel_pool": 1,
    "grpc.ssl_target_name_override": "localhost",
  });
  const open = <Request, Response>(name: string): TestStream<Request, Response> => {
    const method = registryService[name];
    if (method === undefined) throw new Error(`no method ${name}`);
    return wrap(client.makeBidiStreamRequest<Request, Response>(method.path, method.requestSerialize, method.responseDeserialize));
  };
  return { heartbeat: () => open("Heartbeat"), watch: () => open("Watch"), close: () => client.close() };
}

function wrap<Request, Response>(call: ClientDuplexStream<Request, Response>): TestStream<Request, Response> {
  const messages: Response[] = [];
  let status: { readonly code: number; readonly details: string } | null = null;
  let wake = () => {};
  call.on("data", (message: Response) => {
    messages.push(message);
    wake();
  });
  call.on("error", () => {});
  call.on("status", (ended: { readonly code: number; readonly details: string }) => {
    status = ended;
    wake();
  });

  async function wait<T>(take: () => T | undefined, what: string): Promise<T> {
    const deadline = Date.now() + 30_000;
    for (;;) {
      const taken = take();
      if (taken !== undefined) return taken;
      if (Date.now() > deadline) throw new Error(`no ${what} within 5 s`);
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, 100);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  function takeMessage(): Response | undefined {
    const message = messages.shift();
    if (message === undefined && status !== null) throw new Error(`the stream ended: ${status.code} ${status.details}`);
    return message;
  }

  const next = () => wait(takeMessage, "message");
  return {
    call,
    send: (message) => void call.write(message),
    next,
    async until(matches) {
      for (;;) {
        const message = await next();
        if (matches(message)) return message;
      }
    },
    ended: () => wait(() => status ?? undefined, "end"),
  };
}

/** A good heartbeat of "orders" on loopback, with changes. */
export function heartbeatOf(changes: Partial<HeartbeatRequest> = {}): HeartbeatRequest {
  return {
    instanceId: "orders-1",
    epoch: 1000,
    services: ["orders"],
    addresses: ["127.0.0.1"],
    ports: [{ number: 8080, protocol: "PROTOCOL_HTTP1", name: "http" }],
    inboundPort: 15006,
    version: "0.1.0",
    channel: "stable",
    certExpiresAtMs: 0,
    state: "INSTANCE_STATE_READY",
    load: { inFlight: 1, rps: 2, p99Ms: 3, errorRatio: 0, requests: 40, errors: 4, refused: 2 },
    messageCertificate: Buffer.from("message certificate"),
    leaving: false,
    issuedByRoot: Buffer.alloc(0),
    trustedRoots: [],
    ...changes,
  };
}

/** Asks for a service; the key is the name. */
export function askService(name: string, port = 0, knownVersion = 0): WatchRequest {
  return { key: name, service: { name, port }, unsubscribe: false, knownVersion };
}

/** Asks for an address; the key is `address:port`. */
export function askAddress(address: string, port: number): WatchRequest {
  return { key: `${address}:${port}`, address: { address, port }, unsubscribe: false, knownVersion: 0 };
}

/** Waits until `holds`, at most 5 s. */
export async function eventually(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`not within 30 s: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
