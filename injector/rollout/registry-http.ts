// The two ways to a replica of the registry: straight to its admin port, as the control plane does, or through the API server's proxy, for a laptop that
// reaches no pod but may use its kubeconfig.
import { request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import type { KubeHttp } from "../cluster/kube-http.ts";
import type { FetchJson } from "./registry-reader.ts";

const TIMEOUT_MS = 5_000;
/** 10 000 instances are about 8 MB. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** Asks one replica over HTTP; `base` is `http://host:port`. */
export function fetchFrom(base: string): FetchJson {
  return (path) => getJson(new URL(`${base}${path}`));
}

/** Asks `pod`, as `name:port`, through the API server. */
export function proxyTo(http: KubeHttp, namespace: string, pod: string): FetchJson {
  return (path) => http.call("GET", `/api/v1/namespaces/${namespace}/pods/${pod}/proxy${path}`, { timeoutMs: TIMEOUT_MS });
}

/** By hand: `fetch` would load some megabytes of its own. */
function getJson(url: URL): Promise<unknown> {
  const request = url.protocol === "http:" ? httpRequest : httpsRequest;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: "GET", timeout: TIMEOUT_MS }, (answer) => {
      const chunks: Buffer[] = [];
      let bytes = 0;
      answer.on("data", (chunk: Buffer) => {
        bytes += chunk.length;
        chunks.push(chunk);
        if (bytes > MAX_ANSWER_BYTES) answer.destroy(new Error(`it answers more than ${MAX_ANSWER_BYTES} bytes`));
      });
      answer.on("error", reject);
      answer.on("end", () => {
        if (answer.statusCode !== 200) return reject(new Error(`it answers ${answer.statusCode}`));
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
