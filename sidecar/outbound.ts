// What happens to traffic that the app sends (design 4, outbound): the connection's stages first, then the stages of each request, both to be
// read from top to bottom. In transparent capture the destination is the connection's original one; in explicit capture each request names it.
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import { FIELD } from "../core/field-kind.ts";
import { isReason, type Reason } from "../core/reasons.ts";
import type { RetryCause } from "./admin/observer.ts";
import { isLoopback, isOwnAddress, isOwnListener } from "./capture/loop-guard.ts";
import type { OriginalDstReader } from "./capture/original-dst.ts";
import type { Destination, DestinationView, Endpoint } from "./discovery/discovery.ts";
import type { Decision, Engine, HttpHandler, Retry, Upstream } from "./engine.ts";
import { type ConnectionContext, Exchange, type Peer, type Refusal, refuse } from "./exchange.ts";
import { type FieldView, firstNamed } from "./fields.ts";
import { explicitDestination, HTTP_PORT } from "./explicit-destination.ts";
import { grpcStatusOfHead } from "./grpc-status.ts";
import { createMeshUpstreams, type MeshUpstreamParts } from "./mesh-upstreams.ts";
import { createOutboundTcp, type Departure, type OutboundTcp } from "./outbound-tcp.ts";
import { canonicalPath } from "../core/policy/canonical-path.ts";
import { answerEdit, editOutbound, trailerFields } from "./policy/header-hygiene.ts";
import type { LoadShed } from "./policy/load-shed.ts";
import { RecentRoute, type Route } from "./recent-route.ts";
import type { OutboundSignatures } from "./signing/outbound-signatures.ts";
import type { Pick } from "./resilience/balancer.ts";
import { Deadlines } from "./resilience/deadlines.ts";
import { answerKind, endpointVerdict, pushbackMs } from "./resilience/verdict.ts";
import { authorityFlaw, plainAddress } from "./transport/address.ts";
import { type Detected, detect } from "./transport/detect.ts";
import type { MeshConnection } from "./transport/mesh-dial.ts";
import { dialPlain } from "./transport/plain-dial.ts";

/** What the outbound side works with. */
export interface OutboundParts extends MeshUpstreamParts {
  readonly egress: "allow" | "deny";
  /** Ports whose server speaks first: opaque without looking (design 6). */
  readonly opaquePorts: ReadonlySet<number>;
  readonly originalDst: OriginalDstReader | null;
  readonly engine: Engine;
  readonly shed: LoadShed;
  readonly signatures: OutboundSignatures;
  readonly requestId: () => string;
  readonly connectTimeoutMs: number;
  readonly silentAfterMs: number;
  readonly decidedAfterMs: number;
  readonly idleTimeoutMs: number;
}

/** The outbound side of the sidecar. */
export interface Outbound {
  /** Takes an accepted socket: half-open allowed, nothing read yet. */
  accept(socket: Socket): void;
}

