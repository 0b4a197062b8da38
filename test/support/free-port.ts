// Ports for programs that cannot be asked to pick one themselves.
import { once } from "node:events";
import { type AddressInfo, createServer } from "node:net";

/** A TCP port on `host` that was free a moment ago. Servers of ours listen on port 0 instead. */
export async function freePort(host = "127.0.0.1"): Promise<number> {
  const server = createServer().listen(0, host);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}
