// How clients come to the mesh: as the local app to the outbound side, as a mesh peer to the inbound one by mTLS, or in plaintext.
import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import { rememberCarrier } from "../../sidecar/transport/reset.ts";
import type { MeshReady } from "./messages.ts";

/** Ways in. `connect` is the outbound side, for a tunnel by CONNECT. */
export const ROUTES = ["outbound", "outbound", "outbound", "mesh", "mesh", "mesh-opaque", "connect", "plain"] as const;
/** One of {@link ROUTES}. */
export type Route = (typeof ROUTES)[number];

/** Opens a connection; it may fail at any time, as everything here. */
export function dial(route: Route, mesh: MeshReady): Socket {
  const isOutbound = route === "outbound" || route === "connect";
  const carrier = connect({
    host: "127.0.0.1",
    port: isOutbound ? mesh.outboundPort : mesh.inboundPort,
    allowHalfOpen: true,
    noDelay: true,
  });
  carrier.on("error", ignore);
  if (route !== "mesh" && route !== "mesh-opaque") return carrier;
  const socket = connectTls({
    socket: carrier,
    cert: mesh.leaf.certPem,
    key: mesh.leaf.keyPem,
    servername: mesh.servername,
    ALPNProtocols: [route === "mesh" ? "remora/h1" : "remora/tcp"],
    rejectUnauthorized: false, // what the sidecar presents is not this test's matter
  });
  socket.on("error", ignore);
  rememberCarrier(socket, carrier);
  return socket;
}

function ignore(): void {}
