// An HTTP and WebSocket app that knows nothing of the mesh: GET /headers tells what arrived, POST /body tells a body's size and SHA-256, /ws echoes
// messages, /slow answers after ?ms. Listens on PORT (default 8080), on IPv4 and IPv6.
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import { WebSocketServer } from "ws";

const server = createServer((request, response) => {
  const url = new URL(request.url ?? "/", "http://app");
  process.stdout.write(`${JSON.stringify({ method: request.method, path: url.pathname })}\n`);
  if (url.pathname === "/body") return void tellBody(request, response);
  if (url.pathname === "/slow") return void setTimeout(() => response.end("slow\n"), Number(url.searchParams.get("ms") ?? 0));
  if (url.pathname === "/healthz") return void response.end("ok\n");
  response.setHeader("content-type", "application/json");
  response.end(
    JSON.stringify({
      method: request.method,
      path: request.url,
      headers: request.headers,
      remote: request.socket.remoteAddress,
      pid: process.pid,
    }),
  );
});

function tellBody(request: IncomingMessage, response: ServerResponse): void {
  const hash = createHash("sha256");
  let bytes = 0;
  request.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    hash.update(chunk);
  });
  request.on("end", () => response.end(JSON.stringify({ bytes, sha256: hash.digest("hex") })));
}

const sockets = new WebSocketServer({ server, path: "/ws" });
sockets.on("connection", (socket, request) => {
  socket.send(JSON.stringify({ hello: request.headers["x-forwarded-client-cert"] ?? null }));
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
});
const port = Number(process.env["PORT"] ?? 8080);
server.listen(port, "::", () => process.stdout.write(`listening on ${port}\n`));
process.on("SIGTERM", () => {
  server.close(() => process.exit(0));
  // A connection that becomes idle only now would be kept alive for another five seconds.
  setInterval(() => server.closeIdleConnections(), 50);
});
