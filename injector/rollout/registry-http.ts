// The two ways to a replica of the registry: straight to its admin port, as the control plane does, or through the API server's proxy, for a laptop that
// reaches no pod but may use its kubeconfig.
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { KubeHttp } from "../cluster/kube-http.ts";
import { READ_TOKEN_HEADER, type ReadCredential } from "./read-credential.ts";
import type { FetchJson } from "./registry-reader.ts";

const TIMEOUT_MS = 5_000;
/** 10 000 instances are about 8 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

const WITHOUT: ReadCredential = () => Promise.resolve(null);

/** Asks one replica over HTTP; `base` is `http://host:port`. */
export function fetchFrom(base: string, credential: ReadCredential = WITHOUT): FetchJson {
  return async (path) => getJson(new URL(`${base}${path}`), headersOf(await credential()));
}

/** Asks `pod`, as `name:port`, through the API server. */
export function proxyTo(http: KubeHttp, namespace: string, pod: string, credential: ReadCredential): FetchJson {
  return async (path) =>
    http.call("GET", `/api/v1/namespaces/${namespace}/pods/${pod}/proxy${path}`, {
      timeoutMs: TIMEOUT_MS,
      headers: headersOf(await credential()),
    });
}

function headersOf(token: string | null): Readonly<Record<string, string>> {
  return token === null ? {} : { [READ_TOKEN_HEADER]: token };
}

/** By hand: `fetch` would load some megabytes of its own. */
function getJson(url: URL, headers: Readonly<Record<string, string>>): Promise<unknown> {
  const request = url.protocol === "http:" ? httpRequest : httpsRequest;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "GET", timeout: TIMEOUT_MS, headers }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MAX_ANSWER_BYTES) answer.destroy(new Error(`it answers more than ${MAX_ANSWER_BYTES} bytes`));
      });
      answer.on("error", reject);
      answer.on("end", () => {
        if (answer.statusCode !== 200) return reject(new Error(refusalOf(answer.statusCode)));
        try {
          resolve(JSON.parse(Buffer.concat(chunks).toString("utf8")));
        } catch (error) {
          reject(error);
        }
      });
    });
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${TIMEOUT_MS / 1000} s`)));
    sent.on("error", reject);
    sent.end();
  });
}

function refusalOf(status: number | undefined): string {
  if (status !== 401 && status !== 403) return `it answers ${status}`;
  return `it answers ${status}: reading the whole mesh needs REMORA_READ_TOKEN, or a connection from its own machine (kubectl port-forward)`;
}
