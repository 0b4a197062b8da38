// What happens to traffic that comes to the app (design 4, inbound): the connection's stages first, then the stages of each request, both to be
// read from top to bottom. Each stage decides one thing; the engine moves the bytes; `rescue.ts` turns refusals into answers.
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../core/clock.ts";
import { ProtocolError } from "../core/errors.ts";
import type { Reason } from "../core/reasons.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import type { PortProtocol } from "../core/wire/port-protocol.ts";
import type { Observer } from "./admin/observer.ts";
import { isOwnListener, type OwnListeners } from "./capture/loop-guard.ts";
import type { OriginalDstReader } from "./capture/original-dst.ts";
import type { Decision, Engine, HttpHandler, Upstream } from "./engine.ts";
import { type ConnectionContext, Exchange, type Peer, type Refusal, refuse } from "./exchange.ts";
import { grpcStatusOfHead } from "./grpc-status.ts";
import { type AccessPolicy, allows } from "./policy/access.ts";
import { canonicalPath } from "../core/policy/canonical-path.ts";
import { answerEdit, callerFields, editInbound, trailerFields } from "./policy/header-hygiene.ts";
import type { LoadShed } from "./policy/load-shed.ts";
import type { RateLimiter } from "./policy/rate-limit.ts";
import { Deadlines, UNBOUNDED } from "./resilience/deadlines.ts";
import type { InboundSignatures } from "./signing/inbound-signatures.ts";
import { plainAddress } from "./transport/address.ts";
import { type Detected, detect } from "./transport/detect.ts";
import type { AcceptedMesh, MeshAcceptor } from "./transport/mesh-accept.ts";
import { dialPlain } from "./transport/plain-dial.ts";
import { relay } from "./transport/relay.ts";
import { resetStream } from "./transport/reset.ts";
import type { TrustWatch } from "./trust-watch.ts";

/** Times that a request is sent to an app which refuses it unseen. */
const MAX_ATTEMPTS = 3;

/** What the inbound side works with. */
export interface InboundParts {
  readonly mode: "strict" | "permissive";
  readonly identity: SpiffeId;
  readonly own: OwnListeners;
  readonly inboundPort: number;
  /** The app's declared ports; a peer that came without an original destination may only ask for these. Empty: any, in a pod. */
  readonly declaredPorts: ReadonlyMap<number, PortProtocol>;
  /** Host of the app where there is no original destination: loopback in explicit capture, the pod's address in a pod. */
  readonly appHost: string;
  readonly originalDst: OriginalDstReader | null;
  readonly acceptor: MeshAcceptor;
  readonly trust: Pick<TrustWatch, "accepted">;
  readonly engine: Engine;
  readonly access: AccessPolicy;
  readonly limiter: RateLimiter;
  readonly shed: LoadShed;
  readonly signatures: InboundSignatures;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly requestId: () => string;
  readonly connectTimeoutMs: number;
  readonly silentAfterMs: number;
  readonly decidedAfterMs: number;
  readonly idleTimeoutMs: number;
}

/** The inbound side of the sidecar. */
export interface Inbound {
  /** Takes an accepted socket: half-open allowed, nothing read yet. */
  accept(socket: Socket): void;
}

/** One accepted connection and what its stages found. */
interface Arrival {
  readonly id: number;
  readonly socket: Socket;
  readonly clientAddress: string;
  /** The app's address and port; the port is 0 until a mesh peer's SNI names it. */
  readonly appHost: string;
  readonly port: number;
}

/** What is the same for all requests of one connection. */
interface Caller {
  readonly hygiene: Parameters<typeof editInbound>[1];
  readonly signatures: ReturnType<InboundSignatures["connection"]> | null;
}

