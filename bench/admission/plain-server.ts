// `plain-server.ts OPTIONS-AS-JSON`: what the machine, Node's TLS and Node's HTTP take by themselves, as node:https that reads a body and answers with a
// constant one, as long as the injector's. What the injector takes more than this is its own.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import type { TlsFiles } from "../load/tls-files.ts";

/** What to serve. */
export interface PlainServerOptions {
  readonly port: number;
  readonly files: TlsFiles;
  readonly answer: string;
}

const IDLE_TIMEOUT_MS = 130_000;

function servePlainly({ port, files, answer }: PlainServerOptions): void {
  const tls = { key: readFileSync(files.key), cert: readFileSync(files.cert), minVersion: "TLSv1.3" } as const;
  const server = createServer({ ...tls, keepAliveTimeout: IDLE_TIMEOUT_MS }, (request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      Buffer.concat(chunks);
      response.setHeader("content-type", "application/json");
      response.setHeader("content-length", Buffer.byteLength(answer));
      response.end(answer);
    });
  });
  server.listen(port, "127.0.0.1");
}

servePlainly(JSON.parse(process.argv[2] ?? "{}") as PlainServerOptions); // our own plain.ts started us
