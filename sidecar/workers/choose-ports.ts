// Ports for workers to share. SO_REUSEPORT would let them share one with a stranger of the same user as well, and each would get half of the other's
// connections; so the port is first taken by this process alone, which fails when anybody has it.
import { once } from "node:events";
import { type AddressInfo, createServer, type Server } from "node:net";

/** Gives the ports that were free a moment ago; 0 becomes a free one, each another. Rejects with Node's error (EADDRINUSE, EACCES). */
export async function choosePorts(host: string, ports: readonly number[]): Promise<readonly number[]> {
  const servers: Server[] = [];
  try {
    for (const port of ports) {
      const server = createServer((socket) => socket.resetAndDestroy());
      servers.push(server);
      server.listen({ host, port });
      await once(server, "listening"); // rejects on `error`
    }
    return servers.map((server) => (server.address() as AddressInfo).port); // a TCP listener's address is never a string
  } finally {
    await Promise.all(servers.map(closed));
  }
}

function closed(server: Server): Promise<unknown> {
  if (!server.listening) return Promise.resolve();
  server.close();
  return once(server, "close");
}
