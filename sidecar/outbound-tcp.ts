// Outbound connections that are opaque (design 4): to a mesh destination over mTLS, out of the mesh untouched, or through a CONNECT tunnel of explicit
// capture. Owns dialling them, endpoint after endpoint, and the relay; which connection is opaque was decided in outbound.ts.
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../core/clock.ts";
import type { Reason } from "../core/reasons.ts";
import type { Observer } from "./admin/observer.ts";
import type { Destination, DestinationView, Discovery } from "./discovery/discovery.ts";
import { type Peer, type Refusal, refuse } from "./exchange.ts";
import { explicitDestination } from "./explicit-destination.ts";
import type { MeshUpstreams } from "./mesh-upstreams.ts";
import { OpaqueCharge } from "./opaque-charge.ts";
import { parseAuthority } from "./transport/address.ts";
import { dialPlain } from "./transport/plain-dial.ts";
import { relay } from "./transport/relay.ts";
import { resetStream } from "./transport/reset.ts";

/** A connection of the local app. */
export interface Departure {
  readonly id: number;
  readonly socket: Socket;
  readonly peer: Peer;
}

/** What opaque connections need. */
export interface OutboundTcpParts {
  readonly egress: "allow" | "deny";
  readonly upstreams: MeshUpstreams;
  readonly discovery: Discovery;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly connectTimeoutMs: number;
  readonly idleTimeoutMs: number;
  /** True for a destination that is this sidecar itself. */
  readonly leadsBack: (destination: Destination) => boolean;
}

/** Opaque outbound connections. */
export interface OutboundTcp {
  /** Relays to a mesh destination. `rest` was read already and could not be put back. */
  relayToMesh(departure: Departure, dst: { readonly address: string; readonly port: number }, rest: Buffer | null): void;
  /** Relays to where the app wanted to go, untouched; refused when egress is denied. */
  leaveMesh(departure: Departure, host: string, port: number): void;
  /** CONNECT: `answer` gets null once the tunnel stands (its bytes follow), or the refusal. */
  tunnel(departure: Departure, authority: string, client: Duplex, head: Buffer, answer: (refusal: Refusal | null) => void): void;
  /** Counts, logs and resets a connection that is refused. */
  drop(departure: Departure, reason: Reason, detail: string): void;
}

/** Endpoints tried for one connection before it is given up. */
const MAX_ATTEMPTS = 3;

/** A connection that stands, and the endpoint that it is charged to; null for one out of the mesh. */
interface Arrived {
  readonly stream: Duplex;
  readonly charge: OpaqueCharge | null;
}

/** Makes the opaque side. */
export function createOutboundTcp(parts: OutboundTcpParts): OutboundTcp {
  const { observer, clock, discovery, upstreams } = parts;

  /** CONNECT: a tunnel to a mesh service, or out of the mesh. */
  const tunnel: OutboundTcp["tunnel"] = (departure, authority, client, head, answer) => {
    const target = parseAuthority(authority);
    if (target === null || target.port === 0) return answer(refuse("bad_request", `CONNECT needs host:port, got "${authority}"`));
    const destination = explicitDestination(authority) as Destination;
    if (parts.leadsBack(destination)) return answer(refuse("loop_detected", `"${authority}" is this sidecar`));
    discovery.lookup(destination, (view) => {
      if (view !== null) return openTcp(view, answer, (upstream) => join(departure, client, upstream, head, view.service, target.port));
      if (parts.egress === "deny") return answer(refuse("egress_refused", authority));
      dialPlain({ host: target.host, port: target.port, timeoutMs: parts.connectTimeoutMs, clock }, (error, upstream) => {
        if (upstream === null) return answer(refuse(error?.code ?? "connect_failed", error?.message));
        answer(null);
        join(departure, client, { stream: upstream, charge: null }, head, "", target.port);
      });
    });
  };

  /** Opaque TCP to a mesh destination. */
  function relayToMesh(departure: Departure, dst: { readonly address: string; readonly port: number }, rest: Buffer | null): void {
    discovery.lookup({ kind: "address", address: dst.address, port: dst.port }, (view) => {
      if (view === null) return drop(departure, "no_endpoints", `${dst.address}:${dst.port} left the mesh`);
      const give = (problem: Refusal | null) => {
        if (problem !== null) drop(departure, problem.reason, problem.detail);
      };
      departure.socket.on("error", ignore);
      openTcp(view, give, (upstream) => {
        departure.socket.off("error", ignore);
        join(departure, departure.socket, upstream, rest, view.service, dst.port);
      });
    });
  }

  /** Dials endpoints until one accepts; `answer` gets null just before `opened`, or the last failure. Whoever is given the connection ends its charge. */
  function openTcp(
    view: DestinationView,
    answer: (refusal: Refusal | null) => void,
    opened: (upstream: Arrived) => void,
    attempt = 1,
    failedId?: string,
  ): void {
    const balancer = upstreams.balancerFor(view);
    const pick = balancer.pick(failedId);
    if (pick === null) return answer(refuse(balancer.refusal(), view.service === "" ? view.key : view.service));
    const charge = new OpaqueCharge(pick, clock, parts.connectTimeoutMs);
    upstreams.upstreamFor(pick.endpoint, "tcp").dial((error, connection) => {
      if (connection === null || connection.kind !== "mesh") {
        charge.failed();
        const reason = (error as { code?: Reason } | null)?.code ?? "connect_failed";
        if (attempt >= MAX_ATTEMPTS) return answer(refuse(reason, error?.message));
        observer.retried(reason);
        return openTcp(discovery.peek(view.key) ?? view, answer, opened, attempt + 1, pick.endpoint.id);
      }
      charge.opened();
      answer(null);
      opened({ stream: connection.mesh.socket, charge });
    });
  }

  /** Out of the mesh, untouched (design 4), or refused. */
  function leaveMesh(departure: Departure, host: string, port: number): void {
    if (parts.egress === "deny") return drop(departure, "egress_refused", `${host}:${port} is in no snapshot`);
    departure.socket.on("error", ignore);
    dialPlain({ host, port, timeoutMs: parts.connectTimeoutMs, clock }, (error, upstream) => {
      departure.socket.off("error", ignore);
      if (upstream === null) return drop(departure, error?.code ?? "connect_failed", error?.message ?? "");
      join(departure, departure.socket, { stream: upstream, charge: null }, null, "", port);
    });
  }

  function join(departure: Departure, client: Duplex, upstream: Arrived, head: Buffer | null, service: string, port: number): void {
    const { stream, charge } = upstream;
    const startedMonoMs = clock.monoMs();
    const answered = () => charge?.answered();
    relay(client, stream, { clock, idleTimeoutMs: parts.idleTimeoutMs, head, answered }, (end) => {
      charge?.over(end);
      observer.relayed({
        direction: "outbound",
        connectionId: departure.id,
        peer: departure.peer,
        port,
        service,
        durationMs: clock.monoMs() - startedMonoMs,
        end,
      });
    });
  }

  function drop(departure: Departure, reason: Reason, detail: string): void {
    observer.refused("outbound", refuse(reason, detail), departure.id, departure.peer);
    resetStream(departure.socket);
  }

  return { relayToMesh, leaveMesh, tunnel, drop };
}

function ignore(): void {}
