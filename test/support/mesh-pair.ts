// Two workloads' data planes, joined by real sockets and mTLS on loopback, without a control plane: what the stage lists and the engines do can be
// tested with it alone. Explicit capture; the caller's sidecar finds the callee in a fixed snapshot.
import type { Metrics } from "../../core/metrics.ts";
import type { DestinationView, Discovery, Endpoint } from "../../sidecar/discovery/discovery.ts";
import type { IdentitySource } from "../../sidecar/identity/identity-source.ts";
import type { LoadShed } from "../../sidecar/policy/load-shed.ts";
import { type CalleeOptions, type CallerOptions, type Ledger, startCallee, startCaller } from "./mesh-sides.ts";
import { createStaticIdentity, createThrowawayCa, type ThrowawayCa } from "./throwaway-ca.ts";

export type { FinishedExchange, Ledger } from "./mesh-sides.ts";

const CALLER = "spiffe://cluster.local/ns/demo/sa/web";
const CALLEE = "spiffe://cluster.local/ns/demo/sa/orders";
const HOST = "127.0.0.1";

/** Settings of both sides. */
export interface MeshPairOptions extends CalleeOptions, CallerOptions {
  /** Further instances, e.g. one that refuses connections: inbound ports on loopback. */
  readonly otherInboundPorts?: readonly number[];
  /** How many instances the callee has in the snapshot, all of them the same sidecar; 1 by default. */
  readonly instances?: number;
  /** Holds each look-up of the caller until `give` is called; by default it is answered at once. */
  readonly lookup?: (give: () => void) => void;
}

/** A running pair. The service is called `orders`. */
export interface MeshPair {
  readonly ca: ThrowawayCa;
  readonly caller: IdentitySource;
  readonly callee: IdentitySource;
  /** Where the caller's app is pointed at. */
  readonly outboundPort: number;
  /** The callee's sidecar. */
  readonly inboundPort: number;
  readonly callerMetrics: Metrics;
  readonly calleeMetrics: Metrics;
  readonly callerShed: LoadShed;
  readonly calleeShed: LoadShed;
  readonly callerLedger: Ledger;
  readonly calleeLedger: Ledger;
  /** Swaps in new leaves and message keys on both sides. */
  renew(): void;
  drain(direction: "inbound" | "outbound"): void;
  /** Breaks off all connections between the sidecars. */
  cut(): void;
  close(): Promise<void>;
}

/** Starts both sides. */
export async function startMeshPair(options: MeshPairOptions): Promise<MeshPair> {
  const ca = createThrowawayCa();
  const caller = createStaticIdentity(ca, CALLER);
  const callee = createStaticIdentity(ca, CALLEE);
  const inbound = await startCallee(callee, options);
  const endpoint = (inboundPort: number, instanceId: string): Endpoint => ({
    id: `${instanceId}:${options.appPort}`,
    instanceId,
    identity: callee.identity,
    address: HOST,
    port: options.appPort,
    inboundPort,
    protocol: options.protocol ?? "detect",
    messageCertificate: callee.current().messageCertificate,
    version: "0",
    state: "ready",
  });
  const ownPorts = new Array<number>(options.instances ?? 1).fill(inbound.port);
  const endpoints = [...ownPorts, ...(options.otherInboundPorts ?? [])].map((port, index) => endpoint(port, `orders-${index}`));
  let view: DestinationView = {
    key: "service/orders/0",
    service: "demo/orders",
    protocol: options.protocol ?? "detect",
    endpoints,
    version: 1,
  };
  let revision = 0;
  const discovery: Discovery = {
    lookup(destination, done) {
      const give = () => done(destination.kind === "service" && destination.name === "orders" ? view : null);
      if (options.lookup === undefined) give();
      else options.lookup(give);
    },
    revision: () => revision,
    peek: () => view,
    markRefused(refused) {
      revision += 1;
      view = { ...view, endpoints: view.endpoints.filter(({ id }) => id !== refused.id) };
    },
    heartbeatAgeMs: () => 0,
    setState: () => {},
    deregister: async () => {},
    close: async () => {},
  };
  const outbound = await startCaller(caller, discovery, options);

  return {
    ca,
    caller,
    callee,
    outboundPort: outbound.port,
    inboundPort: inbound.port,
    callerMetrics: outbound.metrics,
    calleeMetrics: inbound.metrics,
    callerShed: outbound.shed,
    calleeShed: inbound.shed,
    callerLedger: outbound.ledger,
    calleeLedger: inbound.ledger,
    renew() {
      caller.renew();
      callee.renew();
    },
    cut: inbound.cut,
    drain: (direction) => (direction === "inbound" ? inbound : outbound).drain(),
    async close() {
      await Promise.all([inbound.close(), outbound.close()]);
    },
  };
}
