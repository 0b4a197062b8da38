// The last stage of every list (design 4, "observe"): counts, times and logs what happened. Per request: one counter, one histogram observation
// through children resolved once per label set, and one access-log line where that is on. Labels are bounded by construction.
import type { TLSSocket } from "node:tls";
import { Counter, Gauge, Histogram } from "prom-client";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { Reason } from "../../core/reasons.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { Endpoint } from "../discovery/discovery.ts";
import type { Direction, Exchange, Peer, Refusal } from "../exchange.ts";
import type { BreakerState } from "../resilience/breaker.ts";
import type { RelayEnd } from "../transport/relay.ts";
import { createLoadReport, type Load } from "./load-report.ts";

/** A finished opaque connection. */
export interface RelayedConnection {
  readonly direction: Direction;
  readonly connectionId: number;
  readonly peer: Peer;
  readonly port: number;
  readonly service: string;
  readonly durationMs: number;
  readonly end: RelayEnd;
}

/** Where the stages report to. Nothing here throws or waits. */
export interface Observer {
  nextConnectionId(): number;
  opened(direction: Direction): void;
  closed(direction: Direction): void;
  /** A mesh TLS connection is up: the connection log of both ends (design 6). */
  secured(direction: Direction, connectionId: number, peer: SpiffeId, socket: TLSSocket, port: number): void;
  /** A connection was opaque because nothing came within the wait. */
  waited(direction: Direction): void;
  began(exchange: Exchange): void;
  finished(exchange: Exchange): void;
  /** A refusal without an exchange: of a connection, or of bytes that are no request. */
  refused(direction: Direction, refusal: Refusal, connectionId: number, peer: Peer): void;
  /** A shadow rule would have refused. */
  shadowed(direction: Direction): void;
  /** Another endpoint is tried. */
  retried(reason: Reason): void;
  relayed(connection: RelayedConnection): void;
  readonly breakerChanged: (endpoint: Endpoint, from: BreakerState, to: BreakerState) => void;
  /** Inbound load since the last call, for the heartbeat. */
  takeLoad(): Load;
}

/** Starts the span of a request; gives the function that ends it, or null when tracing is off. */
export type StartSpan = (exchange: Exchange) => ((exchange: Exchange) => void) | null;

const DURATION_BUCKETS_SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

interface Children {
  readonly count: Counter.Internal;
  readonly duration: Histogram.Internal<string>;
}

