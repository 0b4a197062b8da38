// Pooled HTTP/1.1 connections to one upstream, as the http.Agent that http-proxy wants. A connection is dialled *before* a request is handed
// over (`prepare`), so that a refused connection loses nothing of its body and another endpoint can be tried.
import { Agent, type ClientRequestArgs } from "node:http";
import type { Duplex } from "node:stream";
import type { Clock } from "../../core/clock.ts";
import type { Upstream, UpstreamConnection } from "../engine.ts";

/** Idle time after which a pooled connection is closed, ms; below the 75 s that nginx and most servers keep theirs. */
const IDLE_CONNECTION_MS = 30_000;
/** How long a dialled connection waits for its request, ms; whoever it was for may have left. Below any server's time for a first head. */
const UNTAKEN_MS = 3_000;
/** Idle connections kept per upstream; more are closed when they fall idle. */
const MAX_IDLE_CONNECTIONS = 256;

type ConnectionDone = (error: Error | null, stream: Duplex) => void;

/** One upstream's pool. The number of open connections is bounded by load shedding, as each carries one request. */
export class UpstreamAgent extends Agent {
  /** Replaced when the same endpoint is seen with new details. */
  upstream: Upstream;
  /** Dialled by `prepare` and not yet taken. */
  readonly #ready: Duplex[] = [];
  readonly #clock: Clock;

  constructor(upstream: Upstream, clock: Clock) {
    super({ keepAlive: true, timeout: IDLE_CONNECTION_MS, maxFreeSockets: MAX_IDLE_CONNECTIONS, scheduling: "lifo" });
    this.upstream = upstream;
    this.#clock = clock;
  }

  /** Makes sure that the next request finds a connection. The error says why none could be made. */
  prepare(done: (error: Error | null) => void): void {
    if (this.#hasFreeConnection()) return done(null);
    this.upstream.dial((error, connection) => {
      if (connection === null) return done(error ?? new Error("no connection"));
      const stream = streamOf(connection);
      // It may break while it waits; whoever takes it listens for himself.
      stream.on("error", () => {});
      this.#keepReady(stream);
      done(null);
    });
  }

  #keepReady(stream: Duplex): void {
    this.#ready.push(stream);
    const timer = this.#clock.after(UNTAKEN_MS, () => {
      if (this.#ready.includes(stream)) stream.destroy();
    });
    stream.once("close", () => {
      timer.cancel();
      const index = this.#ready.indexOf(stream);
      if (index !== -1) this.#ready.splice(index, 1);
    });
  }

  #hasFreeConnection(): boolean {
    if (this.#ready.some((stream) => !stream.destroyed)) return true;
    for (const name in this.freeSockets) if ((this.freeSockets[name]?.length ?? 0) > 0) return true;
    return false;
  }

  override createConnection(_options: ClientRequestArgs, done?: ConnectionDone): Duplex | undefined {
    let stream = this.#ready.shift();
    while (stream?.destroyed) stream = this.#ready.shift();
    if (stream !== undefined) return stream;
    this.upstream.dial((error, connection) => {
      if (connection === null) done?.(error ?? new Error("no connection"), undefined as never);
      else done?.(null, streamOf(connection));
    });
    return undefined;
  }

  override destroy(): void {
    for (const stream of this.#ready) stream.destroy();
    this.#ready.length = 0;
    super.destroy();
  }
}

function streamOf(connection: UpstreamConnection): Duplex {
  return connection.kind === "mesh" ? connection.mesh.socket : connection.stream;
}
