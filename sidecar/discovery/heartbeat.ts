// The sidecar's heartbeat (design 8): tells the registry that the instance is there, in which state and how busy, in the interval the registry
// asks for, ± 20 %. It owns the timing and what was accepted last; the stream below it comes and goes.
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { Clock, Timer } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Counter } from "../../core/metrics.ts";
import type { HeartbeatRequest, HeartbeatResponse } from "../../core/wire/registry.ts";
import { startControlStream } from "./control-stream.ts";
import { type PortProtocol, wireProtocol } from "../../core/wire/port-protocol.ts";
import type { InstanceState } from "./discovery.ts";
import { wireState } from "./wire-endpoint.ts";

const FIRST_INTERVAL_MS = 5000;
const INTERVAL_LEAST_MS = 100;
const INTERVAL_MOST_MS = 60_000;
const JITTER = 0.2;
const BACKOFF_MOST_MS = 3000;
/**
 * Share of the lease that the backoff may take: a registry that comes back gives everybody one lease to say that they live, in which this one, that of the channel
 * below it, and a handshake have to fit.
 */
const BACKOFF_RATIO = 1 / 5;
/** Until the registry says. */
export const FIRST_LEASE_MS = 15_000;
/** Share of the lease that an answer may take; then the connection is taken for dead. Interval, patience and a new connection fit into one lease. */
const PATIENCE_RATIO = 1 / 4;
const PATIENCE_LEAST_MS = 1000;
/** Patience doubles with each connection that stayed silent, so that a registry that is only slow is not drowned in new ones. */
const MAX_DOUBLINGS = 4;
const FAREWELL_TIMEOUT_MS = 1000;

/** What a sidecar says about itself; the same in every heartbeat. */
export interface Self {
  /** The pod UID, or a name that is unique to this process. */
  readonly instanceId: string;
  /** Start of this process, epoch ms. */
  readonly epoch: number;
  /** Service names, DNS labels. */
  readonly services: readonly string[];
  /** IP literals, the preferred one first. */
  readonly addresses: readonly string[];
  readonly ports: readonly { readonly number: number; readonly protocol: PortProtocol; readonly name: string }[];
  /** 0 in transparent capture. */
  readonly inboundPort: number;
  readonly version: string;
  readonly channel: string;
}

/** How busy it is now. */
export interface SelfLoad {
  readonly inFlight: number;
  readonly rps: number;
  readonly p99Ms: number;
  /** 0..1 */
  readonly errorRatio: number;
  /** Since `epoch`, never falling: finished inbound requests, those that failed, and refusals of both directions. */
  readonly requests: number;
  readonly errors: number;
  readonly refused: number;
}

/** Settings of {@link startHeartbeat}. */
export interface HeartbeatOptions {
  readonly open: () => ClientDuplexStream<HeartbeatRequest, HeartbeatResponse>;
  readonly self: Self;
  readonly load: () => SelfLoad;
  /** The certificates in use now. */
  readonly credentials: () => { readonly expiresAtMs: number; readonly messageCertificate: Buffer };
  /** The root of the leaf in use, and all that are believed, by `rootIdOf`. */
  readonly trust: () => { readonly issuedByRoot: string; readonly trustedRoots: readonly string[] };
  readonly answers: Counter;
  /** The registry does not answer on a connection that is open: restart this over a new one. */
  readonly onSilent: () => void;
  /** The registry grants leases of another length than before; default: nobody hears. */
  readonly onLease?: (leaseMs: number) => void;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger;
}

/** A running heartbeat. */
export interface Heartbeat {
  setState(state: InstanceState): void;
  ageMs(): number;
  /** Goes on over a new channel. */
  restart(): void;
  /** Says that the instance leaves; no heartbeat follows. Resolves when that was answered, or after a second. */
  leave(): Promise<void>;
  close(): void;
}

/** How long to wait at most before another try to reach the registry, ms. */
export function backoffMostMs(leaseMs: number): number {
  return Math.min(BACKOFF_MOST_MS, leaseMs * BACKOFF_RATIO);
}

