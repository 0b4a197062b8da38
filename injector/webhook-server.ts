// The HTTPS side of the webhook: one POST in, one AdmissionReview out. Owns TLS, bounds, status codes, metrics and the log line; what is answered
// is `admit.ts`. A well-formed review is always answered 200: whether the pod is allowed stands inside.
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/log.ts";
import type { Metrics } from "../core/metrics.ts";
import { type Admission, admit, type Selected } from "./admit.ts";
import { type AdmissionRequest, formatReview, parseReview } from "./envelope.ts";
import type { InjectorSettings } from "./settings.ts";
import { noSurroundings } from "./surroundings.ts";
import { explainRefusal, readBody, selectedBy } from "./webhook-request.ts";

/** The API server gives up after `timeoutSeconds` of the webhook configuration, 5 s in ours. */
const REQUEST_TIMEOUT_MS = 10_000;
const HEADERS_TIMEOUT_MS = 5_000;
const IDLE_TIMEOUT_MS = 60_000;
/** API servers keep a few connections each. */
const MAX_CONNECTIONS = 512;

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
  /** Read once per request; `unavailable` says why no pod can be injected for the moment. */
  readonly settings: () => InjectorSettings | { readonly unavailable: string };
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: Metrics;
}

/** A running webhook. */
export interface WebhookServer {
  readonly port: number;
  /** New connections get this certificate; open ones keep theirs. */
  replaceTls(tls: TlsPair): void;
  /** Answers what is being asked, takes nothing new. Connections still open after `timeoutMs` are cut. */
  close(timeoutMs?: number): Promise<void>;
}

const DEFAULT_CLOSE_TIMEOUT_MS = 5_000;

/** Starts listening; rejects when the port is taken. */
export async function startWebhookServer(options: WebhookServerOptions): Promise<WebhookServer> {
  const { log, clock, metrics } = options;
  const injections = metrics.counter({
    name: "remora_injections_total",
    help: "Admission requests by what became of them and why.",
    labels: ["result", "reason"],
  });
  const duration = metrics
    .histogram({ name: "remora_injection_duration_seconds", help: "Time from the head of a review to its answer." })
    .child();
  const sockets = new Set<Socket>();
  let closing = false;

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const startedMs = clock.monoMs();
    try {
      const selected = selectedBy(request);
      const review = parseReview(await readBody(request));
      const admission = decideAbout(review, selected, options.settings());
      injections.inc({ result: admission.result, reason: admission.reason });
      log.info(lineOf(review, admission), "admission answered");
      // Or the API server would keep the connection, and the closing would have to cut it.
      if (closing) response.setHeader("connection", "close");
      send(response, 200, formatReview(review.uid, admission.answer), "application/json");
    } catch (error) {
      refuse(error, response);
    } finally {
      duration.observe((clock.monoMs() - startedMs) / 1000);
    }
  }

  function refuse(error: unknown, response: ServerResponse): void {
    const { status, reason, message } = explainRefusal(error);
    injections.inc({ result: "error", reason });
    log.warn({ err: status === 500 ? error : undefined, reason, detail: message }, "admission request not understood");
    // What is left of the body is not worth reading.
    response.setHeader("connection", "close");
    if (status === 405) response.setHeader("allow", "POST");
    send(response, status, `${message}\n`, "text/plain; charset=utf-8");
  }

  const server = createServer(
    { minVersion: "TLSv1.3", key: options.tls.privateKeyPem, cert: options.tls.certificatePem },
    (request, response) => {
      void serve(request, response);
    },
  );
  server.requestTimeout = REQUEST_TIMEOUT_MS;
  server.headersTimeout = HEADERS_TIMEOUT_MS;
  server.keepAliveTimeout = IDLE_TIMEOUT_MS;
  server.maxConnections = MAX_CONNECTIONS;
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  // Scanners and plaintext clients: nothing to tell them, and nothing worth more than a debug line.
  server.on("tlsClientError", (error) => log.debug({ reason: error.message }, "webhook TLS handshake failed"));
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port, options.host, () => {
      server.off("error", reject);
      resolve();
    });
  });
  server.on("error", (error) => log.error({ err: error }, "webhook server error"));

  return {
    port: (server.address() as AddressInfo).port,
    replaceTls: ({ privateKeyPem, certificatePem }) =>
      server.setSecureContext({ minVersion: "TLSv1.3", key: privateKeyPem, cert: certificatePem }),
    close(timeoutMs = DEFAULT_CLOSE_TIMEOUT_MS) {
      closing = true;
      return new Promise<void>((resolve) => {
        const cut = clock.after(timeoutMs, () => {
          for (const socket of sockets) socket.destroy();
        });
        server.close(() => {
          cut.cancel();
          resolve();
        });
        server.closeIdleConnections();
      });
    },
  };
}

function decideAbout(review: AdmissionRequest, selected: Selected, settings: ReturnType<WebhookServerOptions["settings"]>): Admission {
  if (!("unavailable" in settings)) return admit(review, selected, noSurroundings(review.namespace), settings);
  // Fails closed: a pod without its sidecar, or with one that can trust nobody, is worse than one that is tried again in a moment.
  const audit = { decision: "refused", reason: "not_ready" };
  const message = `remora cannot inject yet (not_ready): ${settings.unavailable}`;
  return { result: "refused", reason: "not_ready", answer: { allowed: false, patch: [], message, warnings: [], audit } };
}

function lineOf(review: AdmissionRequest, { result, reason, answer }: Admission): object {
  const { uid, namespace, name, dryRun } = review;
  return {
    uid,
    namespace,
    pod: name || prefixOf(review.object),
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

function send(response: ServerResponse, status: number, body: string, type: string): void {
  response.writeHead(status, { "content-type": type, "content-length": Buffer.byteLength(body), "cache-control": "no-store" });
  response.end(body);
}
