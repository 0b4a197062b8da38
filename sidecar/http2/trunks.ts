// The calling side of trunks: the HTTP/2 connections to one mesh peer that carry connections of HTTP/1.1 as streams. Few: what shares one shares its system calls and
// TLS records; a further one is asked for when those that are open carry many. Dialling is the business of the pool that the connections are for.
import type { UpstreamConnection as Dialled, Upstream } from "../engine.ts";
import { NO_EDIT, NO_FIELDS } from "../fields.ts";
import type { Wire, WireOwner } from "../transport/wire.ts";
import type { ConnectionEngine } from "./connection.ts";
import { StreamWire } from "./stream-wire.ts";
import { CARRIED_PROTOCOL } from "./trunk.ts";
import { type ConnectionKeeper, UpstreamConnection } from "./upstream-connection.ts";

/** Trunks to one upstream on which connections are opened. */
const MAX_TRUNKS = 8;
/** Connections on each open trunk from which on another one is wanted. */
const BUSY_STREAMS = 128;
/** A peer that never says what it allows is taken to allow everything, ms. */
const SETTINGS_WAIT_MS = 1_000;
/** Octets of the pseudo-header fields beyond the authority. */
const PSEUDO_BYTES = 256;

/** The trunks to one upstream. */
export class Trunks implements ConnectionKeeper {
  readonly #engine: ConnectionEngine;
  readonly #upstream: () => Upstream;
  /** Connections on one of them should be let go of. */
  readonly #onLeaving: () => void;
  /** All that are not closed yet; those of them that connections may be opened on. */
  readonly #all = new Set<CarryingConnection>();
  readonly #ready: CarryingConnection[] = [];

  constructor(engine: ConnectionEngine, upstream: () => Upstream, onLeaving: () => void) {
    this.#engine = engine;
    this.#onLeaving = onLeaving;
    this.#upstream = upstream;
  }

  get isEmpty(): boolean {
    return this.#all.size === 0;
  }

  /** True when one more would be of use. */
  get wantsMore(): boolean {
    return this.#ready.length < MAX_TRUNKS && (this.#leastLoaded()?.streams.size ?? BUSY_STREAMS) >= BUSY_STREAMS;
  }

  /** Takes a connection whose peer agreed to carry. */
  adopt(dialled: Dialled): void {
    const trunk = new CarryingConnection(dialled, this.#engine, this);
    this.#all.add(trunk);
    this.#ready.push(trunk);
    trunk.wire.stream.once("close", () => this.#all.delete(trunk));
    trunk.start();
  }

  get hasRoom(): boolean {
    return this.#leastLoaded() !== null;
  }

  /** Opens a connection for `owner`. Only while there {@link hasRoom}. */
  open(owner: WireOwner): Wire {
    const trunk = this.#leastLoaded() as CarryingConnection;
    return trunk.openFor(owner, this.#upstream().address);
  }

  #leastLoaded(): CarryingConnection | null {
    let best: CarryingConnection | null = null;
    for (const trunk of this.#ready) if (trunk.hasRoom && (best === null || trunk.streams.size < best.streams.size)) best = trunk;
    return best;
  }

  onReady(): void {}

  onRoom(): void {}

  onFlood(kind: string): void {
    this.#upstream().flooded?.(kind);
  }

  onRetired(trunk: UpstreamConnection): void {
    const index = this.#ready.indexOf(trunk as CarryingConnection);
    if (index === -1) return;
    this.#ready.splice(index, 1);
    this.#onLeaving();
  }

  /** Closes what has carried nothing for `idleMs`. */
  sweep(idleMs: number): void {
    for (const trunk of [...this.#all]) trunk.check(idleMs, SETTINGS_WAIT_MS);
  }

  close(): void {
    for (const trunk of [...this.#all]) trunk.destroy();
  }
}

/** One trunk to an upstream. */
class CarryingConnection extends UpstreamConnection {
  readonly #atWork: { size: number };

  constructor(dialled: Dialled, engine: ConnectionEngine, keeper: ConnectionKeeper) {
    const atWork = { size: 0 };
    super(dialled, engine, keeper, atWork);
    this.#atWork = atWork;
  }

  /** Opens a stream, which may be written to at once. */
  openFor(owner: WireOwner, authority: string): Wire {
    const wire = new StreamWire(owner, this.#atWork);
    const stream = this.open(wire);
    wire.carry(stream);
    const { heads } = this;
    heads.begin(NO_FIELDS, NO_EDIT, PSEUDO_BYTES + authority.length);
    heads.repeated(":method", "CONNECT");
    heads.repeated(":protocol", CARRIED_PROTOCOL);
    heads.repeated(":scheme", "http");
    heads.repeated(":authority", authority);
    heads.repeated(":path", "/");
    heads.end(stream.id, false);
    return wire;
  }
}