/** Makes the observer of one sidecar. */
export function createObserver(options: {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly accessLog: boolean;
  readonly clock: Clock;
  readonly startSpan: StartSpan;
}): Observer {
  const { log, clock } = options;
  const registers = [options.metrics.registry];
  const requests = new Counter({
    name: "remora_requests_total",
    help: "Finished requests.",
    labelNames: ["direction", "protocol", "status", "grpc_status"],
    registers,
  });
  const durations = new Histogram({
    name: "remora_request_duration_seconds",
    help: "Time from the head of a request to the end of its answer.",
    labelNames: ["direction", "protocol"],
    buckets: DURATION_BUCKETS_SECONDS,
    registers,
  });
  const connections = new Gauge({
    name: "remora_connections",
    help: "Open connections from clients.",
    labelNames: ["direction"],
    registers,
  });
  const refusals = new Counter({
    name: "remora_refused_total",
    help: "Refusals by reason.",
    labelNames: ["direction", "reason"],
    registers,
  });
  const shadowed = new Counter({
    name: "remora_rate_limit_shadowed_total",
    help: "Requests that a shadow rule would have refused.",
    labelNames: ["direction"],
    registers,
  });
  const waits = new Counter({
    name: "remora_detect_silent_total",
    help: "Connections taken for opaque because no byte came within the wait.",
    labelNames: ["direction"],
    registers,
  });
  const retries = new Counter({
    name: "remora_retries_total",
    help: "Further endpoints tried, by the reason of the failure.",
    labelNames: ["reason"],
    registers,
  });
  const relayedBytes = new Counter({
    name: "remora_tcp_bytes_total",
    help: "Payload of opaque connections.",
    labelNames: ["direction", "way"],
    registers,
  });
  const load = createLoadReport(clock);
  const resolved = new Map<string, Children>();
  let connectionId = 0;

  function childrenFor(exchange: Exchange): Children {
    const protocol = exchange.grpc ? "grpc" : exchange.protocol;
    const grpcStatus = exchange.grpcStatus < 0 || exchange.grpcStatus > 16 ? "" : String(exchange.grpcStatus);
    const status = exchange.status >= 100 && exchange.status <= 599 ? String(exchange.status) : "0";
    const key = `${exchange.direction} ${protocol} ${status} ${grpcStatus}`;
    let children = resolved.get(key);
    if (children === undefined) {
      const { direction } = exchange;
      children = { count: requests.labels(direction, protocol, status, grpcStatus), duration: durations.labels(direction, protocol) };
      resolved.set(key, children);
    }
    return children;
  }

  function logAccess(exchange: Exchange, durationMs: number): void {
    log.info(
      {
        connection: exchange.connectionId,
        direction: exchange.direction,
        method: exchange.method,
        authority: exchange.authority,
        path: exchange.path,
        port: exchange.port,
        status: exchange.status,
        ...(exchange.grpcStatus >= 0 ? { grpcStatus: exchange.grpcStatus } : {}),
        ...(exchange.refusal === null ? {} : { reason: exchange.refusal.reason, detail: exchange.refusal.detail }),
        durationMs: Math.round(durationMs * 1000) / 1000,
        peer: exchange.remoteIdentity ?? exchange.peer.address,
        ...(exchange.service === "" ? {} : { service: exchange.service }),
        endpoint: exchange.endpointAddress,
        requestId: exchange.requestId,
      },
      "request",
    );
  }

  return {
    nextConnectionId() {
      connectionId += 1;
      return connectionId;
    },
    opened: (direction) => connections.inc({ direction }),
    closed: (direction) => connections.dec({ direction }),
    secured(direction, id, peer, socket, port) {
      const cipher = socket.getCipher();
      log.info(
        {
          connection: id,
          direction,
          peer,
          port,
          tls: socket.getProtocol(),
          cipher: cipher.standardName,
          alpn: socket.alpnProtocol,
          remote: socket.remoteAddress,
        },
        "mesh connection",
      );
    },
    waited: (direction) => waits.inc({ direction }),
    began(exchange) {
      if (exchange.direction === "inbound") load.began();
      exchange.endSpan = options.startSpan(exchange);
    },
    finished(exchange) {
      const durationMs = clock.monoMs() - exchange.startedMonoMs;
      const children = childrenFor(exchange);
      children.count.inc();
      children.duration.observe(durationMs / 1000);
      if (exchange.direction === "inbound") load.finished(durationMs, exchange.status >= 500 || exchange.status === 0);
      if (exchange.refusal !== null) refusals.inc({ direction: exchange.direction, reason: exchange.refusal.reason });
      exchange.endSpan?.(exchange);
      if (options.accessLog || exchange.refusal !== null) logAccess(exchange, durationMs);
    },
    refused(direction, refusal, id, peer) {
      refusals.inc({ direction, reason: refusal.reason });
      log.warn(
        { connection: id, direction, reason: refusal.reason, detail: refusal.detail, peer: peer.identity ?? peer.address },
        "refused",
      );
    },
    shadowed: (direction) => shadowed.inc({ direction }),
    retried: (reason) => retries.inc({ reason }),
    relayed(connection) {
      const { direction, end } = connection;
      relayedBytes.inc({ direction, way: "forward" }, end.bytesForward);
      relayedBytes.inc({ direction, way: "back" }, end.bytesBack);
      if (!options.accessLog) return;
      log.info(
        {
          connection: connection.connectionId,
          direction,
          peer: connection.peer.identity ?? connection.peer.address,
          port: connection.port,
          service: connection.service,
          durationMs: Math.round(connection.durationMs),
          bytesForward: end.bytesForward,
          bytesBack: end.bytesBack,
          cause: end.cause,
        },
        "connection",
      );
    },
    breakerChanged(endpoint, from, to) {
      log.warn({ endpoint: endpoint.id, address: `${endpoint.address}:${endpoint.port}`, from: from.kind, to: to.kind }, "breaker");
    },
    takeLoad: () => load.take(),
  };
}
