// A TCP port of the sidecar: accepts, bounds the number of connections, and ends in two steps, so that work in flight can finish.
import { createServer, type Socket } from "node:net";

/** An open port. */
export interface Listener {
  readonly port: number;
  /** Connections open now. */
  readonly connections: number;
  /** Stops accepting. Connections go on. */
  stop(): void;
  /** Stops accepting and resets what is left. */
  close(): Promise<void>;
}

/** How to make a {@link Listener}. */
export interface ListenerOptions {
  /** Address to bind; `::` takes IPv4 as well. */
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Connections beyond this are closed as they come. */
  readonly maxConnections: number;
  /** Shares the port with other processes of this user that say so too (SO_REUSEPORT, Linux); the kernel spreads connections. Default false. */
  readonly reusePort?: boolean;
  /** A bound on connections that holds for all who share the port; what it refuses is closed as it comes. Default none but `maxConnections`. */
  readonly bound?: { tryEnter(): boolean; leave(): void } | undefined;
  /** Takes a socket: half-open allowed, nothing read, no listeners. */
  readonly accept: (socket: Socket) => void;
  /** Hears of each connection that a bound closed as it came, and of what the system could not accept, e.g. for want of files (EMFILE). Default: nobody. */
  readonly refused?: (why: "max_connections" | Error) => void;
}

/** Connections that wait to be accepted while this process is busy; the kernel takes the smaller of this and `net.core.somaxconn` (4096 by default). */
const BACKLOG = 4096;

/** Opens a port. Rejects with Node's error (EADDRINUSE, EACCES) when it can't be had. */
export function startListener(options: ListenerOptions): Promise<Listener> {
  const sockets = new Set<Socket>();
  const server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    if (options.bound?.tryEnter() === false) {
      options.refused?.("max_connections");
      return void socket.destroy();
    }
    sockets.add(socket);
    socket.once("close", () => {
      sockets.delete(socket);
      options.bound?.leave();
    });
    options.accept(socket);
  });
  server.maxConnections = options.maxConnections;
  server.on("drop", () => options.refused?.("max_connections"));

  function stop(): void {
    if (server.listening) server.close();
  }

  async function close(): Promise<void> {
    stop();
    for (const socket of sockets) socket.destroy();
  }

  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen({ host: options.host, port: options.port, backlog: BACKLOG, reusePort: options.reusePort ?? false }, () => {
      server.off("error", reject);
      // Without a listener, an accept that fails would end the process.
      server.on("error", (error) => options.refused?.(error));
      const address = server.address();
      const port = typeof address === "object" && address !== null ? address.port : options.port;
      resolve({
        port,
        get connections() {
          return sockets.size;
        },
        stop,
        close,
      });
    });
  });
}
