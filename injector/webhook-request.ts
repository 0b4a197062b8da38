// What the webhook takes from an HTTP request before it is a review: path, method, content type and a bounded body; and the one table that turns
// what is wrong with it into a status.
import type { IncomingMessage } from "node:http";
import { AdmissionError } from "../core/errors.ts";
import type { Selected } from "./admit.ts";

/** etcd stores at most 1.5 MiB; a review may hold the object and, for updates, the one before. */
export const MAX_REVIEW_BYTES = 3 * 1024 * 1024;
const SELECTED_BY_PATH: ReadonlyMap<string, Selected> = new Map([
  ["/inject", "by_namespace"],
  ["/inject/labelled", "by_pod"],
]);

/** Refusals that are about the HTTP request and not about the review in it. */
class RequestError extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(status: number, reason: string, message: string) {
    super(message);
    this.status = status;
    this.reason = reason;
  }
}

/** Which webhook is asked. Throws for another path, method or content type. */
export function selectedBy(request: IncomingMessage): Selected {
  const [path = ""] = (request.url ?? "").split("?");
  const selected = SELECTED_BY_PATH.get(path);
  if (selected === undefined) throw new RequestError(404, "not_found", "not found: the webhook is POST /inject");
  if (request.method !== "POST") throw new RequestError(405, "method_not_allowed", "method not allowed: the webhook is POST /inject");
  const type = (request.headers["content-type"] ?? "").split(";")[0]?.trim().toLowerCase();
  if (type !== "application/json") {
    throw new AdmissionError(
      "unsupported_media_type",
      `content type ${JSON.stringify((type ?? "").slice(0, 100))} is not application/json`,
    );
  }
  return selected;
}

/** The whole body; throws `AdmissionError("too_large")` as soon as it is known to be. */
export function readBody(request: IncomingMessage): Promise<Buffer> {
  if (Number(request.headers["content-length"] ?? 0) > MAX_REVIEW_BYTES) return Promise.reject(tooLarge());
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let bytes = 0;
    request.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      if (bytes <= MAX_REVIEW_BYTES) {
        chunks.push(chunk);
        return;
      }
      request.removeAllListeners("data");
      request.pause();
      reject(tooLarge());
    });
    request.on("end", () => resolve(Buffer.concat(chunks)));
    request.on("error", (cause) => reject(new AdmissionError("malformed_review", "the request ended before its body did", { cause })));
  });
}

function tooLarge(): AdmissionError {
  return new AdmissionError("too_large", `the review is larger than ${MAX_REVIEW_BYTES} bytes`);
}

/** Status, code and sentence for whatever went wrong; the details of our own mistakes stay inside. */
export function explainRefusal(error: unknown): { readonly status: number; readonly reason: string; readonly message: string } {
  if (error instanceof RequestError) return error;
  if (!(error instanceof AdmissionError)) return { status: 500, reason: "internal", message: "internal error" };
  const status = { unsupported_media_type: 415, too_large: 413, malformed_review: 400, invalid_annotation: 400, conflict: 400 }[error.code];
  return { status, reason: error.code, message: error.message };
}
