// Where a connection's last request went: its next one mostly goes there, too, and finds the view and the balancer without a look-up while nothing has
// changed. Asks again each second all the same, so that discovery knows what is in use.
import type { Destination, DestinationView, Discovery, Endpoint } from "./discovery/discovery.ts";
import type { MeshUpstreams } from "./mesh-upstreams.ts";
import type { Balancer } from "./resilience/balancer.ts";

/** Longest time without asking, ms. */
const TRUSTED_MS = 1_000;

/** Takes a route: null for a destination in no snapshot. */
export type OnRoute = (view: DestinationView | null, balancer: Balancer<Endpoint> | null) => void;

/** The last route of one connection. */
export class RecentRoute {
  readonly #discovery: Discovery;
  readonly #upstreams: MeshUpstreams;
  #destination: Destination | null = null;
  #view: DestinationView | null = null;
  #balancer: Balancer<Endpoint> | null = null;
  #revision = 0;
  #untilMonoMs = 0;

  constructor(discovery: Discovery, upstreams: MeshUpstreams) {
    this.#discovery = discovery;
    this.#upstreams = upstreams;
  }

  /** Finds the way to `destination`; calls back at once when it is known, else later. The same object is the same destination. */
  find(destination: Destination, nowMonoMs: number, done: OnRoute): void {
    if (destination === this.#destination && this.#revision === this.#discovery.revision && nowMonoMs < this.#untilMonoMs)
      return done(this.#view, this.#balancer);
    this.#discovery.lookup(destination, (view) => {
      this.#destination = destination;
      this.#view = view;
      this.#balancer = view === null ? null : this.#upstreams.balancerFor(view);
      this.#revision = this.#discovery.revision;
      this.#untilMonoMs = nowMonoMs + TRUSTED_MS;
      done(view, this.#balancer);
    });
  }
}
