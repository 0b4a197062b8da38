// Calls the webhook as an API server does: few connections that stay open, a POST for each pod. HTTP/1.1 is what API servers speak to webhooks.
import { Agent, request as httpsRequest } from "node:https";
import { connect } from "node:http2";

const SERVER_NAME = "remora-injector.remora-system.svc";
const PATH = "/inject";
const HEADERS = { "content-type": "application/json", accept: "application/json" };

/** Where to call, and how. */
export interface CallerOptions {
  readonly port: number;
  readonly caPem: string;
  readonly protocol: "h1" | "h2";
}

/** Calls one webhook. */
export interface Caller {
  /** Resolves with the text of a 200; rejects for anything else. */
  call(body: Buffer): Promise<string>;
  close(): void;
}

/** Opens nothing yet. */
export function createCaller(options: CallerOptions): Caller {
  return options.protocol === "h1" ? callerOfHttp1(options) : callerOfHttp2(options);
}

function callerOfHttp1({ port, caPem }: CallerOptions): Caller {
  const agent = new Agent({ keepAlive: true, maxSockets: 64, ca: caPem, servername: SERVER_NAME });
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

function callerOfHttp2({ port, caPem }: CallerOptions): Caller {
  const session = connect(`https://127.0.0.1:${port}`, { ca: caPem, servername: SERVER_NAME });
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