/** Makes the inbound side. */
export function createInbound(parts: InboundParts): Inbound {
  const { observer, clock, engine } = parts;
  const upstreams = new Map<string, Upstream>();
  const deadlines = new Deadlines(clock);

  /** The stages of a request, in order. The first refusal ends it. */
  function passStages(exchange: Exchange, caller: Caller): Refusal | null {
    cleanHeaders(exchange, caller); // first, so that no later stage and no app sees a header that only the mesh may set
    return (
      settlePath(exchange) ?? // before any rule looks at it: what policy matches on is what the app receives
      authorize(exchange) ?? // before anything is spent on a caller who may not be here
      limitRate(exchange) ?? // before the shared bound below, so that one caller cannot use it up
      shedLoad(exchange) ?? // from here on the request counts as in flight
      deadlines.begin(exchange, UNBOUNDED) ?? // the caller's `grpc-timeout`: the app may never answer, and what comes too late costs nothing more
      verifySignature(exchange, caller) // last, as it costs the most; its nonce is only remembered for requests that get this far
    );
  }

  /** The stages of a connection, in order. */
  function accept(socket: Socket): void {
    const arrival = locate(socket); // where it was going, before it was redirected to us
    if (arrival === null) return;
    observer.opened("inbound");
    socket.once("close", () => observer.closed("inbound"));
    detect(
      socket,
      { clock, silentAfterMs: parts.silentAfterMs, decidedAfterMs: parts.decidedAfterMs, suspectsHttp: true },
      (detected, rest) => {
        if (detected.kind === "gone") return void socket.destroy();
        if (detected.kind === "mesh") return acceptMesh(arrival); // mTLS is terminated, and only mesh mTLS
        if (detected.kind === "silent") observer.waited("inbound");
        if (parts.mode === "strict" && detected.kind === "late")
          return drop(arrival, "timeout", `half a ClientHello from ${arrival.clientAddress}`);
        if (parts.mode === "strict") return drop(arrival, "plaintext_refused", `${detected.kind} from ${arrival.clientAddress}`); // fails closed
        acceptPlaintext(arrival, detected.kind, rest); // permissive: served as it is, without an identity
      },
    );
  }

  /** Loop guard and original destination. */
  function locate(socket: Socket): Arrival | null {
    const id = observer.nextConnectionId();
    const clientAddress = plainAddress(socket.remoteAddress);
    const dst = parts.originalDst?.read(socket) ?? null;
    const toOurselves = dst !== null && isOwnListener(dst, parts.own);
    const arrival = (appHost: string, port: number): Arrival => ({ id, socket, clientAddress, appHost, port });
    if (dst === null || (toOurselves && dst.port === parts.inboundPort)) return arrival(parts.appHost, 0);
    if (!toOurselves) return arrival(dst.address, dst.port);
    drop(arrival(parts.appHost, dst.port), "loop_detected", `port ${dst.port} is the sidecar's own`);
    return null;
  }

  function acceptMesh(arrival: Arrival): void {
    parts.acceptor.accept(arrival.socket, (error, accepted) => {
      if (accepted === null) return note(arrival, reasonOf(error), error?.message ?? "");
      const port = arrival.port === 0 ? accepted.port : arrival.port;
      const misplaced = misplacedPort(arrival, accepted);
      if (misplaced !== null) {
        resetStream(accepted.socket);
        return note(arrival, misplaced.reason, misplaced.detail);
      }
      const peer: Peer = { identity: accepted.peer, address: arrival.clientAddress, channelBinding: accepted.channelBinding, told: true };
      observer.secured("inbound", arrival.id, accepted.peer, accepted.socket, port);
      const { socket, alpn } = accepted;
      if (alpn === "remora/tcp") {
        parts.trust.accepted(socket, ignore); // opaque bytes have no place where they could end without harm
        return relayToApp({ ...arrival, port }, socket, peer, null);
      }
      const context = serve({ ...arrival, port }, socket, peer, alpn === "remora/h2" ? "http2" : "http1", alpn === "remora/h1-streams");
      parts.trust.accepted(socket, () => {
        context.isRetired = true;
        engine.retire(context);
      });
    });
  }

  /** A peer that was redirected asks for the port it dialled; one that came to our own port may only ask for what the app declares. */
  function misplacedPort(arrival: Arrival, accepted: AcceptedMesh): Refusal | null {
    if (arrival.port !== 0) {
      return arrival.port === accepted.port
        ? null
        : refuse("bad_request", `dialled port ${arrival.port}, server name says ${accepted.port}`);
    }
    const declared = parts.declaredPorts.size === 0 ? parts.originalDst !== null : parts.declaredPorts.has(accepted.port);
    if (!declared || parts.own.ports.includes(accepted.port)) return refuse("forbidden", `port ${accepted.port} is not announced`);
    return null;
  }

  function acceptPlaintext(arrival: Arrival, kind: Exclude<Detected["kind"], "mesh" | "gone">, rest: Buffer | null): void {
    const peer: Peer = { identity: null, address: arrival.clientAddress, channelBinding: null, told: false };
    const reached = arrival.port === 0 ? onlyDeclaredPort() : arrival.port;
    if (reached === null) return drop(arrival, "loop_detected", "plaintext to the inbound port itself names no app port");
    const placed = { ...arrival, port: reached };
    const declared = parts.declaredPorts.get(reached);
    const http = kind === "http1" || kind === "http2" ? kind : kind === "tls" ? null : declaredHttp(declared);
    if (http === null || declared === "tcp") relayToApp(placed, placed.socket, peer, rest);
    else serve(placed, placed.socket, peer, http);
  }

  /** Explicit capture: plaintext that comes to the inbound port goes to the app's port if there is just one. */
  function onlyDeclaredPort(): number | null {
    if (parts.originalDst !== null || parts.declaredPorts.size !== 1) return null;
    return parts.declaredPorts.keys().next().value ?? null;
  }

  function serve(arrival: Arrival, stream: Duplex, peer: Peer, protocol: "http1" | "http2", isTrunk = false): ConnectionContext {
    const context: ConnectionContext = {
      connectionId: arrival.id,
      direction: "inbound",
      protocol,
      peer,
      port: arrival.port,
      isRetired: false,
    };
    engine.serve({ stream, isTrunk, context, handler: handlerFor(arrival, peer), tunnel: null });
    return context;
  }

  function handlerFor(arrival: Arrival, peer: Peer): HttpHandler {
    const upstream = appUpstream(arrival);
    const toApp: Decision = { kind: "forward", upstream, body: "stream" };
    const caller: Caller = {
      hygiene: {
        caller: peer.identity === null ? null : callerFields(parts.identity, peer.identity),
        peerMeshed: peer.identity !== null,
        requestId: parts.requestId,
      },
      signatures:
        peer.identity === null || peer.channelBinding === null ? null : parts.signatures.connection(peer.identity, peer.channelBinding),
    };
    return {
      request(connection, head, decide) {
        const exchange = new Exchange(connection, head, clock.monoMs());
        observer.began(exchange);
        const refusal = passStages(exchange, caller);
        if (refusal !== null) return decide(exchange, { kind: "refuse", refusal });
        exchange.endpointAddress = upstream.address;
        decide(exchange, exchange.expectedDigest === null ? toApp : { kind: "forward", upstream, body: "verify" });
      },
      checkBody: (exchange, body) => parts.signatures.checkBody(exchange.expectedDigest, body),
      seal(exchange) {
        exchange.attempts += 1;
        if (exchange.deadline === null) return null;
        exchange.edit.beginAttempt();
        deadlines.forward(exchange);
        return null;
      },
      another(exchange, failure) {
        // There is one app. It is asked again when it had no room for the stream, or was just closing; not when it can't be connected to.
        const wasRefused = exchange.attempts > 0 && failure.reason === "upstream_reset";
        return wasRefused && exchange.attempts < MAX_ATTEMPTS ? upstream : null;
      },
      retryAnswer: () => null,
      response(exchange, status, fields) {
        exchange.status = status;
        if (exchange.grpc) exchange.grpcStatus = grpcStatusOfHead(fields);
        if (exchange.deadline !== null) deadlines.answered(exchange, false);
        return answerEdit(fields, true);
      },
      trailers: trailerFields,
      malformed: (connection, refusal) => observer.refused(connection.direction, refusal, connection.connectionId, connection.peer),
      flooded: ({ direction }, kind) => observer.flooded(direction, "client", kind),
      finish(exchange) {
        if (exchange.admitted) parts.shed.leave();
        if (exchange.deadline !== null) deadlines.end(exchange);
        observer.finished(exchange);
      },
    };
  }

  function cleanHeaders(exchange: Exchange, caller: Caller): void {
    exchange.requestId = editInbound(exchange.head.fields, caller.hygiene, exchange.edit, exchange.span?.traceparent ?? null);
  }

  /** A path with more than one reading is passed on as it came, unless a rule depends on how it is read: fails closed. */
  function settlePath(exchange: Exchange): Refusal | null {
    if (exchange.head.isPlainPath) return null;
    const path = canonicalPath(exchange.path);
    if (typeof path !== "string") return parts.limiter.matchesPaths ? refuse("bad_request", `the path has ${path.ambiguity}`) : null;
    exchange.settlePath(path);
    return null;
  }

  function authorize(exchange: Exchange): Refusal | null {
    const { identity } = exchange.peer;
    return allows(parts.access, identity)
      ? null
      : refuse("forbidden", `${identity ?? "a caller without identity"} is not in the allow list`);
  }

  function limitRate(exchange: Exchange): Refusal | null {
    const answer = parts.limiter.check(exchange);
    if (answer.shadowed !== null) observer.shadowed("inbound");
    if (answer.allowed) return null;
    return refuse("rate_limited", `wait ${Math.ceil(answer.retryAfterMs)} ms`, Object.entries(answer.headers).flat());
  }

  function shedLoad(exchange: Exchange): Refusal | null {
    exchange.admitted = parts.shed.tryEnter();
    return exchange.admitted ? null : refuse("overloaded", `${parts.shed.maxInFlight} requests in flight`, ["retry-after", "1"]);
  }

  function verifySignature(exchange: Exchange, caller: Caller): Refusal | null {
    // Permissive mode serves callers without identity; they have no message key to sign with.
    if (caller.signatures === null) return null;
    const mustBeSigned = exchange.grpc || parts.declaredPorts.get(exchange.port) === "grpc";
    const verdict = caller.signatures.verify(exchange, mustBeSigned);
    if (verdict.kind === "refused") return refuse(verdict.reason, verdict.detail);
    exchange.expectedDigest = verdict.expectedDigest;
    return null;
  }

  function relayToApp(arrival: Arrival, client: Duplex, peer: Peer, rest: Buffer | null): void {
    const refusal = tcpRefusal(peer);
    if (refusal !== null) {
      resetStream(client);
      return note(arrival, refusal.reason, refusal.detail);
    }
    client.on("error", ignore); // it may break off while the app is dialled
    dialPlain({ host: arrival.appHost, port: arrival.port, timeoutMs: parts.connectTimeoutMs, clock }, (error, app) => {
      client.off("error", ignore);
      if (app === null) {
        resetStream(client);
        return note(arrival, error?.code ?? "connect_failed", error?.message ?? "");
      }
      const startedMonoMs = clock.monoMs();
      relay(client, app, { clock, idleTimeoutMs: parts.idleTimeoutMs, head: rest }, (end) =>
        observer.relayed({
          direction: "inbound",
          connectionId: arrival.id,
          peer,
          port: arrival.port,
          service: "",
          durationMs: clock.monoMs() - startedMonoMs,
          end,
        }),
      );
    });
  }

  /** Access and rate limit for a connection that is not HTTP: it counts as one request without path and method. */
  function tcpRefusal(peer: Peer): Refusal | null {
    if (!allows(parts.access, peer.identity))
      return refuse("forbidden", `${peer.identity ?? "a caller without identity"} is not in the allow list`);
    const answer = parts.limiter.check({ identity: peer.identity ?? "", ip: peer.address, path: "", method: "" });
    return answer.allowed ? null : refuse("rate_limited", `wait ${Math.ceil(answer.retryAfterMs)} ms`);
  }

  /** The app behind this connection. Bounded by the number of app ports: few, as ports are below 65536 and each is a real listener. */
  function appUpstream(arrival: Arrival): Upstream {
    const key = `app ${arrival.appHost} ${arrival.port}`;
    let upstream = upstreams.get(key);
    if (upstream === undefined) {
      const { appHost: host, port } = arrival;
      upstream = {
        key,
        address: `${host}:${port}`,
        ...spoken(parts.declaredPorts.get(port)),
        flooded: (kind) => observer.flooded("inbound", "upstream", kind),
        dial: (done) =>
          dialPlain({ host, port, timeoutMs: parts.connectTimeoutMs, clock }, (error, stream) =>
            done(error, stream === null ? null : { kind: "plain", stream }),
          ),
      };
      upstreams.set(key, upstream);
    }
    return upstream;
  }

  function drop(arrival: Arrival, reason: Reason, detail: string): void {
    note(arrival, reason, detail);
    resetStream(arrival.socket);
  }

  /** Counts and logs the refusal of a connection whose stream was ended already: once TLS is on a socket, only TLS may end it. */
  function note(arrival: Arrival, reason: Reason, detail: string): void {
    const peer: Peer = { identity: null, address: arrival.clientAddress, channelBinding: null, told: false };
    observer.refused("inbound", refuse(reason, detail), arrival.id, peer);
  }

  return { accept };
}

/** What the app speaks where its port declares it, whatever the caller speaks. */
function spoken(declared: PortProtocol | undefined): Pick<Upstream, "protocol"> {
  const protocol = declaredHttp(declared);
  return protocol === null ? {} : { protocol };
}

/** What a port's declared protocol makes of bytes that look like none: a port that speaks HTTP is never reached past the stages of HTTP. */
function declaredHttp(declared: PortProtocol | undefined): "http1" | "http2" | null {
  if (declared === "http1") return "http1";
  return declared === "http2" || declared === "grpc" ? "http2" : null;
}

function ignore(): void {}

function reasonOf(error: Error | null): Reason {
  if (error instanceof ProtocolError) return error.code;
  return (error as { code?: unknown } | null)?.code === "identity_mismatch" ? "identity_mismatch" : "unauthenticated";
}