/** Makes the outbound side. */
export function createOutbound(parts: OutboundParts): Outbound {
  const { observer, clock, engine, discovery } = parts;
  const upstreams = createMeshUpstreams(parts);
  const tcp = createOutboundTcp({ ...parts, upstreams, leadsBack });
  const hygiene = { requestId: parts.requestId };
  const deadlines = new Deadlines(clock);

  /** The stages of a connection, in order. */
  function accept(socket: Socket): void {
    const peer: Peer = { identity: null, address: plainAddress(socket.remoteAddress), channelBinding: null, told: true };
    const departure: Departure = { id: observer.nextConnectionId(), socket, peer };
    observer.opened("outbound");
    socket.once("close", () => observer.closed("outbound"));
    const dst = parts.originalDst?.read(socket) ?? null; // where it was going, before it was redirected to us
    if (dst === null || isOwnListener(dst, parts.own)) return acceptExplicit(departure);
    socket.on("error", ignore);
    discovery.lookup({ kind: "address", address: dst.address, port: dst.port }, (view) => {
      socket.off("error", ignore);
      if (socket.destroyed) return;
      if (view === null) return tcp.leaveMesh(departure, dst.address, dst.port); // in no snapshot: egress
      if (view.protocol === "tcp" || parts.opaquePorts.has(dst.port)) return tcp.relayToMesh(departure, dst, null); // declared or well known
      look(departure, false, (detected, rest) => {
        const protocol = protocolOf(detected, view);
        if (protocol === null) return tcp.relayToMesh(departure, dst, rest);
        serve(departure, protocol, dst.port, () => ({ kind: "address", address: dst.address, port: dst.port }), null);
      });
    });
  }

  /** Explicit capture: the app was pointed at us and names its destination in each request, or in a CONNECT. */
  function acceptExplicit(departure: Departure): void {
    const { address } = departure.peer;
    if (!isLoopback(address) && !isOwnAddress(address, parts.own.addresses)) {
      return tcp.drop(departure, "forbidden", `${address} is not the local app`); // never an open proxy
    }
    look(departure, true, (detected) => {
      if (detected.kind === "http1" || detected.kind === "http2")
        return serve(departure, detected.kind, 0, explicitDestination, tcp.tunnel);
      tcp.drop(departure, "bad_request", `${detected.kind} names no destination; speak HTTP, or CONNECT first`);
    });
  }

  /** `suspectsHttp`: whoever comes here can only speak HTTP, if slowly. */
  function look(departure: Departure, suspectsHttp: boolean, done: (detected: Detected, rest: Buffer | null) => void): void {
    const { silentAfterMs, decidedAfterMs } = parts;
    detect(departure.socket, { clock, silentAfterMs, decidedAfterMs, suspectsHttp }, (detected, rest) => {
      if (detected.kind === "gone") return void departure.socket.destroy();
      if (detected.kind === "silent") observer.waited("outbound");
      done(detected, rest);
    });
  }

  /** HTTP by its first bytes; a client that stays silent (a pool warming up) gets what the port declares. */
  function protocolOf(detected: Detected, view: DestinationView): "http1" | "http2" | null {
    if (detected.kind === "http1" || detected.kind === "http2") return detected.kind;
    if (detected.kind !== "silent" || view.protocol === "detect" || view.protocol === "tcp") return null;
    return view.protocol === "http1" ? "http1" : "http2";
  }

  function serve(
    departure: Departure,
    protocol: "http1" | "http2",
    port: number,
    destinationOf: (authority: string) => Destination | null,
    tunnelTo: OutboundTcp["tunnel"] | null,
  ): void {
    const context: ConnectionContext = {
      connectionId: departure.id,
      direction: "outbound",
      protocol,
      peer: departure.peer,
      port,
      isRetired: false,
    };
    const tunnelHere =
      tunnelTo === null ? null : (...[authority, client, head, answer]: TunnelCall) => tunnelTo(departure, authority, client, head, answer);
    engine.serve({ stream: departure.socket, context, handler: handlerFor(destinationOf), tunnel: tunnelHere });
  }

  /** The stages of a request whose way is known, in order. */
  function passStages(exchange: Exchange, destination: Destination, route: Route | null): Decision {
    cleanHeaders(exchange); // before anything is added: nothing the app says can pass as the mesh's word
    if (!parts.shed.tryEnter()) return refusal("overloaded", `${parts.shed.maxInFlight} requests in flight`, ["retry-after", "1"]);
    exchange.admitted = true;
    if (route !== null) settlePath(exchange); // before routes and signing: the form that both sides match on; outside of the mesh URLs may be signed
    const late = setBounds(exchange, destination, route); // before anything is taken: what comes too late gets no connection
    if (late !== null) return { kind: "refuse", refusal: late };
    if (route === null) return egress(exchange.connection, destination); // not ours to protect
    return balance(exchange, route); // breaker and P2C; the connection is taken, and signed for, by `seal`
  }

  function handlerFor(destinationOf: (authority: string) => Destination | null): HttpHandler {
    const whereTo = remembering(destinationOf);
    const recent = new RecentRoute(discovery, upstreams);
    return {
      /** The first stages of a request, in order; only the look-up may take time, and only the first time. */
      request(connection, head, decide) {
        const exchange = new Exchange(connection, head, clock.monoMs());
        observer.began(exchange);
        const destination = whereTo(exchange.authority);
        if (destination === null) return decide(exchange, refusal("bad_request", authorityFlaw(exchange.authority)));
        if (leadsBack(destination)) return decide(exchange, refusal("loop_detected", `"${exchange.authority}" is this sidecar`));
        exchange.port = destination.port;
        const known = recent.known(destination, exchange.startedMonoMs);
        if (known !== undefined) return decide(exchange, passStages(exchange, destination, known));
        recent.find(destination, exchange.startedMonoMs, (route) => decide(exchange, passStages(exchange, destination, route)));
      },
      checkBody: () => null,
      seal(exchange, connection, body) {
        if (!exchange.grpc) return null;
        exchange.edit.beginAttempt();
        deadlines.forward(exchange);
        const { pick } = exchange;
        if (pick === null) return null; // only gRPC to mesh peers is signed (design 9)
        if (connection === null || connection.kind !== "mesh") return refuse("bad_request", "gRPC needs HTTP/2");
        pick.start(); // one that had to wait first was not charged yet
        sign(exchange, pick.endpoint, connection.mesh, body);
        return null;
      },
      another(exchange, failure) {
        settle(exchange, false);
        const pick = nextPick(exchange);
        return pick === null || !isAffordable(exchange, failure.reason) ? null : sendTo(exchange, pick, 0);
      },
      retryAnswer(exchange, status, fields) {
        if (status < 500 && (fields.kinds & (FIELD.grpcStatus | FIELD.mesh)) === 0) return null; // nearly all
        return exchange.pick === null ? null : retry(exchange, status, fields);
      },
      response(exchange, status, fields) {
        exchange.status = status;
        exchange.answeredMonoMs = clock.monoMs();
        if (exchange.grpc) exchange.grpcStatus = grpcStatusOfHead(fields);
        if (exchange.deadline !== null) deadlines.answered(exchange, status === 101 || exchange.method === "CONNECT");
        if (exchange.pick !== null) notePeer(exchange, fields);
        return answerEdit(fields, exchange.pick === null);
      },
      trailers: trailerFields,
      malformed: (connection, problem) => observer.refused(connection.direction, problem, connection.connectionId, connection.peer),
      flooded: ({ direction }, kind) => observer.flooded(direction, "client", kind),
      finish(exchange) {
        if (exchange.admitted) parts.shed.leave();
        if (exchange.deadline !== null) deadlines.end(exchange);
        if (exchange.pick !== null) settle(exchange, endpointVerdict(exchange, latencyMs(exchange)));
        observer.finished(exchange);
      },
    };
  }

  /**
   * Signs. The peer knows our message key only once it has verified a request that carried the certificate: one that was given up before it was
   * written, or refused by an earlier stage, introduced nothing, and every later call on the connection would fail.
   */
  function sign(exchange: Exchange, endpoint: Endpoint, mesh: MeshConnection, body: Buffer | null): void {
    const before = mesh.sentMessageKeyId;
    parts.signatures.sign(exchange, endpoint, mesh, body);
    const keyId = mesh.sentMessageKeyId;
    mesh.sentMessageKeyId = before;
    exchange.introduces = keyId === before ? null : { connection: mesh, keyId };
  }

  /** Notes whether the peer's sidecar answered by itself; where it did not, it has seen what the request introduced. */
  function notePeer(exchange: Exchange, answered: FieldView): void {
    if ((answered.kinds & FIELD.mesh) !== 0) exchange.peerReason = firstNamed(answered, "x-remora-reason");
    const { introduces } = exchange;
    if (introduces !== null && exchange.peerReason === null) introduces.connection.sentMessageKeyId = introduces.keyId;
  }

  function leadsBack(destination: Destination): boolean {
    if (destination.kind === "address") return isOwnListener(destination, parts.own);
    return destination.name === "localhost" && parts.own.ports.includes(destination.port);
  }

  /** A path with more than one reading goes as it came: only the called side knows whether a rule depends on it. */
  function settlePath(exchange: Exchange): void {
    if (exchange.head.isPlainPath) return;
    const path = canonicalPath(exchange.path);
    if (typeof path === "string") exchange.settlePath(path);
  }

  function cleanHeaders(exchange: Exchange): void {
    exchange.requestId = editOutbound(exchange.head.fields, hygiene, exchange.edit, exchange.span?.traceparent ?? null);
  }

  /** A destination in no snapshot. One that was in the mesh when the connection began is never silently sent in plaintext. */
  function egress(connection: ConnectionContext, destination: Destination): Decision {
    if (connection.port !== 0) return refusal("no_endpoints", "the destination left the mesh");
    if (parts.egress === "deny") return refusal("egress_refused", describe(destination));
    const host = hostOf(destination);
    const port = destination.port === 0 ? HTTP_PORT : destination.port;
    const key = `plain ${host} ${port} ${connection.protocol}`;
    const flooded = (kind: string) => observer.flooded("outbound", "upstream", kind);
    const dial: Upstream["dial"] = (done) =>
      dialPlain({ host, port, timeoutMs: parts.connectTimeoutMs, clock }, (error, stream) =>
        done(error, stream === null ? null : { kind: "plain", stream }),
      );
    return { kind: "forward", upstream: { key, address: `${host}:${port}`, flooded, dial }, body: "stream" };
  }

  /** Route and timeout: what it may take, and whether it may be sent again. */
  function setBounds(exchange: Exchange, destination: Destination, route: Route | null): Refusal | null {
    const routes = route === null ? parts.routes.of(hostOf(destination)) : route.destination.routes;
    const policy = routes.find(exchange.method, exchange.path);
    exchange.policy = policy;
    exchange.idleTimeoutMs = policy.idleTimeoutMs;
    return deadlines.begin(exchange, policy);
  }

  function balance(exchange: Exchange, route: Route): Decision {
    const { view, destination } = route;
    exchange.service = view.service;
    exchange.route = route;
    destination.budget.deposit(exchange.startedMonoMs);
    const pick = destination.balancer.pick();
    if (pick === null) return refusal(destination.balancer.refusal(), view.service === "" ? view.key : view.service);
    const isHeld = (exchange.grpc && parts.signatures.wantsBody) || exchange.policy?.isIdempotent === true;
    return { kind: "forward", upstream: sendTo(exchange, pick, 0), body: isHeld ? "sign" : "stream" };
  }

  /** Charges the request to an endpoint; one that waits first is charged when it has. */
  function sendTo(exchange: Exchange, pick: Pick<Endpoint>, afterMs: number): Upstream {
    const { endpoint } = pick;
    if (afterMs === 0) pick.start();
    if (exchange.attempts > 0) exchange.attemptMonoMs = clock.monoMs() + afterMs;
    exchange.pick = pick;
    exchange.attempts += 1;
    exchange.remoteIdentity = endpoint.identity;
    const upstream = upstreams.upstreamFor(endpoint, exchange.protocol);
    exchange.endpointAddress = upstream.address;
    return upstream;
  }

  /** An answer that somebody else might give better: looks for one. */
  function retry(exchange: Exchange, status: number, fields: FieldView): Retry | null {
    const peerReason = (fields.kinds & FIELD.mesh) === 0 ? null : firstNamed(fields, "x-remora-reason");
    const kind = answerKind(exchange, status, exchange.grpc ? grpcStatusOfHead(fields) : -1, peerReason);
    if (kind === "final" || (kind === "failed" && exchange.policy?.isIdempotent !== true)) return null;
    const afterMs = exchange.grpc ? pushbackMs(fields) : 0;
    if (afterMs < 0 || afterMs >= deadlines.leftMs(exchange)) return null;
    const pick = nextPick(exchange);
    // An instance that has no room now is not asked again at once.
    if (pick === null || (kind === "unprocessed" && pick.endpoint.id === exchange.pick?.endpoint.id)) return null;
    if (!isAffordable(exchange, peerReason !== null && isReason(peerReason) ? peerReason : "failed_answer")) return null;
    settle(exchange, false);
    return { upstream: sendTo(exchange, pick, afterMs), afterMs };
  }

  /** Another endpoint than the last one where there is any; null when the route allows no further attempt, or there is nobody to ask. */
  function nextPick(exchange: Exchange): Pick<Endpoint> | null {
    const { route, policy, pick } = exchange;
    if (route === null || policy === null || pick === null || exchange.attempts >= policy.attempts) return null;
    // The view is read again: an endpoint that refused has left it.
    const view = discovery.peek(route.view.key);
    return view === null ? null : upstreams.destinationFor(view).balancer.pick(pick.endpoint.id);
  }

  /** Takes a retry out of the destination's budget. */
  function isAffordable(exchange: Exchange, why: RetryCause): boolean {
    const nowMonoMs = clock.monoMs();
    if (exchange.route?.destination.budget.withdraw(nowMonoMs) !== true) {
      observer.retryRefused(why);
      return false;
    }
    observer.retried(why);
    return true;
  }

  function settle(exchange: Exchange, ok: boolean | null): void {
    exchange.pick?.done(ok === null ? null : { ok, latencyMs: latencyMs(exchange) });
  }

  /** How long the endpoint took, or has taken. */
  function latencyMs(exchange: Exchange): number {
    return (exchange.answeredMonoMs === 0 ? clock.monoMs() : exchange.answeredMonoMs) - exchange.attemptMonoMs;
  }

  return { accept };
}

/** A connection's requests mostly go where the last one went. */
function remembering(destinationOf: (authority: string) => Destination | null): (authority: string) => Destination | null {
  let lastAuthority: string | null = null;
  let last: Destination | null = null;
  return (authority) => {
    if (authority !== lastAuthority) {
      last = destinationOf(authority);
      lastAuthority = authority;
    }
    return last;
  };
}

type TunnelCall = [authority: string, client: Duplex, head: Buffer, answer: (refusal: Refusal | null) => void];

function ignore(): void {}

function refusal(reason: Reason, detail: string, headers: readonly string[] = []): Decision {
  return { kind: "refuse", refusal: refuse(reason, detail, headers) };
}

function hostOf(destination: Destination): string {
  return destination.kind === "address" ? destination.address : destination.name;
}

function describe(destination: Destination): string {
  return `${hostOf(destination)}:${destination.port}`;
}
