// One caller and instances of a callee that come and go, each a sidecar of its own with an app behind it; the test is the registry. What balancing, a rollout or a
// renewal does to calls can be seen with it.
import { systemClock } from "../../core/clock.ts";
import type { DestinationView, Discovery, Endpoint } from "../../sidecar/discovery/discovery.ts";
import { type CalleeOptions, type CallerOptions, type Side, startCallee, startCaller } from "./mesh-sides.ts";
import { createStaticIdentity, createThrowawayCa } from "./throwaway-ca.ts";

const CALLER = "spiffe://cluster.local/ns/demo/sa/web";
const CALLEE = "spiffe://cluster.local/ns/demo/sa/orders";
const HOST = "127.0.0.1";
/** How long a view leaves an endpoint out that refused a connection, as the real one, ms. */
const REFUSED_MS = 5_000;

/** Settings of all sidecars. */
export type FleetOptions = Omit<CalleeOptions, "appPort"> & CallerOptions;

/** An instance of the callee. */
export interface Instance {
  readonly id: string;
  readonly sidecar: Side;
  /** Swaps in a new leaf and message key; the registry hears of it when {@link MeshFleet.announce} is called. */
  renew(): void;
  /** What the registry says of it now. */
  endpoint(): Endpoint;
}

/** A fleet. The service is called `orders`. */
export class MeshFleet {
  readonly #t: { teardown(run: () => unknown): void };
  readonly #options: FleetOptions;
  readonly #ca = createThrowawayCa();
  readonly #callerIdentity = createStaticIdentity(this.#ca, CALLER);
  readonly #announced = new Map<string, Instance>();
  readonly #refusedUntilMonoMs = new Map<string, number>();
  #instances = 0;
  #revision = 0;
  #view: DestinationView;
  #caller: Side | null = null;

  private constructor(t: { teardown(run: () => unknown): void }, options: FleetOptions) {
    this.#t = t;
    this.#options = options;
    this.#view = { key: "service/orders/0", service: "demo/orders", protocol: options.protocol ?? "grpc", endpoints: [], version: 0 };
  }

  /** A caller, and nobody to call yet. */
  static async start(t: { teardown(run: () => unknown): void }, options: FleetOptions = {}): Promise<MeshFleet> {
    const fleet = new MeshFleet(t, { protocol: "grpc", ...options });
    const caller = await startCaller(fleet.#callerIdentity, fleet.#discovery(), fleet.#options);
    fleet.#caller = caller;
    t.teardown(() => caller.close());
    return fleet;
  }

  /** The caller's sidecar. */
  get caller(): Side {
    return this.#caller as Side; // set before anybody gets the fleet
  }

  /** Starts a sidecar for the app at `appPort`, and announces it. */
  async add(appPort: number): Promise<Instance> {
    const identity = createStaticIdentity(this.#ca, CALLEE);
    const sidecar = await startCallee(identity, { ...this.#options, appPort });
    this.#t.teardown(() => sidecar.close());
    const id = `orders-${this.#instances}`;
    this.#instances += 1;
    const endpoint = (): Endpoint => ({
      id: `${id}:${appPort}`,
      instanceId: id,
      identity: identity.identity,
      address: HOST,
      port: appPort,
      inboundPort: sidecar.port,
      protocol: this.#view.protocol,
      messageCertificate: identity.current().messageCertificate,
      version: "0",
      state: "ready",
    });
    const instance: Instance = { id, sidecar, renew: () => identity.renew(), endpoint };
    this.announce(instance);
    return instance;
  }

  /** The registry has heard of an instance, or anew. */
  announce(instance: Instance): void {
    this.#announced.set(instance.id, instance);
    this.#refusedUntilMonoMs.delete(instance.endpoint().id);
    this.#change();
  }

  /** The registry has heard that an instance takes no more. */
  withdraw(instance: Instance): void {
    this.#announced.delete(instance.id);
    this.#change();
  }

  /** Swaps in a new leaf and message key of the caller. */
  renewCaller(): void {
    this.#callerIdentity.renew();
  }

  #change(): void {
    const nowMonoMs = systemClock.monoMs();
    const endpoints = [...this.#announced.values()]
      .map((instance) => instance.endpoint())
      .filter(({ id }) => (this.#refusedUntilMonoMs.get(id) ?? 0) <= nowMonoMs);
    this.#revision += 1;
    this.#view = { ...this.#view, endpoints, version: this.#view.version + 1 };
  }

  #discovery(): Discovery {
    const view = () => this.#view;
    return {
      lookup: (destination, done) => done(destination.kind === "service" && destination.name === "orders" ? view() : null),
      revision: () => this.#revision,
      peek: view,
      markRefused: ({ id }) => {
        this.#refusedUntilMonoMs.set(id, systemClock.monoMs() + REFUSED_MS);
        this.#change();
        const back = setTimeout(() => this.#change(), REFUSED_MS + 1);
        this.#t.teardown(() => clearTimeout(back));
      },
      heartbeatAgeMs: () => 0,
      setState: () => {},
      deregister: async () => {},
      close: async () => {},
    };
  }
}
