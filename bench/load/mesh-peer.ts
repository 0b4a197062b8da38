// The benchmark itself as a workload of the mesh: it joins like any other, with a certificate of its own, and dials an inbound port as another sidecar
// would. For what is measured connection by connection, where a sidecar in between would only hide the number.
import type { TLSSocket } from "node:tls";
import { systemClock } from "../../core/clock.ts";
import { silentLogger } from "../../core/log.ts";
import { createMetrics } from "../../core/metrics.ts";
import { spiffeId } from "../../core/spiffe.ts";
import { startIdentity } from "../../sidecar/identity/start-identity.ts";
import { createMeshDialer } from "../../sidecar/transport/mesh-dial.ts";
import type { Invitation } from "./bundled-mesh.ts";

const TRUST_DOMAIN = "cluster.local";
const NAMESPACE = "default";
const CONNECT_TIMEOUT_MS = 20_000;

/** Where to dial. */
export interface PeerTarget {
  /** Of the sidecar, on 127.0.0.1. */
  readonly inboundPort: number;
  readonly service: string;
  readonly appPort: number;
}

/** A workload that only calls. */
export interface MeshPeer {
  /** Opens a `remora/h1` connection; resolves when the handshake is done and verified. */
  open(target: PeerTarget): Promise<TLSSocket>;
  close(): Promise<void>;
}

/** Joins the mesh as `service`. */
export async function joinMesh({ controlAddress, joinToken }: Invitation, service: string): Promise<MeshPeer> {
  const identity = await startIdentity({
    controlAddress,
    identity: spiffeId({ trustDomain: TRUST_DOMAIN, namespace: NAMESPACE, serviceAccount: service }),
    credential: async () => ({ joinToken }),
    pins: [],
    stateDir: null,
    clock: systemClock,
    random: Math.random,
    log: silentLogger(),
    metrics: createMetrics({ component: "bench", version: "0", commit: "" }),
  });
  const dialer = createMeshDialer({ identity, clock: systemClock, connectTimeoutMs: CONNECT_TIMEOUT_MS });
  return {
    open: (target) =>
      new Promise((resolve, reject) =>
        dialer.dial(
          {
            address: "127.0.0.1",
            dialPort: target.inboundPort,
            port: target.appPort,
            identity: spiffeId({ trustDomain: TRUST_DOMAIN, namespace: NAMESPACE, serviceAccount: target.service }),
            alpn: ["remora/h1"],
          },
          (error, connection) => (connection === null ? reject(error) : resolve(connection.socket)),
        ),
      ),
    async close() {
      dialer.close();
      await identity.close();
    },
  };
}
