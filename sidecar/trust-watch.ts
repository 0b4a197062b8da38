// What becomes of open mesh connections when a root is removed (design 6, 7): none outlives the trust it was opened with. The calling side goes first, since it
// knows when a request begins: its next requests take new connections. The called side asks those who have not heard to leave, and later both cut off what is left.
import type { TLSSocket } from "node:tls";
import type { Clock, Timer } from "../core/clock.ts";
import { findPeerRoot } from "../core/x509/verify-peer.ts";
import type { Observer } from "./admin/observer.ts";
import type { IdentitySource } from "./identity/identity-source.ts";
import { trustReport } from "./identity/trust-report.ts";

/** Every sidecar hears of a removal at the same moment; handshakes are spread over this time. */
const SPREAD_MS = 5_000;
/** Peers have had {@link SPREAD_MS} to leave by themselves, and as long for what they had under way, before they are asked to. */
const ASKED_AFTER_MS = 2 * SPREAD_MS;

/** Open mesh connections of one sidecar. */
export interface TrustWatch {
  /** Grows when connections made before are to take no further request. */
  generation(): number;
  /** A connection that this side has opened. */
  dialled(socket: TLSSocket): void;
  /** A connection of a peer; `leave` asks the peer to send nothing further on it. */
  accepted(socket: TLSSocket, leave: () => void): void;
  close(): void;
}

interface OpenConnection {
  /** Asks the peer to leave; null for a connection of our own. */
  readonly leave: (() => void) | null;
  /** `rootIdOf` the root that our own certificate chained to when it was opened. */
  readonly ownRoot: string;
}

/** Parts of {@link createTrustWatch}. */
export interface TrustWatchParts {
  readonly identity: IdentitySource;
  /** Time for what is under way on a connection that is to end. */
  readonly drainTimeoutMs: number;
  readonly clock: Clock;
  /** 0..1 */
  readonly random: () => number;
  readonly observer: Pick<Observer, "distrusted">;
}

/** Watches until `close`. Holds one entry for each open connection. */
export function createTrustWatch(parts: TrustWatchParts): TrustWatch {
  const { identity, clock, observer } = parts;
  const open = new Map<TLSSocket, OpenConnection>();
  const timers = new Set<Timer>();
  let generation = 0;
  let roots = identity.current().roots;

  const stop = identity.onChange((credentials) => {
    const before = roots;
    roots = credentials.roots;
    if (before.some((root) => !roots.some((one) => one.raw.equals(root.raw)))) retireConnections();
  });

  function retireConnections(): void {
    const turnMs = SPREAD_MS * parts.random();
    later(turnMs, () => {
      generation += 1;
    });
    later(ASKED_AFTER_MS, () => {
      const leaving = untrusted();
      for (const [, { leave }] of leaving) leave?.();
      if (leaving.length > 0) observer.distrusted(leaving.length, "asked");
    });
    later(ASKED_AFTER_MS + parts.drainTimeoutMs, () => {
      const left = untrusted();
      for (const [socket] of left) socket.destroy();
      if (left.length > 0) observer.distrusted(left.length, "cut");
    });
  }

  /** Of which either end's certificate is of no root that is trusted now. */
  function untrusted(): readonly (readonly [TLSSocket, OpenConnection])[] {
    const rules = { trustDomain: identity.trustDomain, nowMs: clock.nowMs(), roots };
    const ids = trustReport(identity.current(), rules).trustedRoots;
    return [...open].filter(([socket, { ownRoot }]) => !ids.includes(ownRoot) || findPeerRoot(socket, rules) === null);
  }

  function later(delayMs: number, run: () => void): void {
    const timer = clock.after(delayMs, () => {
      timers.delete(timer);
      run();
    });
    timers.add(timer);
  }

  function watch(socket: TLSSocket, leave: (() => void) | null): void {
    if (socket.destroyed) return;
    const rules = { trustDomain: identity.trustDomain, nowMs: clock.nowMs() };
    open.set(socket, { leave, ownRoot: trustReport(identity.current(), rules).issuedByRoot });
    socket.once("close", () => open.delete(socket));
  }

  return {
    generation: () => generation,
    dialled: (socket) => watch(socket, null),
    accepted: watch,
    close() {
      stop();
      for (const timer of timers) timer.cancel();
      open.clear();
    },
  };
}
