// The one thing that checks ask of a cluster: a call of the Kubernetes API with the rights of the user's own kubeconfig. An interface, so that a test
// answers from a table. How one authenticates is `injector/cluster/kube-access.ts`; the answers stay plain JSON, with their status and date.
import { request as httpRequest, type RequestOptions } from "node:http";
import { request as httpsRequest } from "node:https";
import { findKubeContext } from "../../injector/cluster/kube-access.ts";

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

/** Finds the cluster as kubectl does. @throws ConfigError when there is none */
export async function connectApi({ kubeconfig, context }: { readonly kubeconfig?: string; readonly context?: string }): Promise<CheckApi> {
  // As if the variable named it, so that paths in it are relative to it.
  const env = kubeconfig === undefined ? process.env : { KUBECONFIG: kubeconfig };
  const found = await findKubeContext({ env, ...(context === undefined ? {} : { context }) });
  return {
    server: found.server.replace(/\/$/, ""),
    async call(method, path, body, own = {}) {
      const { server, tls, headers: credentials } = await found.access();
      const text = body === undefined ? null : JSON.stringify(body);
      const headers = {
        ...own,
        ...credentials,
        accept: "application/json",
        ...(text === null ? {} : { "content-type": "application/json" }),
      };
      return send(server.replace(/\/$/, "") + path, { method, headers, timeout: CALL_TIMEOUT_MS, ...tls }, text);
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
