// The HTTPS side of the webhook: one POST in, one AdmissionReview out. Owns TLS, bounds, status codes, metrics and the log line; what is answered
// is decided in `judgement.ts`. A well-formed review is always answered 200: whether the object is allowed stands inside. Speaks HTTP/1.1, which API
// servers ask for so that their requests spread over replicas (kubernetes/kubernetes#75791), and HTTP/2 for whoever offers it.
import type { ServerResponse } from "node:http";
import { createSecureServer, type Http2SecureServer, type Http2ServerResponse, type ServerHttp2Session } from "node:http2";
import type { AddressInfo, Socket } from "node:net";
import type { SecureContextOptions, TLSSocket } from "node:tls";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/log.ts";
import type { Metrics } from "../../core/metrics.ts";
import type { Admission, Selected } from "./admit.ts";
import { createBodyBudget } from "./body-budget.ts";
import { mayCall, type WebhookClients } from "./client-certificate.ts";
import { type AdmissionAnswer, type AdmissionRequest, formatReview, parseReview } from "./envelope.ts";
import { createJoin } from "./join-chunks.ts";
import type { Validation } from "../validate/validate.ts";
import { explainRefusal, type Hook, hookOf, MAX_REVIEW_BYTES, type WebhookRequest, withBody } from "./webhook-request.ts";

/** The API server gives up after `timeoutSeconds` of the webhook configuration, 5 s in ours. */
const REQUEST_TIMEOUT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 5_000;
const CONNECTIONS_CHECK_MS = 5_000;
/** API servers close idle connections after 90 s. Whoever closes first must be them, or a request may cross our closing and is lost. */
const IDLE_TIMEOUT_MS = 130_000;
/** An API server opens a connection for each request in flight, of which there may be 200 (`--max-mutating-requests-inflight`). */
const MAX_CONNECTIONS = 2_048;
/** How long a refused request of HTTP/2 may go on sending what nobody reads. */
const DISCARD_MS = 2_000;
/** Bodies in memory together. What is made of one takes three times as much again, but only one at a time. */
const MAX_BODIES_BYTES = 6 * MAX_REVIEW_BYTES;
const HTTP2_SETTINGS = { maxConcurrentStreams: 256, initialWindowSize: 1024 * 1024, enablePush: false } as const;
/** Flow control of one connection; its default of 64 KB would let one large pod hold up all others. */
const HTTP2_WINDOW_BYTES = 8 * 1024 * 1024;
const HTTP2_SESSION_MEMORY_MB = 64;

/** Key and certificate chain in PEM. */
export interface TlsPair {
  readonly privateKeyPem: string;
  readonly certificatePem: string;
}

