// Opens plain TCP connections: to the app, and to destinations outside of the mesh.
import { connect, type Socket } from "node:net";
import type { Clock } from "../../core/clock.ts";
import { ProtocolError } from "../../core/errors.ts";

/** Where to and for how long to try. */
export interface PlainTarget {
  readonly host: string;
  readonly port: number;
  readonly timeoutMs: number;
  readonly clock: Clock;
}

/** Connects. Calls back exactly once; the error is `connect_failed` or `timeout`. Half-open is allowed on the socket. */
export function dialPlain(target: PlainTarget, done: (error: ProtocolError | null, socket: Socket | null) => void): void {
  const socket = connect({ host: target.host, port: target.port, allowHalfOpen: true, noDelay: true });
  const timer = target.clock.after(target.timeoutMs, () =>
    settle(new ProtocolError("timeout", `no connection to ${target.host}:${target.port} within ${target.timeoutMs} ms`)),
  );

  function onError(cause: Error): void {
    settle(new ProtocolError("connect_failed", `${target.host}:${target.port}: ${cause.message}`, { cause }));
  }

  function onConnect(): void {
    settle(null);
  }

  function settle(error: ProtocolError | null): void {
    timer.cancel();
    socket.off("error", onError);
    socket.off("connect", onConnect);
    if (error !== null) {
      socket.on("error", () => {});
      socket.destroy();
    }
    done(error, error === null ? socket : null);
  }

  socket.once("error", onError);
  socket.once("connect", onConnect);
}
