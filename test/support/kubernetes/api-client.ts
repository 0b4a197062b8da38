// The plain API of a real API server: JSON over HTTPS, one call each, with a deadline. For what a test does hundreds of times, where kubectl would
// take longer to start than the call takes; and for what only controllers and kubelets do.
import { Agent, request } from "node:https";

const CALL_TIMEOUT_MS = 30_000;

/** Any object of the API. */
export interface ApiObject {
  readonly apiVersion?: string;
  readonly kind?: string;
  readonly metadata: {
    readonly name?: string;
    readonly generateName?: string;
    readonly namespace?: string;
    readonly uid?: string;
    readonly resourceVersion?: string;
    readonly labels?: Readonly<Record<string, string>>;
    readonly annotations?: Readonly<Record<string, string>>;
    readonly ownerReferences?: readonly OwnerReference[];
    readonly [field: string]: unknown;
  };
  readonly [field: string]: unknown;
}

/** As in `metadata.ownerReferences`. */
export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
}

/** What the API server answered. */
export interface ApiAnswer {
  readonly status: number;
  readonly body: unknown;
  /** Texts of `Warning` headers, as kubectl prints them. */
  readonly warnings: readonly string[];
}

/** One call, apart from its path. */
export interface ApiCall {
  /** Default GET, or POST with a body. */
  readonly method?: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly body?: unknown;
  /** Default application/json. */
  readonly contentType?: string;
  /** The user to act as, e.g. a controller's service account. */
  readonly as?: string;
}

/** An API call that was not answered with success. The message is the API server's. */
export class ApiError extends Error {
  readonly status: number;
  readonly reason: string;

  constructor(call: string, status: number, body: unknown) {
    const { message = JSON.stringify(body), reason = "" } = body as { readonly message?: string; readonly reason?: string };
    super(`${call}: ${status} ${message}`);
    this.status = status;
    this.reason = reason;
  }
}

/** A client with one user's token. */
export interface ApiClient {
  /** @throws ApiError for any status but 2xx */
  call(path: string, call?: ApiCall): Promise<ApiAnswer>;
  /** The body of {@link call}. */
  object(path: string, call?: ApiCall): Promise<ApiObject>;
  close(): void;
}

/** Keeps a few connections. `url` is `https://host:port`. */
export function createApiClient(url: string, caPem: string, token: string): ApiClient {
  const agent = new Agent({ ca: caPem, keepAlive: true, maxSockets: 16 });

  function call(path: string, { body, method = body === undefined ? "GET" : "POST", contentType, as }: ApiCall = {}): Promise<ApiAnswer> {
    const what = `${method} ${path}`;
    const text = body === undefined ? null : JSON.stringify(body);
    const headers = {
      authorization: `Bearer ${token}`,
      accept: "application/json",
      ...(text === null ? {} : { "content-type": contentType ?? "application/json", "content-length": Buffer.byteLength(text) }),
      ...(as === undefined ? {} : { "impersonate-user": as }),
    };
    return new Promise((done, fail) => {
      const sent = request(`${url}${path}`, { method, agent, headers, timeout: CALL_TIMEOUT_MS }, (response) => {
        let answer = "";
        response.setEncoding("utf8").on("data", (more: string) => (answer += more));
        response.on("error", fail);
        response.on("end", () => {
          const status = response.statusCode ?? 0;
          const parsed = parseJson(answer);
          if (status < 200 || status > 299) return fail(new ApiError(what, status, parsed));
          done({ status, body: parsed, warnings: parseWarnings(response.headersDistinct["warning"] ?? []) });
        });
      });
      sent.on("timeout", () => sent.destroy(new Error(`${what}: no answer within ${CALL_TIMEOUT_MS / 1000} s`)));
      sent.on("error", fail);
      sent.end(text ?? undefined);
    });
  }

  return {
    call,
    object: async (path, options) => (await call(path, options)).body as ApiObject,
    close: () => agent.destroy(),
  };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return { message: text };
  }
}

/** RFC 7234 5.5: `299 - "text"`, where quotes in the text are escaped. */
function parseWarnings(headers: readonly string[]): readonly string[] {
  return headers.flatMap((header) =>
    [...header.matchAll(/\d{3} \S+ "((?:[^"\\]|\\.)*)"/g)].map(([, text = ""]) => text.replaceAll(/\\(.)/g, "$1")),
  );
}
