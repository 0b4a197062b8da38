// A TCP relay on loopback that a test can make behave like a bad network: connections cut, refused, silent, or slow.
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** What the way is like now. */
export type GateState =
  | "open"
  /** Connections are accepted and ended at once; those that stood are ended. */
  | "cut"
  /** Connections stay, and no byte arrives any more, in neither direction. */
  | "frozen"
  /** Connections stay, and answers arrive when it is open again. */
  | "held";

/** A running relay. */
export interface TcpGate {
  readonly port: number;
  set(state: GateState): void;
  /** How long each piece of an answer is kept back; 0 at first. */
  delayMs: number;
  /** Connections accepted so far. */
  readonly accepted: number;
  close(): Promise<void>;
}

/** Relays to `port` on 127.0.0.1. */
export async function startTcpGate(port: number): Promise<TcpGate> {
  const sockets = new Set<Socket>();
  const farSides = new Set<Socket>();
  let state: GateState = "open";
  let accepted = 0;

  function keep(socket: Socket): void {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  }

  function relay(from: Socket, to: Socket, delayMs: () => number): void {
    from.on("data", (chunk) => {
      if (state === "frozen") return;
      if (delayMs() === 0) to.write(chunk);
      else setTimeout(() => to.writable && to.write(chunk), delayMs()).unref();
    });
    from.on("close", () => {
      if (state !== "frozen") to.destroy();
    });
  }

  const server = createServer((near) => {
    keep(near);
    accepted += 1;
    if (state === "cut") return void near.destroy();
    if (state === "frozen") return;
    const far = connect(port, "127.0.0.1");
    keep(far);
    farSides.add(far);
    far.on("close", () => farSides.delete(far));
    relay(near, far, () => 0);
    relay(far, near, () => gate.delayMs);
    if (state === "held") far.pause();
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const gate: TcpGate = {
    port: (server.address() as AddressInfo).port,
    delayMs: 0,
    get accepted() {
      return accepted;
    },
    set(next) {
      state = next;
      for (const far of farSides) far[next === "held" ? "pause" : "resume"]();
      if (next === "cut") for (const socket of sockets) socket.destroy();
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        for (const socket of sockets) socket.destroy();
      }),
  };
  return gate;
}
