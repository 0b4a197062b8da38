// A program with one listener that echoes, for the test that takes its open files away. Prints its port.
import { startListener } from "../../../sidecar/transport/listener.ts";

const { port } = await startListener({
  host: "127.0.0.1",
  port: 0,
  maxConnections: 10_000,
  accept: (socket) => {
    socket.on("error", () => {});
    socket.on("data", (chunk) => socket.write(chunk));
  },
});
process.stdout.write(`${port}\n`);
process.stdin.resume().on("end", () => process.exit());
