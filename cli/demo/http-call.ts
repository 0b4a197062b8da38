// One HTTP request with a deadline, through a sidecar's outbound port or straight.
import { type IncomingHttpHeaders, request } from "node:http";

const TIMEOUT_MS = 5_000;

/** Where to and how. */
export interface HttpCall {
  readonly host?: string;
  readonly port: number;
  /** Origin-form, or absolute-form for a proxy. */
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What came back. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** Rejects when there is no complete answer. */
export function httpCall({ host = "127.0.0.1", port, path, headers = {} }: HttpCall): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const asked = request({ host, port, path, headers: { ...headers }, timeout: TIMEOUT_MS, agent: false }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () =>
        resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: Buffer.concat(chunks).toString("utf8") }),
      );
    });
    asked.on("timeout", () => asked.destroy(new Error(`no answer within ${TIMEOUT_MS} ms`)));
    asked.on("error", reject);
    asked.end();
  });
}

/** The same through the outbound port of a sidecar, to a service by name. */
export function meshCall(outboundPort: number, service: string, path: string): Promise<HttpAnswer> {
  return httpCall({ port: outboundPort, path: `http://${service}${path}`, headers: { host: service } });
}

/** The body as JSON; rejects when the status is not 200. */
export async function getJson<T>(port: number, path: string): Promise<T> {
  const { status, body } = await httpCall({ port, path });
  if (status !== 200) throw new Error(`GET ${path} on port ${port} answers ${status}: ${body.slice(0, 200)}`);
  return JSON.parse(body) as T;
}
