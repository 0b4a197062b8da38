// The last stage of every list (design 4, "observe"): counts, times and logs what happened. Per request: one counter, one histogram observation
// through children resolved once per label set, and one access-log line where that is on. Labels are bounded by construction.
import type { TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import { FIELD } from "../../core/field-kind.ts";
import type { Logger } from "../../core/log.ts";
import type { CounterChild, HistogramChild, Metrics } from "../../core/metrics.ts";
import type { Reason } from "../../core/reasons.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { Span, Tracer } from "../../core/tracing.ts";
import type { Direction, Exchange, Peer, Refusal } from "../exchange.ts";
import { firstOfKind } from "../fields.ts";
import { isServerFault } from "../grpc-status.ts";
import { createLoadReport, type Load, type LoadReport } from "./load-report.ts";

/** A finished opaque connection. */
export interface RelayedConnection {
  readonly direction: Direction;
  readonly connectionId: number;
  readonly peer: Peer;
  readonly port: number;
  readonly service: string;
  readonly durationMs: number;
  readonly end: { readonly bytesForward: number; readonly bytesBack: number; readonly cause: "closed" | "reset" | "idle" };
}

/** Why a request is sent again: the failure that another attempt may mend, or an answer that told of one. */
export type RetryCause = Reason | "failed_answer";

/** The endpoint that a breaker is for. */
interface BrokenEndpoint {
  readonly id: string;
  readonly address: string;
  readonly port: number;
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
  /** An HTTP/2 connection was cut off for a flood: of the client of a direction, or to its upstream. */
  flooded(direction: Direction, peer: "client" | "upstream", kind: string): void;
  /** A shadow rule would have refused. */
  shadowed(direction: Direction): void;
  /** Another endpoint is tried. */
  retried(why: RetryCause): void;
  /** A request would have been sent again, but its destination's retry budget is used up. */
  retryRefused(why: RetryCause): void;
  relayed(connection: RelayedConnection): void;
  /** A breaker moved from one state to another. */
  readonly breakerChanged: (endpoint: BrokenEndpoint, from: { readonly kind: string }, to: { readonly kind: string }) => void;
  /** Connections of a removed root: their peers are asked to end them, or they are cut off. */
  distrusted(connections: number, how: "asked" | "cut"): void;
  /** Inbound load since the last call, for the heartbeat. */
  takeLoad(): Load;
}

interface Children {
  readonly count: CounterChild;
  readonly duration: HistogramChild;
}

/** Values of `grpc_status`: 0 to 16, and none. */
const GRPC_STATUSES = 18;

function byProtocol(): Readonly<Record<"http1" | "http2" | "grpc", Map<number, Children>>> {
  return { http1: new Map(), http2: new Map(), grpc: new Map() };
}

/** Makes the observer of one sidecar. */
export function createObserver(options: {
  readonly metrics: Metrics;
  readonly log: Logger;
  readonly accessLog: boolean;
  readonly clock: Clock;
  readonly tracer: Tracer;
  /** Default: one of its own. */
  readonly load?: LoadReport;
}): Observer {
  const { log, clock, metrics, tracer } = options;
  const requests = metrics.counter({
    name: "remora_requests_total",
    help: "Finished requests.",
    labels: ["direction", "protocol", "status", "grpc_status"],
  });
  const durations = metrics.histogram({
    name: "remora_request_duration_seconds",
    help: "Time from the head of a request to the end of its answer.",
    labels: ["direction", "protocol"],
  });
  const connections = metrics.gauge({ name: "remora_connections", help: "Open connections from clients.", labels: ["direction"] });
  const open = { inbound: connections.child({ direction: "inbound" }), outbound: connections.child({ direction: "outbound" }) };
  const refusals = metrics.counter({ name: "remora_refused_total", help: "Refusals by reason.", labels: ["direction", "reason"] });
  const floods = metrics.counter({
    name: "remora_http2_floods_total",
    help: "HTTP/2 connections cut off for more frames of one kind than their requests warrant.",
    labels: ["direction", "peer", "kind"],
  });
  const distrusted = metrics.counter({
    name: "remora_distrusted_connections_total",
    help: "Mesh connections of a removed root whose peers were asked to end them, or that were cut off.",
    labels: ["how"],
  });
  const shadowed = metrics.counter({
    name: "remora_rate_limit_shadowed_total",
    help: "Requests that a shadow rule would have refused.",
    labels: ["direction"],
  });
  const waits = metrics.counter({
    name: "remora_detect_silent_total",
    help: "Connections taken for opaque because no byte came within the wait.",
    labels: ["direction"],
  });
  const retries = metrics.counter({
    name: "remora_retries_total",
    help: "Further endpoints tried, by the failure's reason.",
    labels: ["reason"],
  });
  const refusedRetries = metrics.counter({
    name: "remora_retries_refused_total",
    help: "Retries that the budget of their destination did not allow, by the failure's reason.",
    labels: ["reason"],
  });
  const breakersOpened = metrics.counter({
    name: "remora_breakers_opened_total",
    help: "Times that an endpoint was left alone because it failed repeatedly, further times after a failed probe included.",
  });
  const relayedBytes = metrics.counter({
    name: "remora_tcp_bytes_total",
    help: "Payload of opaque connections.",
    labels: ["direction", "way"],
  });
  const load = options.load ?? createLoadReport(clock);
  /** Children by direction, protocol and both statuses as one number: found without making a text. */
  const resolved = { inbound: byProtocol(), outbound: byProtocol() };
  let connectionId = 0;

  function childrenFor(exchange: Exchange): Children {
    const protocol = exchange.grpc ? "grpc" : exchange.protocol;
    const grpcStatus = exchange.grpcStatus < 0 || exchange.grpcStatus > 16 ? -1 : exchange.grpcStatus;
    const status = exchange.status >= 100 && exchange.status <= 599 ? exchange.status : 0;
    const byNumbers = resolved[exchange.direction][protocol];
    const index = status * GRPC_STATUSES + grpcStatus + 1;
    let children = byNumbers.get(index);
    if (children === undefined) {
      const { direction } = exchange;
      const labels = { direction, protocol, status: String(status), grpc_status: grpcStatus < 0 ? "" : String(grpcStatus) };
      children = { count: requests.child(labels), duration: durations.child({ direction, protocol }) };
      byNumbers.set(index, children);
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
        ...(exchange.attempts > 1 ? { attempts: exchange.attempts } : {}),
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
    opened: (direction) => open[direction].inc(),
    closed: (direction) => open[direction].dec(),
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
      if (tracer.isOn) exchange.span = startSpan(tracer, exchange);
    },
    finished(exchange) {
      const durationMs = clock.monoMs() - exchange.startedMonoMs;
      const children = childrenFor(exchange);
      children.count.inc();
      children.duration.observe(durationMs / 1000);
      if (exchange.direction === "inbound") load.finished(durationMs, isFailed(exchange));
      if (exchange.refusal !== null) {
        refusals.inc({ direction: exchange.direction, reason: exchange.refusal.reason });
        load.refused();
      }
      exchange.span?.end({
        ok: !isFailed(exchange),
        attributes: { "http.response.status_code": exchange.status },
      });
      if (options.accessLog || exchange.refusal !== null) logAccess(exchange, durationMs);
    },
    refused(direction, refusal, id, peer) {
      refusals.inc({ direction, reason: refusal.reason });
      load.refused();
      log.warn(
        { connection: id, direction, reason: refusal.reason, detail: refusal.detail, peer: peer.identity ?? peer.address },
        "refused",
      );
    },
    flooded: (direction, peer, kind) => floods.inc({ direction, peer, kind }),
    shadowed: (direction) => shadowed.inc({ direction }),
    retried: (reason) => retries.inc({ reason }),
    retryRefused: (reason) => refusedRetries.inc({ reason }),
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
    distrusted(connections, how) {
      distrusted.inc({ how }, connections);
      log.info({ connections, how }, "connections of a removed root");
    },
    breakerChanged(endpoint, from, to) {
      if (to.kind === "open") breakersOpened.inc();
      log.warn({ endpoint: endpoint.id, address: `${endpoint.address}:${endpoint.port}`, from: from.kind, to: to.kind }, "breaker");
    },
    takeLoad: () => load.take(),
  };
}

/** True when the server side failed, or nobody answered. */
function isFailed(exchange: Exchange): boolean {
  return exchange.status === 0 || exchange.status >= 500 || isServerFault(exchange.grpcStatus);
}

function startSpan(tracer: Tracer, exchange: Exchange): Span {
  return tracer.startSpan(`${exchange.direction} ${exchange.method}`, firstOfKind(exchange.head.fields, FIELD.traceparent), {
    "http.request.method": exchange.method,
    "url.path": exchange.path,
    "server.address": exchange.authority,
    "network.protocol.version": exchange.protocol === "http2" ? "2" : "1.1",
  });
}