/** What the server works with. */
export interface WebhookServerOptions {
  readonly host: string;
  /** 0 for any free one. */
  readonly port: number;
  readonly tls: TlsPair;
  /** Who may call; null for everybody who reaches the port. */
  readonly clients: WebhookClients | null;
  /** Answers about a pod. */
  readonly admit: (review: AdmissionRequest, selected: Selected) => Admission | Promise<Admission>;
  /** Answers about any object. Rejects with {@link UnableError} when nothing can be said: the webhook's `failurePolicy` decides then. */
  readonly validate: (review: AdmissionRequest) => Validation | Promise<Validation>;
  /** Called after each answer about a pod that was no dry run. */
  readonly onAdmission: (review: AdmissionRequest, admission: Admission) => void;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A running webhook. */
export interface WebhookServer {
  readonly port: number;
  /** New connections get this certificate and have to satisfy these clients' roots; open ones keep theirs. */
  replaceTls(tls: TlsPair, clients: WebhookClients | null): void;
  /** From now on every answer is the last of its connection, so that callers go elsewhere. New connections are served as before. */
  retire(): void;
  /** Answers what is being asked, takes nothing new. Connections still open after `timeoutMs` are cut. */
  close(timeoutMs?: number): Promise<void>;
}

const DEFAULT_CLOSE_TIMEOUT_MS = 5_000;

type Answer = ServerResponse | Http2ServerResponse;

/** Starts listening; rejects when the port is taken. */
export async function startWebhookServer(options: WebhookServerOptions): Promise<WebhookServer> {
  const { log, clock, metrics } = options;
  const counters = createCounters(metrics);
  const sockets = new Set<Socket>();
  const sessions = new Set<ServerHttp2Session>();
  const budget = createBodyBudget(MAX_BODIES_BYTES);
  const join = createJoin(MAX_REVIEW_BYTES);
  let clients = options.clients;
  let retiring = false;

  async function serve(request: WebhookRequest, response: Answer): Promise<void> {
    const startedMs = clock.monoMs();
    let hook: Hook | null = null;
    try {
      hook = hookOf(request);
      const of = hook;
      const body = await withBody(request, budget, join, (bytes) => answer(of, parseReview(bytes)));
      send(response, 200, body, "application/json", retiring);
    } catch (error) {
      refuse(error, hook, request, response);
    } finally {
      counters.durations[hook?.kind ?? "inject"].observe((clock.monoMs() - startedMs) / 1000);
    }
  }

  async function answer(hook: Hook, review: AdmissionRequest): Promise<string> {
    if (hook.kind === "validate") {
      const { answer, result, reason } = await options.validate(review);
      counters.validations.inc({ result, reason });
      log.info(lineOf(review, result, reason, answer), "object validated");
      return formatReview(review.uid, answer);
    }
    const admission = await options.admit(review, hook.selected);
    const { answer, result, reason } = admission;
    (review.dryRun ? counters.dryRuns : counters.injections).inc({ result, reason });
    log.info(lineOf(review, result, reason, answer), "admission answered");
    if (!review.dryRun) setImmediate(options.onAdmission, review, admission);
    return formatReview(review.uid, answer);
  }

  function refuse(error: unknown, hook: Hook | null, request: WebhookRequest, response: Answer): void {
    const { status, reason, message } = explainRefusal(error);
    (hook?.kind === "validate" ? counters.validations : counters.injections).inc({ result: "error", reason });
    log.warn({ err: status === 500 ? error : undefined, reason, detail: message }, "admission request not understood");
    if (status === 405) response.setHeader("allow", "POST");
    // What is left of the body is not worth reading: HTTP/1.1 ends the connection, HTTP/2 reads on into nothing, or the stream would never end.
    if ("stream" in request) {
      const { stream } = request;
      request.resume();
      clock.after(DISCARD_MS, () => stream.destroy());
    }
    send(response, status, `${message}\n`, "text/plain; charset=utf-8", true);
  }

  const server = createSecureServer(
    {
      ...contextOf(options.tls, clients),
      allowHTTP1: true,
      // Both stay as they are when the context is replaced, so the server has to know from the beginning whether it asks callers who they are.
      requestCert: clients !== null,
      rejectUnauthorized: clients !== null,
      settings: HTTP2_SETTINGS,
      maxSessionMemory: HTTP2_SESSION_MEMORY_MB,
    },
    (request, response) => void serve(request, response),
  );
  boundHttp1(server);
  server.maxConnections = MAX_CONNECTIONS;
  server.setTimeout(IDLE_TIMEOUT_MS);
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  server.prependListener("secureConnection", (socket: TLSSocket) => {
    if (clients === null || mayCall(socket, clients)) return;
    counters.refusedClients.inc();
    log.warn({ subject: socket.getPeerX509Certificate()?.subject ?? null }, "webhook caller refused: none of its names may call");
    socket.destroy();
  });
  server.on("session", (session: ServerHttp2Session) => {
    session.setLocalWindowSize(HTTP2_WINDOW_BYTES);
    if (retiring) session.close();
    else sessions.add(session);
    session.on("close", () => sessions.delete(session));
  });
  server.on("sessionError", (error: Error) => log.debug({ reason: error.message }, "webhook HTTP/2 session failed"));
  // Scanners and plaintext clients: nothing to tell them, and nothing worth more than a debug line. Callers without a certificate also end here.
  server.on("tlsClientError", (error: Error) => {
    if (clients !== null) counters.refusedClients.inc();
    log.debug({ reason: error.message }, "webhook TLS handshake failed");
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => log.error({ err: error }, "webhook server error"));

  function retire(): void {
    retiring = true;
    // GOAWAY: what was asked is answered, what comes later is asked elsewhere.
    for (const session of sessions) session.close();
  }

  return {
    port: (server.address() as AddressInfo).port,
    replaceTls(tls, newClients) {
      clients = newClients;
      server.setSecureContext(contextOf(tls, newClients));
    },
    retire,
    close(timeoutMs = DEFAULT_CLOSE_TIMEOUT_MS) {
      retire();
      return new Promise<void>((resolve) => {
        const cut = clock.after(timeoutMs, () => {
          for (const socket of sockets) socket.destroy();
        });
        server.close(() => {
          cut.cancel();
          resolve();
        });
      });
    },
  };
}

function contextOf({ privateKeyPem, certificatePem }: TlsPair, clients: WebhookClients | null): SecureContextOptions {
  const roots = clients === null ? {} : { ca: clients.rootsPem };
  return { minVersion: "TLSv1.3", key: privateKeyPem, cert: certificatePem, ...roots };
}

/** The types know nothing of what `allowHTTP1` brings with it; the server has these fields (node:internal/http2/core, Http2SecureServer). */
function boundHttp1(server: Http2SecureServer): void {
  const bounds = {
    requestTimeout: REQUEST_TIMEOUT_MS,
    headersTimeout: HEADERS_TIMEOUT_MS,
    keepAliveTimeout: IDLE_TIMEOUT_MS,
    connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
  };
  Object.assign(server, bounds);
}

function createCounters(metrics: Metrics) {
  const durations = metrics.histogram({
    name: "remora_injection_duration_seconds",
    help: "Time from the head of a review to its answer.",
    labels: ["hook"],
  });
  const labels = ["result", "reason"];
  return {
    injections: metrics.counter({ name: "remora_injections_total", help: "Admission requests by what became of them and why.", labels }),
    dryRuns: metrics.counter({
      name: "remora_injection_dry_runs_total",
      help: "Admission requests that were dry runs, of which nothing came, by what would have become of them and why.",
      labels,
    }),
    validations: metrics.counter({
      name: "remora_validations_total",
      help: "Objects that were judged by what became of them and why.",
      labels,
    }),
    refusedClients: metrics
      .counter({
        name: "remora_webhook_clients_refused_total",
        help: "Connections refused because the caller did not prove that it may call.",
      })
      .child(),
    durations: { inject: durations.child({ hook: "inject" }), validate: durations.child({ hook: "validate" }) },
  };
}

function lineOf(review: AdmissionRequest, result: string, reason: string, answer: AdmissionAnswer): object {
  const { uid, namespace, name, dryRun, kind } = review;
  return {
    uid,
    namespace,
    ...(kind.kind === "Pod" ? { pod: name || prefixOf(review.object) } : { kind: kind.kind, name }),
    result,
    reason,
    dryRun,
    ...(answer.allowed ? {} : { detail: answer.message }),
  };
}

/** A pod made by a controller has no name yet. */
function prefixOf(object: unknown): string {
  const prefix = (object as { readonly metadata?: { readonly generateName?: unknown } | null } | null)?.metadata?.generateName;
  return typeof prefix === "string" ? `${prefix}*` : "";
}

function send(response: Answer, status: number, body: string, type: string, isLast: boolean): void {
  const isHttp2 = "stream" in response;
  response.setHeader("content-type", type);
  response.setHeader("content-length", Buffer.byteLength(body));
  response.setHeader("cache-control", "no-store");
  // HTTP/2 has no such field: there a session ends by GOAWAY, and one bad request does not end it.
  if (isLast && !isHttp2) response.setHeader("connection", "close");
  response.statusCode = status;
  response.end(body);
}
