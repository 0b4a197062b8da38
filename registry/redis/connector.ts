// The socket under a Redis connection. ioredis 6.0.0 hears the first `error` of a socket only, and a TLS server whose certificate is refused gives
// two (ours, and the alert that answers it): the second one would end the process. Goes when ioredis listens for all of them.
import { createConnection, isIP, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { AbstractConnector } from "ioredis";
import type { Endpoint } from "./address.ts";

/** How a server is known, and how this process is known to it. */
export interface RedisTls {
  /** Roots (PEM) that the server's certificate is checked with; undefined: the system's. */
  readonly caPem?: string | undefined;
  /** Certificate and key (PEM) for servers that ask for one; both or none. */
  readonly certPem?: string | undefined;
  readonly keyPem?: string | undefined;
}

/** A connector class for `RedisOptions.Connector`; `Base` is ioredis's own, which is loaded lazily. `tls` null: plain TCP. */
export function redisConnector(Base: typeof AbstractConnector, endpoint: Endpoint, tls: RedisTls | null): new () => AbstractConnector {
  return class extends Base {
    constructor() {
      super(0);
    }

    override async connect() {
      this.connecting = true;
      const socket = openSocket(endpoint, tls);
      socket.on("error", (error: Error) => {
        this.firstError ??= error;
      });
      this.stream = socket;
      return socket;
    }

    /** At once: a server that hangs would not answer a polite end, and whoever waits for it should know. */
    override disconnect() {
      this.connecting = false;
      this.stream?.destroy();
    }
  };
}

function openSocket({ host, port }: Endpoint, tls: RedisTls | null): Socket {
  if (tls === null) return createConnection({ host, port });
  const { caPem: ca, certPem: cert, keyPem: key } = tls;
  return connectTls({
    host,
    port,
    ...(isIP(host) === 0 ? { servername: host } : {}),
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined || key === undefined ? {} : { cert, key }),
  });
}
