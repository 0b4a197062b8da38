// The one thing that checks ask of a cluster: a call of the Kubernetes API with the rights of the user's own kubeconfig. An interface, so that a test
// answers from a table. The client library knows how to authenticate; the answers stay plain JSON.
import { request as httpRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { ConfigError } from "../../core/errors.ts";

const CALL_TIMEOUT_MS = 15_000;
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** What was answered. */
export interface ApiAnswer {
  readonly status: number;
  /** Parsed JSON, else the text. */
  readonly body: unknown;
  /** The `Date` header in epoch ms; null without one. */
  readonly dateMs: number | null;
}

/** A cluster's API. Rejects when there is no answer at all. */
export interface CheckApi {
  /** Where it is, for people. */
  readonly server: string;
  call(method: "GET" | "POST", path: string, body?: unknown, headers?: Readonly<Record<string, string>>): Promise<ApiAnswer>;
}

/** Loads the kubeconfig. @throws ConfigError when it cannot be used */
export async function connectApi({ kubeconfig, context }: { readonly kubeconfig?: string; readonly context?: string }): Promise<CheckApi> {
  const { KubeConfig } = await import("@kubernetes/client-node");
  const config = new KubeConfig();
  try {
    if (kubeconfig === undefined) config.loadFromDefault();
    else config.loadFromFile(kubeconfig);
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw new ConfigError("invalid_settings", `cannot use the kubeconfig: ${why}`, { cause });
  }
  if (context !== undefined) {
    if (config.getContextObject(context) === null)
      throw new ConfigError("invalid_settings", `the kubeconfig has no context ${JSON.stringify(context)}`);
    config.setCurrentContext(context);
  }
  const cluster = config.getCurrentCluster();
  if (cluster === null) throw new ConfigError("invalid_settings", "the kubeconfig names no cluster");
  const server = cluster.server.replace(/\/$/, "");
  return {
    server,
    async call(method, path, body, own = {}) {
      const text = body === undefined ? null : JSON.stringify(body);
      const headers = { ...own, accept: "application/json", ...(text === null ? {} : { "content-type": "application/json" }) };
      const options: RequestOptions = { method, headers, timeout: CALL_TIMEOUT_MS };
      if (server.startsWith("https:")) await config.applyToHTTPSOptions(options);
      return send(`${server}${path}`, options, text);
    },
  };
}

function send(url: string, options: RequestOptions, body: string | null): Promise<ApiAnswer> {
  return new Promise((resolve, reject) => {
    const ask = url.startsWith("https:") ? httpsRequest : httpRequest;
    const request = ask(url, options, (response) => {
      const chunks: Buffer[] = [];
      let size = 0;
      response.on("data", (chunk: Buffer) => {
        size += chunk.length;
        if (size > MAX_ANSWER_BYTES) request.destroy(new Error(`the answer is larger than ${MAX_ANSWER_BYTES} bytes`));
        else chunks.push(chunk);
      });
      response.on("error", reject);
      response.on("end", () => {
        const dateMs = Date.parse(response.headers.date ?? "");
        const text = Buffer.concat(chunks).toString("utf8");
        resolve({ status: response.statusCode ?? 0, body: parse(text), dateMs: Number.isNaN(dateMs) ? null : dateMs });
      });
    });
    request.on("timeout", () => request.destroy(new Error(`no answer within ${CALL_TIMEOUT_MS / 1000} s`)));
    request.on("error", reject);
    request.end(body ?? undefined);
  });
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
