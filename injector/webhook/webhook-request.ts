// What the webhook takes from an HTTP request before it is a review: path, method, content type and a bounded body; and the one table that turns
// what is wrong with it into a status.
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest } from "node:http2";
import { AdmissionError } from "../../core/errors.ts";
import type { Selected } from "./admit.ts";
import type { BodyBudget } from "./body-budget.ts";
import type { JoinChunks } from "./join-chunks.ts";

/** etcd stores at most 1.5 MiB; a review may hold the object and, for updates, the one before. */
export const MAX_REVIEW_BYTES = 3 * 1024 * 1024;

/** HTTP/1.1 or HTTP/2; what we use of them is the same. */
export type WebhookRequest = IncomingMessage | Http2ServerRequest;

/** What is asked for: a pod to be injected, or any object to be judged before it is stored. */
export type Hook = { readonly kind: "inject"; readonly selected: Selected } | { readonly kind: "validate" };

/** Each webhook of our configurations has a path of its own, which tells what its selectors matched. */
const HOOKS: ReadonlyMap<string, Hook> = new Map([
  ["/inject", { kind: "inject", selected: "by_namespace" }],
  ["/inject/labelled", { kind: "inject", selected: "by_pod" }],
  ["/inject/unclear-pod", { kind: "inject", selected: "unclear_pod" }],
  ["/inject/unclear-namespace", { kind: "inject", selected: "unclear_namespace" }],
  ["/validate", { kind: "validate" }],
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

/** Nothing can be said for the moment: answered 503, and the `failurePolicy` of the webhook decides. */
export class UnableError extends RequestError {
  constructor(sentence: string) {
    super(503, "not_ready", `remora cannot judge it yet: ${sentence}`);
  }
}

/** Which webhook is asked. Throws for another path, method or content type. */
export function hookOf(request: WebhookRequest): Hook {
  const [path = ""] = (request.url ?? "").split("?");
  const hook = HOOKS.get(path);
  if (hook === undefined) throw new RequestError(404, "not_found", "not found: the webhooks are POST /inject and POST /validate");
  if (request.method !== "POST") throw new RequestError(405, "method_not_allowed", `method not allowed: the webhook is POST ${path}`);
  const { "content-type": type = "", "content-encoding": encoding } = request.headers;
  if (type.split(";")[0]?.trim().toLowerCase() !== "application/json") {
    throw new AdmissionError("unsupported_media_type", `content type ${JSON.stringify(type.slice(0, 100))} is not application/json`);
  }
  if (encoding !== undefined && encoding !== "identity") {
    throw new AdmissionError(
      "unsupported_media_type",
      `content encoding ${JSON.stringify(encoding.slice(0, 100))} is not understood; send it plain`,
    );
  }
  return hook;
}

/**
 * Reads the whole body and gives it to `use` while its memory is accounted for. The bytes are those of the next body once `use` has returned, or come to its
 * first `await`. Throws `AdmissionError("too_large")` as soon as it is known to be.
 */
export async function withBody<Result>(
  request: WebhookRequest,
  budget: BodyBudget,
  join: JoinChunks,
  use: (body: Buffer) => Result | Promise<Result>,
): Promise<Result> {
  const declared = request.headers["content-length"];
  const bytes = declared === undefined ? MAX_REVIEW_BYTES : Number(declared);
  if (bytes > MAX_REVIEW_BYTES) throw tooLarge();
  const turn = budget.take(bytes);
  if (turn !== null) await turn;
  try {
    return await use(join(await readChunks(request)));
  } finally {
    budget.giveBack(bytes);
  }
}

function readChunks(request: WebhookRequest): Promise<readonly Buffer[]> {
  return new Promise((resolve, reject) => {
    // It may have gone away while it waited for its turn.
    if (request.destroyed) {
      reject(cutShort());
      return;
    }
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
    request.on("end", () => resolve(chunks));
    request.on("error", (cause) => reject(cutShort(cause)));
    // A stream of HTTP/2 that is reset says nothing else.
    request.on("close", () => {
      if (!request.readableEnded) reject(cutShort());
    });
  });
}

function tooLarge(): AdmissionError {
  return new AdmissionError("too_large", `the review is larger than ${MAX_REVIEW_BYTES} bytes`);
}

function cutShort(cause?: unknown): AdmissionError {
  return new AdmissionError("malformed_review", "the request ended before its body did", { cause });
}

/** Status, code and sentence for whatever went wrong; the details of our own mistakes stay inside. */
export function explainRefusal(error: unknown): { readonly status: number; readonly reason: string; readonly message: string } {
  if (error instanceof RequestError) return error;
  if (!(error instanceof AdmissionError)) return { status: 500, reason: "internal", message: "internal error" };
  const status = { unsupported_media_type: 415, too_large: 413, malformed_review: 400, invalid_annotation: 400, conflict: 400 }[error.code];
  return { status, reason: error.code, message: error.message };
}
