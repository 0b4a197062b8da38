// Pooled HTTP/2 connections to one upstream (compat engine). Streams go to the least loaded connection that has room; when none has, another is
// dialled, up to a bound, and past it streams wait inside node:http2 for one to end. Streams that come while the first is dialled wait for it.
import { type ClientHttp2Session, connect } from "node:http2";
import type { Socket } from "node:net";
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import { ProtocolError } from "../../core/errors.ts";
import type { Upstream, UpstreamConnection } from "../engine.ts";

/** Connections per upstream. */
const MAX_SESSIONS = 8;
/** Longest wait for a new peer's SETTINGS, ms: a stream beyond what it announces would be refused. */
const SETTINGS_WAIT_MS = 1_000;
/** How often a connection with open streams is looked at: when nothing came since, it is pinged, and a time later it is given up, ms. */
const LIFE_CHECK_MS = 10_000;
/** Idle time after which a connection is closed, ms. */
const IDLE_SESSION_MS = 60_000;
/** Receive windows, bytes: one stream may have this much unread, one connection four times as much. */
export const STREAM_WINDOW_BYTES = 1024 * 1024;
export const CONNECTION_WINDOW_BYTES = 4 * STREAM_WINDOW_BYTES;

/** One open connection to the upstream. */
export interface UpstreamSession {
  readonly session: ClientHttp2Session;
  readonly connection: UpstreamConnection;
  /** Streams opened on it and not closed. */
  streams: number;
}

type Taken = (error: Error | null, session: UpstreamSession | null) => void;

/** The connections to one upstream. */
export class UpstreamSessions {
  upstream: Upstream;
  readonly #open: UpstreamSession[] = [];
  /** Connections whose peer has not sent its SETTINGS yet. */
  readonly #starting = new Set<ClientHttp2Session>();
  /** Callers waiting for the dial in progress; bounded by load shedding. Null exactly while none is in progress. */
  #waiting: Taken[] | null = null;
  readonly #clock: Clock;

  constructor(upstream: Upstream, clock: Clock) {
    this.upstream = upstream;
    this.#clock = clock;
  }

  /** Gives a connection with room for one more stream. Calls back exactly once, synchronously when there is one. */
  take(done: Taken): void {
    const best = this.#leastLoaded();
    if (best !== null && (hasRoom(best) || this.#open.length >= MAX_SESSIONS)) return done(null, best);
    if (this.#waiting !== null) return void this.#waiting.push(done);
    this.#waiting = [done];
    this.upstream.dial((error, connection) => {
      if (connection === null) return this.#settle(error ?? new Error("no connection"));
      this.#adopt(connection, (problem) => this.#settle(problem));
    });
  }

  #settle(error: Error | null): void {
    const waiting = this.#waiting ?? [];
    this.#waiting = null;
    for (const waiter of waiting) {
      if (error !== null) waiter(error, null);
      else this.take(waiter);
    }
  }

  #leastLoaded(): UpstreamSession | null {
    let best: UpstreamSession | null = null;
    for (const candidate of this.#open) {
      if (candidate.session.closed || candidate.session.destroyed) continue;
      if (best === null || candidate.streams < best.streams) best = candidate;
    }
    return best;
  }

  /** Takes a new connection over; `ready` is called once, when the peer's SETTINGS have come, are overdue, or never will. */
  #adopt(connection: UpstreamConnection, ready: (problem: Error | null) => void): void {
    const stream = connection.kind === "mesh" ? connection.mesh.socket : connection.stream;
    const session = connect("http://upstream", {
      createConnection: () => stream,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    const adopted: UpstreamSession = { session, connection, streams: 0 };
    this.#starting.add(session);
    let isReady = false;
    const begin = (problem: Error | null) => {
      if (isReady) return;
      isReady = true;
      settingsTimer.cancel();
      this.#starting.delete(session);
      if (problem === null) this.#open.push(adopted);
      ready(problem);
    };
    const settingsTimer = this.#clock.after(SETTINGS_WAIT_MS, () => begin(null));
    const stopWatching = watchLife(adopted, stream, this.#clock);
    const retire = () => {
      const index = this.#open.indexOf(adopted);
      if (index !== -1) this.#open.splice(index, 1);
    };
    session.once("connect", () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.on("goaway", retire);
    session.on("error", retire);
    // Without a listener here, Node 26 says nothing of a head that could not be sent (GOAWAY came first), and its stream never ends.
    session.on("frameError", retire);
    // Our sockets may be half-open, which HTTP/2 cannot be: without this, streams would wait for ever on a peer that has ended.
    stream.once("end", () => stream.destroy());
    session.once("remoteSettings", () => begin(null));
    session.once("close", () => {
      retire();
      stopWatching();
      begin(new ProtocolError("upstream_reset", "the connection ended before its SETTINGS came"));
    });
    session.setTimeout(IDLE_SESSION_MS, () => {
      if (adopted.streams > 0) return;
      retire();
      session.close();
    });
  }

  /** Ends all connections now. */
  destroy(): void {
    for (const { session } of [...this.#open]) session.destroy();
    for (const session of this.#starting) session.destroy();
    this.#open.length = 0;
  }
}

function hasRoom(entry: UpstreamSession): boolean {
  return entry.streams < (entry.session.remoteSettings?.maxConcurrentStreams ?? Number.POSITIVE_INFINITY);
}

/** Ends a connection whose peer vanished without a word, which TCP alone would notice after a quarter of an hour. Gives what stops it. */
function watchLife(watched: UpstreamSession, stream: Duplex, clock: Clock): () => void {
  const { session } = watched;
  let seenBytes = -1;
  let pinged = false;
  let timer = clock.after(LIFE_CHECK_MS, check);

  function check(): void {
    timer = clock.after(LIFE_CHECK_MS, check);
    const bytes = (stream as Partial<Socket>).bytesRead ?? 0;
    const isSilent = bytes === seenBytes && watched.streams > 0;
    seenBytes = bytes;
    if (!isSilent) pinged = false;
    else if (pinged)
      session.destroy(new ProtocolError("timeout", `nothing came for ${(2 * LIFE_CHECK_MS) / 1000} s, not even a PING's answer`));
    else pinged = session.ping(() => {});
  }

  return () => timer.cancel();
}
