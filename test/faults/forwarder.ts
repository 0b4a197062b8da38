// One address for a server that may move: what a Service or a virtual IP is to a Redis whose primary fails over. Connections of the server before are
// reset when it is pointed to another one.
import { connect, createServer, type Socket } from "node:net";

/** Where connections go. */
export interface Backend {
  readonly host: string;
  readonly port: number;
}

/** A running forwarder. */
export interface Forwarder {
  pointTo(backend: Backend): void;
  close(): void;
}

/** Listens on `host:port`. */
export async function startForwarder(host: string, port: number, first: Backend): Promise<Forwarder> {
  const open = new Set<Socket>();
  let backend = first;
  const server = createServer((client) => {
    const upstream = connect(backend.port, backend.host);
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.on("error", () => {});
      one.on("close", () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((done, fail) => server.once("error", fail).listen(port, host, done));
  return {
    pointTo(next) {
      backend = next;
      for (const socket of open) socket.resetAndDestroy();
    },
    close() {
      for (const socket of open) socket.destroy();
      server.close();
    },
  };
}
