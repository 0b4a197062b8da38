// Where a connection's last request went: its next one mostly goes there, too, and finds the view and the balancer without a look-up while nothing has
// changed. Asks again each second all the same, so that discovery knows what is in use.
import type { Destination, DestinationView, Discovery } from "./discovery/discovery.ts";
import type { MeshDestination, MeshUpstreams } from "./mesh-upstreams.ts";

/** Longest time without asking, ms. */
const TRUSTED_MS = 1_000;

/** A way to a destination. */
export interface Route {
  readonly view: DestinationView;
  /** Brought up to date with the view. */
  readonly destination: MeshDestination;
}

/** The last route of one connection. */
export class RecentRoute {
  readonly #discovery: Discovery;
  readonly #upstreams: MeshUpstreams;
  #destination: Destination | null = null;
  #route: Route | null = null;
  #revision = 0;
  #untilMonoMs = 0;

  constructor(discovery: Discovery, upstreams: MeshUpstreams) {
    this.#discovery = discovery;
    this.#upstreams = upstreams;
  }

  /** The way to `destination` as far as it is known already: null for one in no snapshot, undefined when `find` has to ask. The same object is the same destination. */
  known(destination: Destination, nowMonoMs: number): Route | null | undefined {
    const isKnown = destination === this.#destination && this.#revision === this.#discovery.revision() && nowMonoMs < this.#untilMonoMs;
    return isKnown ? this.#route : undefined;
  }

  /** Asks for the way to `destination`, and remembers it; null for one in no snapshot. Calls back at once, or later. */
  find(destination: Destination, nowMonoMs: number, done: (route: Route | null) => void): void {
    this.#discovery.lookup(destination, (view) => {
      this.#destination = destination;
      this.#route = view === null ? null : { view, destination: this.#upstreams.destinationFor(view) };
      this.#revision = this.#discovery.revision();
      this.#untilMonoMs = nowMonoMs + TRUSTED_MS;
      done(this.#route);
    });
  }
}
