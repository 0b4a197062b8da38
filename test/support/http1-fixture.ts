// The fixture of the HTTP/1.1 tests of the engines: apps by node:http, clients by node:http and byte by byte.
import { once } from "node:events";
import { createServer, type IncomingMessage, request, type ServerResponse } from "node:http";
import { connect, type Socket } from "node:net";
import t, { type Test } from "tap";
import type { EngineName } from "../../sidecar/engine.ts";
import { MeshFixture } from "./mesh-fixture.ts";
import type { MeshPair, MeshPairOptions } from "./mesh-pair.ts";

/** An app. */
export type Handler = (request: IncomingMessage, response: ServerResponse) => void;

/** The plainest request. */
export const GET = "GET / HTTP/1.1\r\nHost: orders\r\n\r\n";

/** A mesh for one test of HTTP/1.1. */
export class Http1Mesh extends MeshFixture {
  /** A pair in front of an app by node:http. */
  async inFrontOf(handler: Handler, options: Partial<MeshPairOptions> = {}): Promise<MeshPair> {
    return this.pairFor(await this.listen(createServer(handler)), options);
  }
}

/** Registers a test for one engine, which fails too when it leaves a request or a connection behind. */
export type EngineTest = (name: string, run: (t: Test, mesh: Http1Mesh) => Promise<void>) => void;

/** Makes the `test` of one engine. */
export function http1Tests(engine: EngineName): EngineTest {
  return (name, run) => {
    t.test(`${engine}: ${name}`, async (t) => {
      const mesh = new Http1Mesh(t, engine);
      await run(t, mesh);
      await mesh.leavesNothing();
    });
  };
}

/** What {@link ask} gives. */
export interface Answer {
  readonly status: number;
  readonly headers: IncomingMessage["headers"];
  readonly raw: string[];
  readonly trailers: NodeJS.Dict<string>;
  readonly body: string;
}

/** Asks the service `orders` by node:http, on a connection of its own. Rejects when the answer does not come whole. */
export async function ask(
  port: number,
  options: { method?: string; path?: string; headers?: Record<string, string | string[]>; body?: string | Buffer } = {},
): Promise<Answer> {
  const sent = request({
    host: "127.0.0.1",
    port,
    method: options.method ?? "GET",
    path: options.path ?? "/",
    headers: { host: "orders", ...options.headers },
    agent: false,
  });
  sent.end(options.body);
  const failed = once(sent, "error").then(([error]) => Promise.reject(error));
  failed.catch(() => {});
  const [answer] = (await Promise.race([once(sent, "response"), failed])) as [IncomingMessage];
  let body = "";
  for await (const chunk of answer) body += chunk;
  return { status: answer.statusCode ?? 0, headers: answer.headers, raw: answer.rawHeaders, trailers: answer.trailers, body };
}

/** Sends bytes as they are and gives everything that comes back until the connection ends, or `waitMs` are over. */
export async function raw(port: number, bytes: string, waitMs = 2000): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  let text = "";
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
  });
  socket.on("error", () => {});
  socket.write(Buffer.from(bytes, "latin1"));
  const timer = setTimeout(() => socket.destroy(), waitMs);
  await new Promise((resolve) => socket.once("close", resolve));
  clearTimeout(timer);
  return text;
}

/** Calls back for each bodiless request that comes, with its head; what is not one yet is waited for. */
export function onHeads(socket: Socket, onHead: (head: string, index: number) => void): void {
  let text = "";
  let index = 0;
  socket.on("data", (chunk) => {
    text += chunk.toString("latin1");
    for (let end = text.indexOf("\r\n\r\n"); end !== -1; end = text.indexOf("\r\n\r\n")) {
      const head = text.slice(0, end);
      text = text.slice(end + 4);
      onHead(head, index++);
    }
  });
}
