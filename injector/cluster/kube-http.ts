// The Kubernetes API as plain JSON over HTTP(S): a call, a watch. The client library does the same and more, but takes 60 MB and more than a second to
// load, which is too much for a webhook of which every replica must be small and quick to start. It is used where a kubeconfig asks for a login that is
// a protocol of its own (exec plugins, OIDC).
import { request as httpRequest, Agent as HttpAgent, type IncomingMessage, type RequestOptions } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import type { KubeAccess } from "./kube-access.ts";
import type { StartWatch } from "../../core/kubernetes/watched-list.ts";

/** No call may take longer. */
export const CALL_TIMEOUT_MS = 10_000;
/** A watch on which nothing comes for so long is given up; the API server was asked to end it before. */
const SILENCE_MS = 30_000;
/** A page of 100 nodes is about 5 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
const MAX_SOCKETS = 16;

/** Answered, but not with success. `code` is the status. */
export class KubeError extends Error {
  readonly code: number;

  constructor(code: number, message: string) {
    super(message);
    this.name = "KubeError";
    this.code = code;
  }
}

/** What is sent. */
export interface KubeBody {
  readonly type: "application/json" | "application/json-patch+json" | "application/merge-patch+json";
  readonly value: unknown;
}

/** The API of one cluster. */
export interface KubeHttp {
  /** One call; rejects with {@link KubeError} for a status that is no success, and with another Error when there is no answer in time. */
  call(
    method: "GET" | "POST" | "PUT" | "PATCH",
    path: string,
    more?: { readonly body?: KubeBody; readonly timeoutMs?: number; readonly headers?: Readonly<Record<string, string>> },
  ): Promise<unknown>;
  readonly watch: StartWatch;
}

/** Opens nothing yet. */
export function createKubeHttp(access: KubeAccess): KubeHttp {
  const plain = new HttpAgent({ keepAlive: true, maxSockets: MAX_SOCKETS });
  const secure = new HttpsAgent({ keepAlive: true, maxSockets: MAX_SOCKETS });

  async function open(method: string, path: string, headers: Readonly<Record<string, string>>, body: string | null, timeoutMs: number) {
    const { server, tls, headers: credentials } = await access();
    const url = new URL(server.replace(/\/$/, "") + path);
    const isSecure = url.protocol === "https:";
    const options: RequestOptions = {
      method,
      agent: isSecure ? secure : plain,
      timeout: timeoutMs,
      headers: {
        accept: "application/json",
        "user-agent": "remora-injector",
        ...credentials,
        ...headers,
        ...(body === null ? {} : { "content-length": Buffer.byteLength(body) }),
      },
    };
    return new Promise<IncomingMessage>((resolve, reject) => {
      const asked = isSecure ? httpsRequest(url, { ...options, ...tls }, resolve) : httpRequest(url, options, resolve);
      asked.on("timeout", () => asked.destroy(silence(timeoutMs)));
      asked.on("error", reject);
      asked.end(body ?? undefined);
    });
  }

  return {
    async call(method, path, { body, timeoutMs = CALL_TIMEOUT_MS, headers: own = {} } = {}) {
      const headers: Record<string, string> = { ...own, ...(body === undefined ? {} : { "content-type": body.type }) };
      const text = body === undefined ? null : JSON.stringify(body.value);
      const response = await open(method, path, headers, text, timeoutMs);
      const answer = parse(await readAll(response));
      const status = response.statusCode ?? 0;
      if (status >= 200 && status < 300) return answer;
      throw new KubeError(status, messageOf(answer) ?? `the API server answers ${status}`);
    },

    async watch(path, query, onEvent, onEnd) {
      const words = new URLSearchParams({ ...query, watch: "true" });
      const response = await open("GET", `${path}?${words}`, {}, null, SILENCE_MS);
      if (response.statusCode !== 200) {
        const answer = parse(await readAll(response));
        const status = response.statusCode ?? 0;
        throw new KubeError(status, messageOf(answer) ?? `the API server answers ${status}`);
      }
      const over = once(onEnd);
      followLines(response, onEvent, over);
      return {
        abort() {
          over(null);
          response.destroy();
        },
      };
    },
  };
}

/** Each line is one event of a watch. */
function followLines(response: IncomingMessage, onEvent: (type: string, object: unknown) => void, over: (error: unknown) => void): void {
  let parts: Buffer[] = []; // of a line that has not ended
  let bytes = 0;
  response.on("data", (chunk: Buffer) => {
    let start = 0;
    for (let end = chunk.indexOf("\n"); end >= 0; end = chunk.indexOf("\n", start)) {
      parts.push(chunk.subarray(start, end));
      const event = parse(Buffer.concat(parts)) as { readonly type?: unknown; readonly object?: unknown } | null;
      parts = [];
      bytes = 0;
      start = end + 1;
      if (typeof event?.type === "string") onEvent(event.type, event.object);
    }
    const rest = chunk.subarray(start);
    bytes += rest.length;
    if (rest.length > 0) parts.push(rest);
    if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error(`an event of a watch is larger than ${MAX_ANSWER_BYTES} bytes`));
  });
  response.on("end", () => over(null));
  response.on("error", over);
  response.on("close", () => over(null));
}

function readAll(response: IncomingMessage): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    response.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes > MAX_ANSWER_BYTES) response.destroy(new Error(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`));
      else chunks.push(chunk);
    });
    response.on("end", () => resolve(Buffer.concat(chunks)));
    response.on("error", reject);
    response.on("close", () => reject(new Error("the answer was cut short"))); // without effect after "end"
  });
}

/** Null for what is not JSON, such as the page of a proxy in between. */
function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString("utf8"));
  } catch {
    return null;
  }
}

/** Of a Status object. */
function messageOf(answer: unknown): string | null {
  const message = (answer as { readonly message?: unknown } | null)?.message;
  return typeof message === "string" && message !== "" ? message : null;
}

function silence(ms: number): Error {
  const error = new Error(`no answer within ${ms / 1000} s`);
  error.name = "TimeoutError";
  return error;
}

function once(run: (error: unknown) => void): (error: unknown) => void {
  let isOver = false;
  return (error) => {
    if (isOver) return;
    isOver = true;
    run(error);
  };
}
