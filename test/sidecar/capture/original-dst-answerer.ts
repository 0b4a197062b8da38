// A stand-in for a sidecar: listens on the ports given, and tells each client on which port it arrived and where it wanted to go.
import { createServer } from "node:net";
import { createOriginalDstReader } from "../../../sidecar/capture/original-dst.ts";

const reader = createOriginalDstReader();
const ports = process.argv.slice(2).map(Number);
await Promise.all(
  ports.map((port) => {
    const server = createServer((socket) => {
      socket.on("error", () => {});
      const dst = reader.read(socket);
      socket.end(`${port}: ${dst === null ? "not redirected" : `${dst.address} ${dst.port}`}`);
    });
    return new Promise<void>((resolve) => server.listen(port, "::", resolve));
  }),
);
process.stdout.write("listening\n");
