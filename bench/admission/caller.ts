// Calls the webhook as an API server does: few connections that stay open, a POST for each pod. HTTP/1.1 is what API servers speak to webhooks.
import { Agent, request as httpsRequest } from "node:https";
import { connect } from "node:http2";
import type { Subject } from "./subject.ts";

const PATH = "/inject";
const HEADERS = { "content-type": "application/json", accept: "application/json" };

/** What is spoken. */
export type Protocol = "h1" | "h2";

/** Calls one webhook. */
export interface Caller {
  /** Resolves with the text of a 200; rejects for anything else. */
  call(body: Buffer): Promise<string>;
  close(): void;
}

/** Opens nothing yet. */
export function createCaller(subject: Subject, protocol: Protocol): Caller {
  return protocol === "h1" ? callerOfHttp1(subject) : callerOfHttp2(subject);
}

function callerOfHttp1({ port, caPem, serverName }: Subject): Caller {
  const agent = new Agent({ keepAlive: true, maxSockets: 64, ca: caPem, servername: serverName });
  return {
    call: (body) =>
      new Promise((resolve, reject) => {
        const headers = { ...HEADERS, "content-length": body.length };
        const asked = httpsRequest({ host: "127.0.0.1", port, path: PATH, method: "POST", agent, headers }, (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => settle(response.statusCode, chunks, resolve, reject));
          response.on("error", reject);
        });
        asked.on("error", reject);
        asked.end(body);
      }),
    close: () => agent.destroy(),
  };
}

function callerOfHttp2({ port, caPem, serverName }: Subject): Caller {
  const session = connect(`https://127.0.0.1:${port}`, { ca: caPem, servername: serverName });
  session.on("error", () => {}); // its streams say so too
  return {
    call: (body) =>
      new Promise((resolve, reject) => {
        const stream = session.request({ ":method": "POST", ":path": PATH, ...HEADERS, "content-length": body.length });
        const chunks: Buffer[] = [];
        let status: number | undefined;
        stream.on("response", (headers) => {
          status = headers[":status"];
        });
        stream.on("data", (chunk: Buffer) => chunks.push(chunk));
        stream.on("end", () => settle(status, chunks, resolve, reject));
        stream.on("error", reject);
        stream.end(body);
      }),
    close: () => session.close(),
  };
}

function settle(
  status: number | undefined,
  chunks: readonly Buffer[],
  resolve: (text: string) => void,
  reject: (error: Error) => void,
): void {
  const text = Buffer.concat(chunks).toString();
  if (status === 200) resolve(text);
  else reject(new Error(`answered ${status}: ${text.slice(0, 200)}`));
}
