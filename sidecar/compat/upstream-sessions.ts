// Pooled HTTP/2 connections to one upstream (compat engine). Streams go to the least loaded connection that has room; when none has, another is
// dialled, up to a bound, and past it streams wait inside node:http2 for one to end. Streams that come while the first is dialled wait for it.
import { type ClientHttp2Session, connect } from "node:http2";
import type { Upstream, UpstreamConnection } from "../engine.ts";

/** Connections per upstream. */
const MAX_SESSIONS = 8;
/** Concurrent streams per connection before the peer's SETTINGS are known; the value most servers announce. */
const ASSUMED_CONCURRENT_STREAMS = 100;
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
  /** Callers waiting for the dial in progress; bounded by load shedding. Null exactly while none is in progress. */
  #waiting: Taken[] | null = null;

  constructor(upstream: Upstream) {
    this.upstream = upstream;
  }

  /** Gives a connection with room for one more stream. Calls back exactly once, synchronously when there is one. */
  take(done: Taken): void {
    const best = this.#leastLoaded();
    if (best !== null && (hasRoom(best) || this.#open.length >= MAX_SESSIONS)) return done(null, best);
    if (this.#waiting !== null) return void this.#waiting.push(done);
    this.#waiting = [done];
    this.upstream.dial((error, connection) => {
      const waiting = this.#waiting ?? [];
      this.#waiting = null;
      const dialled = connection === null ? null : this.#adopt(connection);
      for (const waiter of waiting) {
        if (dialled === null) waiter(error ?? new Error("no connection"), null);
        else this.take(waiter);
      }
    });
  }

  #leastLoaded(): UpstreamSession | null {
    let best: UpstreamSession | null = null;
    for (const candidate of this.#open) if (best === null || candidate.streams < best.streams) best = candidate;
    return best;
  }

  #adopt(connection: UpstreamConnection): UpstreamSession {
    const stream = connection.kind === "mesh" ? connection.mesh.socket : connection.stream;
    const session = connect("http://upstream", {
      createConnection: () => stream,
      settings: { enablePush: false, initialWindowSize: STREAM_WINDOW_BYTES },
    });
    const adopted: UpstreamSession = { session, connection, streams: 0 };
    const retire = () => {
      const index = this.#open.indexOf(adopted);
      if (index !== -1) this.#open.splice(index, 1);
    };
    session.once("connect", () => session.setLocalWindowSize(CONNECTION_WINDOW_BYTES));
    session.on("goaway", retire);
    session.on("error", retire);
    session.once("close", retire);
    session.setTimeout(IDLE_SESSION_MS, () => {
      if (adopted.streams > 0) return;
      retire();
      session.close();
    });
    this.#open.push(adopted);
    return adopted;
  }

  /** Ends all connections now. */
  destroy(): void {
    for (const { session } of [...this.#open]) session.destroy();
    this.#open.length = 0;
  }
}

function hasRoom(entry: UpstreamSession): boolean {
  return entry.streams < (entry.session.remoteSettings?.maxConcurrentStreams ?? ASSUMED_CONCURRENT_STREAMS);
}
