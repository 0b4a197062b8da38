// The mesh destinations that this sidecar talks to: one balancer, retry budget and list of routes per destination, one upstream per endpoint and protocol. All
// are made on first use and kept while their destination is; which endpoint a request takes is the balancer's word, when to try another is the caller's.
import { LRUCache } from "lru-cache";
import type { Clock } from "../core/clock.ts";
import type { Observer } from "./admin/observer.ts";
import { isOwnAddress, type OwnListeners } from "./capture/loop-guard.ts";
import type { DestinationView, Discovery, Endpoint } from "./discovery/discovery.ts";
import type { Engine, Upstream } from "./engine.ts";
import type { DestinationRoutes, Routes } from "./policy/routes.ts";
import { type Balancer, createBalancer } from "./resilience/balancer.ts";
import type { BreakerSettings } from "./resilience/breaker.ts";
import { RetryBudget, type RetryBudgetSettings } from "./resilience/retry-budget.ts";
import type { MeshDialer } from "./transport/mesh-dial.ts";
import type { TrustWatch } from "./trust-watch.ts";

/** Destinations kept; the least recently used one is forgotten, with what was learned of it. */
const MAX_DESTINATIONS = 4096;

type MeshProtocol = "http1" | "http2" | "tcp";

/** What is offered to a peer, by what is to be spoken. One that knows no trunks takes HTTP/1.1 as it is. */
const OFFERED = {
  http1: ["remora/h1"],
  http2: ["remora/h2"],
  tcp: ["remora/tcp"],
  trunk: ["remora/h1-streams", "remora/h1"],
} as const;

/** What mesh upstreams are made of. */
export interface MeshUpstreamParts {
  readonly own: OwnListeners;
  /** Where this sidecar's own inbound side listens: a call to the own service goes there directly, as iptables leave our uid alone. */
  readonly inboundPort: number;
  readonly discovery: Discovery;
  readonly dialer: MeshDialer;
  /** Pools are of its generation: when that grows, requests take new connections. */
  readonly trust: Pick<TrustWatch, "generation" | "dialled">;
  readonly engine: Pick<Engine, "knowsTrunks">;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly random: () => number;
  readonly routes: Routes;
  /** Default: `DEFAULT_BREAKER`. */
  readonly breaker?: Partial<BreakerSettings>;
  /** Default: `DEFAULT_RETRY_BUDGET`. */
  readonly retryBudget?: RetryBudgetSettings;
}

/** What is known of a destination. The same object as long as it is kept. */
export interface MeshDestination {
  readonly balancer: Balancer<Endpoint>;
  readonly budget: RetryBudget;
  readonly routes: DestinationRoutes;
}

/** Gives destinations and upstreams. */
export interface MeshUpstreams {
  /** What is known of a destination, its balancer brought up to date with `view`. */
  destinationFor(view: DestinationView): MeshDestination;
  /** The balancer of a destination, brought up to date with `view`. */
  balancerFor(view: DestinationView): Balancer<Endpoint>;
  /** The upstream of an endpoint: the same object as long as the endpoint and the generation of trust are. A refused connection takes the endpoint out of its views. */
  upstreamFor(endpoint: Endpoint, protocol: MeshProtocol): Upstream;
}

/** Makes them. */
export function createMeshUpstreams(parts: MeshUpstreamParts): MeshUpstreams {
  const { observer, clock, discovery, trust } = parts;
  const destinations = new LRUCache<string, MeshDestination & { endpoints: readonly Endpoint[] }>({ max: MAX_DESTINATIONS });
  let upstreams = new WeakMap<Endpoint, Map<MeshProtocol, Upstream>>();
  let generation = trust.generation();

  function destinationFor(view: DestinationView): MeshDestination {
    let entry = destinations.get(view.key);
    if (entry === undefined) {
      entry = {
        balancer: createBalancer<Endpoint>({
          clock,
          random: parts.random,
          ...(parts.breaker === undefined ? {} : { breaker: parts.breaker }),
          breakerChanged: observer.breakerChanged,
        }),
        budget: new RetryBudget(parts.retryBudget),
        routes: parts.routes.of(view.service),
        endpoints: [],
      };
      destinations.set(view.key, entry);
    }
    if (entry.endpoints !== view.endpoints) {
      entry.endpoints = view.endpoints;
      entry.balancer.update(view.endpoints);
    }
    return entry;
  }

  function upstreamFor(endpoint: Endpoint, protocol: MeshProtocol): Upstream {
    const current = trust.generation();
    if (current !== generation) {
      generation = current;
      upstreams = new WeakMap();
    }
    let byProtocol = upstreams.get(endpoint);
    if (byProtocol === undefined) {
      byProtocol = new Map();
      upstreams.set(endpoint, byProtocol);
    }
    let upstream = byProtocol.get(protocol);
    if (upstream === undefined) {
      upstream = meshUpstream(endpoint, protocol);
      byProtocol.set(protocol, upstream);
    }
    return upstream;
  }

  function meshUpstream(endpoint: Endpoint, protocol: MeshProtocol): Upstream {
    const mayBeTrunk = protocol === "http1" && parts.engine.knowsTrunks;
    const alpn = mayBeTrunk ? OFFERED.trunk : OFFERED[protocol];
    const { address, port, identity } = endpoint;
    const isSelf = endpoint.inboundPort === 0 && isOwnAddress(address, parts.own.addresses);
    const dialPort = isSelf ? parts.inboundPort : endpoint.inboundPort === 0 ? port : endpoint.inboundPort;
    return {
      address: `${address}:${port}`,
      key: `mesh ${endpoint.id} ${address} ${dialPort} ${identity} ${protocol} ${generation}`,
      mayBeTrunk,
      flooded: (kind) => observer.flooded("outbound", "upstream", kind),
      dial: (done) =>
        parts.dialer.dial({ address, dialPort, port, identity, alpn }, (error, mesh) => {
          if (mesh === null) {
            if (error?.code === "connect_failed") discovery.markRefused(endpoint);
            return done(error, null);
          }
          trust.dialled(mesh.socket);
          observer.secured("outbound", 0, mesh.peer, mesh.socket, port);
          done(null, { kind: "mesh", mesh });
        }),
    };
  }

  return { destinationFor, balancerFor: (view) => destinationFor(view).balancer, upstreamFor };
}