/** Starts as `starting`. */
export function startHeartbeat(options: HeartbeatOptions): Heartbeat {
  const { self, clock, random, log } = options;
  let state: InstanceState = "starting";
  let intervalMs = FIRST_INTERVAL_MS;
  let acceptedMonoMs = clock.monoMs();
  let leaseMs = FIRST_LEASE_MS;
  /** Connections in a row that stayed silent. */
  let silences = 0;
  /** When the oldest heartbeat left that has no answer; null exactly while none waits for one. */
  let askedMonoMs: number | null = null;
  let patience: Timer | null = null;
  let lastRefusal = "";
  let leaving: (() => void) | null = null;
  let timer = clock.after(jittered(), beatNow);
  const stream = startControlStream<HeartbeatRequest, HeartbeatResponse>({
    name: "heartbeat",
    open: options.open,
    onOpen: () => queueMicrotask(beatNow),
    onMessage: answered,
    onDown: rest,
    backoffMostMs: () => backoffMostMs(leaseMs),
    clock,
    random,
    log,
  });

  /** Nothing is due and nothing is waited for. */
  function rest(): void {
    timer.cancel();
    patience?.cancel();
    askedMonoMs = null;
  }

  function jittered(): number {
    return intervalMs * (1 - JITTER + 2 * JITTER * random());
  }

  function beatNow(): void {
    timer.cancel();
    if (leaving !== null) return;
    if (stream.send(message(false)) && askedMonoMs === null) waitForAnswer();
    timer = clock.after(jittered(), beatNow);
  }

  function waitForAnswer(): void {
    askedMonoMs = clock.monoMs();
    patience = clock.after(patienceMs() * 2 ** silences, giveUp);
  }

  function patienceMs(): number {
    return Math.max(PATIENCE_LEAST_MS, leaseMs * PATIENCE_RATIO);
  }

  function giveUp(): void {
    log.warn({ silentMs: Math.round(clock.monoMs() - (askedMonoMs ?? 0)) }, "the registry does not answer; connecting anew");
    silences = Math.min(silences + 1, MAX_DOUBLINGS);
    options.onSilent();
  }

  /** Patience stays with a registry that answers late: another connection would not be faster. */
  function noteAnswer(): void {
    patience?.cancel();
    if (askedMonoMs !== null && clock.monoMs() - askedMonoMs < patienceMs() / 2) silences = 0;
    askedMonoMs = null;
  }

  function message(leave: boolean): HeartbeatRequest {
    const { expiresAtMs, messageCertificate } = options.credentials();
    const { issuedByRoot, trustedRoots } = options.trust();
    return {
      ...self,
      ports: self.ports.map(({ number, protocol, name }) => ({ number, protocol: wireProtocol(protocol), name })),
      certExpiresAtMs: expiresAtMs,
      state: wireState(state),
      load: options.load(),
      messageCertificate,
      leaving: leave,
      issuedByRoot: Buffer.from(issuedByRoot, "hex"),
      trustedRoots: trustedRoots.map((id) => Buffer.from(id, "hex")),
    };
  }

  function answered({ accepted, reason, message: text, nextIntervalMs, leaseMs: granted }: HeartbeatResponse): void {
    noteAnswer();
    if (granted > 0) takeLease(granted);
    options.answers.inc({ outcome: accepted ? "accepted" : "refused" });
    if (leaving !== null) {
      leaving();
      return;
    }
    if (nextIntervalMs > 0) takeInterval(Math.min(Math.max(nextIntervalMs, INTERVAL_LEAST_MS), INTERVAL_MOST_MS));
    if (accepted) acceptedMonoMs = clock.monoMs();
    const refusal = accepted ? "" : `${reason}: ${text}`;
    if (refusal !== lastRefusal && refusal !== "") log.error({ reason, message: text }, "the registry refuses this instance");
    if (refusal === "" && lastRefusal !== "") log.info({}, "the registry accepts this instance again");
    lastRefusal = refusal;
  }

  function takeLease(grantedMs: number): void {
    if (grantedMs === leaseMs) return;
    leaseMs = grantedMs;
    options.onLease?.(leaseMs);
  }

  function takeInterval(nextMs: number): void {
    if (nextMs === intervalMs) return;
    intervalMs = nextMs;
    timer.cancel();
    timer = clock.after(jittered(), beatNow);
  }

  return {
    setState(next) {
      if (next === state) return;
      state = next;
      beatNow();
    },
    ageMs: () => clock.monoMs() - acceptedMonoMs,
    restart: () => stream.restart(),
    leave() {
      return new Promise((resolve) => {
        rest();
        const farewell = clock.after(FAREWELL_TIMEOUT_MS, resolve);
        leaving = () => {
          farewell.cancel();
          resolve();
        };
        if (!stream.send(message(true))) leaving();
      });
    },
    close() {
      rest();
      stream.close();
    },
  };
}
