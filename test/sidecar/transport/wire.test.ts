// The wire between an engine and a socket: pausing must hold, whatever else happens in the same moment.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import t from "tap";
import { SocketWire, type Wire, type WireOwner } from "../../../sidecar/transport/wire.ts";

/** A peer that sends without end, and a wire that counts what it is given. */
async function flooded(t: { teardown(run: () => unknown): void }): Promise<{ wire: Wire; received(): number }> {
  const server = createServer((socket) => {
    const piece = Buffer.alloc(64 * 1024);
    const more = () => {
      while (!socket.destroyed && socket.write(piece));
    };
    socket.on("drain", more);
    socket.on("error", () => {});
    more();
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  const socket: Socket = connect((server.address() as AddressInfo).port, "127.0.0.1");
  await once(socket, "connect");
  let received = 0;
  const wires: Wire[] = [];
  const owner: WireOwner = {
    onBytes(_bytes, start, end) {
      received += end - start;
      for (const wire of wires) wire.pause();
    },
    onEnd() {},
    onDrain() {},
    onClose() {},
  };
  // As protocol detection does it: the first bytes are read before the wire is made, and put back.
  await once(socket, "readable");
  socket.unshift(socket.read() as Buffer);
  const wire = new SocketWire(socket, owner);
  wires.push(wire);
  wire.start();
  t.teardown(() => {
    socket.destroy();
    server.close();
  });
  return { wire, received: () => received };
}

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

t.test("a wire that is paused by the bytes that were read ahead gives no more", async (t) => {
  const { received } = await flooded(t);
  const early = received();
  t.ok(early > 0);
  await pause(100);
  t.equal(received(), early);
});

t.test("a wire that is resumed and paused in one turn stays paused", async (t) => {
  const { wire, received } = await flooded(t);
  for (let round = 0; round < 5; round += 1) {
    wire.resume();
    wire.pause();
    await pause(20);
    const before = received();
    await pause(50);
    t.equal(received(), before);
  }
});
