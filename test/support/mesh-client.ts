// A client that speaks to the inbound side of a mesh pair byte by byte, over mTLS with a leaf of its own: what a hostile or broken sidecar could send.
import { once } from "node:events";
import { connect, type TLSSocket } from "node:tls";
import { sniFor } from "../../core/spiffe.ts";
import type { MeshAlpn } from "../../sidecar/transport/client-hello.ts";
import type { MeshPair } from "./mesh-pair.ts";

type Tap = { teardown(run: () => unknown): void };

/** Opens a connection to the callee's sidecar, as the workload `demo/web`. Resolves when the handshake is done. */
export async function connectMesh(t: Tap, pair: MeshPair, appPort: number, alpn: MeshAlpn = "remora/h1"): Promise<TLSSocket> {
  const { certPem, keyPem } = leafOf(pair);
  const socket = connect({
    host: "127.0.0.1",
    port: pair.inboundPort,
    cert: certPem,
    key: keyPem,
    servername: sniFor(pair.callee.identity, appPort),
    ALPNProtocols: [alpn],
    rejectUnauthorized: false,
  });
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());
  await once(socket, "secureConnect", { signal: AbortSignal.timeout(5000) });
  return socket;
}

/** One leaf for each pair: making them costs more than the handshakes. */
const leaves = new WeakMap<MeshPair, { readonly certPem: string; readonly keyPem: string }>();

function leafOf(pair: MeshPair): { readonly certPem: string; readonly keyPem: string } {
  let leaf = leaves.get(pair);
  if (leaf === undefined) {
    leaf = pair.ca.leaf("demo/web");
    leaves.set(pair, leaf);
  }
  return leaf;
}
