// The socket under a Redis connection. ioredis 6.0.0 hears the first `error` of a socket only, and a TLS server whose certificate is refused gives
// two (ours, and the alert that answers it): the second one would end the process. Goes when ioredis listens for all of them.
import { createConnection, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";
import type { AbstractConnector } from "ioredis";

const DISCONNECT_TIMEOUT_MS = 2000;

/** Where to connect. */
export interface RedisEndpoint {
  readonly host: string;
  readonly port: number;
  /** Null: plain TCP. `caPem` undefined: the system's roots. */
  readonly tls: { readonly caPem: string | undefined } | null;
}

/** A connector class for `RedisOptions.Connector`; `Base` is ioredis's own, which is loaded lazily. */
export function redisConnector(Base: typeof AbstractConnector, { host, port, tls }: RedisEndpoint): new () => AbstractConnector {
  return class extends Base {
    constructor() {
      super(DISCONNECT_TIMEOUT_MS);
    }

    override async connect() {
      this.connecting = true;
      const socket = openSocket();
      socket.on("error", (error: Error) => {
        this.firstError ??= error;
      });
      this.stream = socket;
      return socket;
    }
  };

  function openSocket(): Socket {
    if (tls === null) return createConnection({ host, port });
    return connectTls({ host, port, ...(tls.caPem === undefined ? {} : { ca: tls.caPem }) });
  }
}
