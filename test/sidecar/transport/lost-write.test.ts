// Clients that reset right behind their handshake, while the server still writes its own last bytes of it.
import { once } from "node:events";
import { type AddressInfo, connect, createServer as createTcp, type Socket } from "node:net";
import { connect as connectTls, createServer as createTls, type TLSSocket } from "node:tls";
import t from "tap";
import { resetWhenHandshakeIsLost } from "../../../sidecar/transport/lost-write.ts";
import { rememberCarrier } from "../../../sidecar/transport/reset.ts";
import { eventually } from "../../support/raw-peers.ts";
import { createThrowawayCa } from "../../support/throwaway-ca.ts";

const ROUNDS = 8;
/** Handshakes at once: enough that a reset overtakes the answer to a Finished now and then. */
const AT_ONCE = 32;

/** Sockets of an echoing server that are still open when all of its clients have reset, and how many were served. */
async function leftOpen(onSecure: (tls: TLSSocket, carrier: Socket) => void): Promise<{ left: number; served: number }> {
  const { certPem: cert, keyPem: key } = createThrowawayCa().leaf("demo/orders");
  const open = new Set<TLSSocket>();
  let served = 0;
  // One server for each connection: so it is known which socket carries which.
  const server = createTcp({ allowHalfOpen: true, noDelay: true }, (carrier) => {
    carrier.on("error", () => {});
    const tls = createTls({ cert, key, minVersion: "TLSv1.3" }, (socket) => {
      served += 1;
      open.add(socket);
      socket.once("close", () => open.delete(socket));
      socket.on("error", () => {});
      // Later, as an answer comes: in the same turn it would leave with the last bytes of the handshake, and their error would be its own.
      socket.on("data", (bytes) => setTimeout(() => socket.write(bytes), 1));
      rememberCarrier(socket, carrier);
      onSecure(socket, carrier);
    });
    tls.emit("connection", carrier);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  for (let round = 0; round < ROUNDS; round += 1) await Promise.all(Array.from({ length: AT_ONCE }, () => comeAndReset(port)));
  await eventually(() => open.size === 0, 500);
  const left = open.size;
  for (const socket of open) socket.destroy();
  server.close();
  return { left, served };
}

async function comeAndReset(port: number): Promise<void> {
  const carrier = connect({ port, host: "127.0.0.1", noDelay: true });
  carrier.on("error", () => {});
  const socket = connectTls({ socket: carrier, rejectUnauthorized: false });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  socket.write("hello");
  await new Promise((resolve) => setTimeout(resolve, 0));
  carrier.resetAndDestroy();
}

t.test("nothing stays open of clients that reset right behind their handshake", async (t) => {
  const { left, served } = await leftOpen(resetWhenHandshakeIsLost);
  t.equal(left, 0);
  t.ok(served > 0, `${served} handshakes`);
});

t.test("this Node leaves some of them open by itself: when it does no more, lost-write.ts can go", async (t) => {
  const { left, served } = await leftOpen(() => {});
  t.ok(left > 0, `${left} of ${served}`);
});
