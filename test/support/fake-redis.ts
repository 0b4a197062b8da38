// A server that speaks enough of Redis's protocol (RESP2) to answer what a test wants it to, and remembers what it was asked.
import type { AddressInfo, Socket } from "node:net";
import { createServer } from "node:net";

/** One reply: text starting with `-` is an error, other text a bulk string, null a null, lists are arrays. */
export type FakeReply = string | number | null | readonly FakeReply[];

/** A running fake. */
export interface FakeRedis {
  readonly port: number;
  readonly asked: readonly (readonly string[])[];
  /** Connections so far. */
  readonly connections: number;
  close(): Promise<void>;
}

/** Starts one on loopback. */
export async function startFakeRedis(answer: (command: readonly string[], port: number) => FakeReply): Promise<FakeRedis> {
  const asked: string[][] = [];
  const sockets = new Set<Socket>();
  let connections = 0;
  const server = createServer((socket) => {
    connections += 1;
    sockets.add(socket);
    let rest = "";
    socket.setEncoding("latin1");
    socket.on("error", () => {});
    socket.on("close", () => sockets.delete(socket));
    socket.on("data", (more: string) => {
      const read = readCommands(rest + more);
      rest = read.rest;
      for (const command of read.commands) {
        asked.push(command);
        socket.write(formatReply(answer(command, port)));
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    port,
    asked,
    get connections() {
      return connections;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function readCommands(text: string): { readonly commands: string[][]; readonly rest: string } {
  const commands: string[][] = [];
  let at = 0;
  for (;;) {
    const head = /^\*(\d+)\r\n/.exec(text.slice(at));
    if (head === null) break;
    let next = at + head[0].length;
    const command: string[] = [];
    for (let n = Number(head[1]); n > 0; n -= 1) {
      const size = /^\$(\d+)\r\n/.exec(text.slice(next));
      const end = size === null ? Number.POSITIVE_INFINITY : next + size[0].length + Number(size[1]) + 2;
      if (size === null || end > text.length) return { commands, rest: text.slice(at) };
      command.push(text.slice(next + size[0].length, end - 2));
      next = end;
    }
    commands.push(command);
    at = next;
  }
  return { commands, rest: text.slice(at) };
}

function formatReply(reply: FakeReply): string {
  if (reply === null) return "*-1\r\n";
  if (typeof reply === "number") return `:${reply}\r\n`;
  if (typeof reply === "string") return reply.startsWith("-") ? `${reply}\r\n` : `$${reply.length}\r\n${reply}\r\n`;
  return `*${reply.length}\r\n${reply.map(formatReply).join("")}`;
}
