// A TCP app whose server speaks first: greets, takes what comes until the client has ended its half, then answers with the number of bytes and their
// SHA-256. Listens on PORT (default 2500), on IPv4 and IPv6.
import { createHash } from "node:crypto";
import { createServer } from "node:net";

const server = createServer({ allowHalfOpen: true }, (socket) => {
  const hash = createHash("sha256");
  let bytes = 0;
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    hash.update(chunk);
  });
  socket.on("end", () => socket.end(`${bytes} ${hash.digest("hex")}\n`));
  socket.write("220 greetings\n");
});
const port = Number(process.env["PORT"] ?? 2500);
server.listen(port, "::", () => process.stdout.write(`listening on ${port}\n`));
process.on("SIGTERM", () => process.exit(0));
