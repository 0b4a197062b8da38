// What kube-proxy does for a Service of several replicas: one address, connections spread over those that accept. Knows nothing of what passes.
import { connect, createServer, type Socket } from "node:net";
import type { Test } from "tap";

export interface Backend {
  readonly host: string;
  readonly port: number;
}

/** Listens on `host:port`; every connection goes to the next backend in turn that accepts it. Closed in the test's teardown. */
export async function startTcpBalancer(t: Test, host: string, port: number, backends: readonly Backend[]): Promise<void> {
  const open = new Set<Socket>();
  let turn = 0;
  const server = createServer({ pauseOnConnect: true }, (client) => {
    open.add(client);
    client.on("close", () => open.delete(client));
    client.on("error", () => {});
    turn += 1;
    attempt(
      client,
      backends.map((_, i) => backends[(turn + i) % backends.length] as Backend),
    );
  });
  await new Promise<void>((done) => server.listen(port, host, done));
  t.teardown(() => {
    for (const socket of open) socket.destroy();
    server.close();
  });
}

function attempt(client: Socket, [backend, ...others]: readonly Backend[]): void {
  if (backend === undefined) return void client.resetAndDestroy();
  const upstream = connect(backend.port, backend.host);
  let isConnected = false;
  upstream.on("connect", () => {
    isConnected = true;
    client.pipe(upstream).pipe(client);
    client.on("close", () => upstream.destroy());
    upstream.on("close", () => client.destroy());
  });
  upstream.on("error", () => {
    if (isConnected) client.resetAndDestroy();
    else attempt(client, others);
  });
}
