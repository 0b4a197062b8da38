// The mesh destinations that this sidecar talks to: one balancer per destination, one upstream per endpoint and protocol. Both are made on first use
// and kept while their destination is; which endpoint a request takes is the balancer's word, when to try another is the caller's.
import { LRUCache } from "lru-cache";
import type { Clock } from "../core/clock.ts";
import type { Observer } from "./admin/observer.ts";
import { isOwnAddress, type OwnListeners } from "./capture/loop-guard.ts";
import type { DestinationView, Discovery, Endpoint } from "./discovery/discovery.ts";
import type { Upstream } from "./engine.ts";
import { type Balancer, createBalancer } from "./resilience/balancer.ts";
import type { MeshAlpn } from "./transport/client-hello.ts";
import type { MeshDialer } from "./transport/mesh-dial.ts";

/** Balancers kept; the least recently used one is forgotten, with what it learned. */
const MAX_BALANCERS = 4096;

/** What mesh upstreams are made of. */
export interface MeshUpstreamParts {
  readonly own: OwnListeners;
  /** Where this sidecar's own inbound side listens: a call to the own service goes there directly, as iptables leave our uid alone. */
  readonly inboundPort: number;
  readonly discovery: Discovery;
  readonly dialer: MeshDialer;
  readonly observer: Observer;
  readonly clock: Clock;
  readonly random: () => number;
}

/** Gives balancers and upstreams. */
export interface MeshUpstreams {
  /** The balancer of a destination, brought up to date with `view`. */
  balancerFor(view: DestinationView): Balancer<Endpoint>;
  /** The upstream of an endpoint: the same object as long as the endpoint is. A refused connection takes the endpoint out of its views. */
  upstreamFor(endpoint: Endpoint, alpn: MeshAlpn): Upstream;
}

/** Makes them. */
export function createMeshUpstreams(parts: MeshUpstreamParts): MeshUpstreams {
  const { observer, clock, discovery } = parts;
  const balancers = new LRUCache<string, { balancer: Balancer<Endpoint>; endpoints: readonly Endpoint[] }>({ max: MAX_BALANCERS });
  const upstreams = new WeakMap<Endpoint, Map<MeshAlpn, Upstream>>();

  function balancerFor(view: DestinationView): Balancer<Endpoint> {
    let entry = balancers.get(view.key);
    if (entry === undefined) {
      entry = {
        balancer: createBalancer<Endpoint>({ clock, random: parts.random, breakerChanged: observer.breakerChanged }),
        endpoints: [],
      };
      balancers.set(view.key, entry);
    }
    if (entry.endpoints !== view.endpoints) {
      entry.endpoints = view.endpoints;
      entry.balancer.update(view.endpoints);
    }
    return entry.balancer;
  }

  function upstreamFor(endpoint: Endpoint, alpn: MeshAlpn): Upstream {
    let byAlpn = upstreams.get(endpoint);
    if (byAlpn === undefined) {
      byAlpn = new Map();
      upstreams.set(endpoint, byAlpn);
    }
    let upstream = byAlpn.get(alpn);
    if (upstream === undefined) {
      upstream = meshUpstream(endpoint, alpn);
      byAlpn.set(alpn, upstream);
    }
    return upstream;
  }

  function meshUpstream(endpoint: Endpoint, alpn: MeshAlpn): Upstream {
    const { address, port, identity } = endpoint;
    const isSelf = endpoint.inboundPort === 0 && isOwnAddress(address, parts.own.addresses);
    const dialPort = isSelf ? parts.inboundPort : endpoint.inboundPort === 0 ? port : endpoint.inboundPort;
    return {
      address: `${address}:${port}`,
      key: `mesh ${endpoint.id} ${address} ${dialPort} ${identity} ${alpn}`,
      dial: (done) =>
        parts.dialer.dial({ address, dialPort, port, identity, alpn }, (error, mesh) => {
          if (mesh === null) {
            if (error?.code === "connect_failed") discovery.markRefused(endpoint);
            return done(error, null);
          }
          observer.secured("outbound", 0, mesh.peer, mesh.socket, port);
          done(null, { kind: "mesh", mesh });
        }),
    };
  }

  return { balancerFor, upstreamFor };
}
