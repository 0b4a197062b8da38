// Peers that speak byte by byte, for tests of what no well-behaved library would send.
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";

/** Long enough for a machine that does much else; whoever waits for something not to come says for how long. */
const PATIENCE_MS = 20_000;

type Tap = { teardown(run: () => unknown): void };

/** An app on loopback that does with each connection what `onSocket` says. Gives its port. */
export async function startRawApp(t: Tap, onSocket: (socket: Socket, index: number) => void): Promise<number> {
  const sockets = new Set<Socket>();
  let index = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => sockets.delete(socket));
    onSocket(socket, index++);
  }).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return (server.address() as AddressInfo).port;
}

/** A client that remembers what it was sent. */
export interface RawClient {
  readonly socket: Socket;
  /** Everything received so far, latin1. */
  text(): string;
  send(bytes: string): void;
  /** Resolves when `wanted` has been received, or the connection ended, or after `waitMs` (20 s); gives the text. */
  until(wanted: RegExp, waitMs?: number): Promise<string>;
  /** Resolves when the connection ended, or after `waitMs` (20 s); true when it ended. */
  ended(waitMs?: number): Promise<boolean>;
}

/** Connects to a port of loopback. */
export function connectRaw(t: Tap, port: number, options: { readonly allowHalfOpen?: boolean } = {}): RawClient {
  const socket = connect({ port, host: "127.0.0.1", allowHalfOpen: options.allowHalfOpen ?? false });
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  t.teardown(() => socket.destroy());

  function settle(done: () => boolean, waitMs: number): Promise<boolean> {
    return new Promise((resolve) => {
      const finish = () => {
        clearTimeout(timer);
        for (const event of EVENTS) socket.off(event, check);
        resolve(done());
      };
      const check = () => {
        if (done() || socket.destroyed) finish();
      };
      const timer = setTimeout(finish, waitMs);
      for (const event of EVENTS) socket.on(event, check);
      check();
    });
  }

  return {
    socket,
    text: () => text,
    send: (bytes) => void socket.write(Buffer.from(bytes, "latin1")),
    async until(wanted, waitMs = PATIENCE_MS) {
      await settle(() => wanted.test(text), waitMs);
      return text;
    },
    ended: (waitMs = PATIENCE_MS) => settle(() => socket.readableEnded || socket.destroyed, waitMs),
  };
}

const EVENTS = ["data", "end", "close"] as const;

/** Waits until `holds`, at most `waitMs` (20 s); gives the last answer. */
export async function eventually(holds: () => boolean | Promise<boolean>, waitMs = PATIENCE_MS): Promise<boolean> {
  const endMs = Date.now() + waitMs;
  while (!(await holds()) && Date.now() < endMs) await new Promise((resolve) => setTimeout(resolve, 10));
  return holds();
}
