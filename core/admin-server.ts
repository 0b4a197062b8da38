// The plain HTTP server for operators that every component runs (design 2 and 8): liveness, readiness, metrics, information, exit. Owns the socket,
// its bounds and the refusals; what is answered comes from the functions it is given, further paths from `routes`.
import { once } from "node:events";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { type AdminRequest, type AdminResponse, builtInRoutes, type HealthReport, type Readiness, type Route } from "./admin-routes.ts";
import { isTooLarge, readBody } from "./admin-body.ts";
import type { Logger } from "./log.ts";
import type { Metrics } from "./metrics.ts";
import type { Secret } from "./secret.ts";

export type { AdminRequest, AdminResponse, HealthCheck, HealthReport, Readiness, Route } from "./admin-routes.ts";

const MAX_CONNECTIONS = 256;
const MAX_HEADER_BYTES = 16 * 1024;
const HEADERS_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 30_000;
const KEEP_ALIVE_TIMEOUT_MS = 5000;
const CHECK_PERIOD_MS = 1000;
const CLOSE_GRACE_MS = 1000;

/** What {@link startAdminServer} needs. */
export interface AdminServerOptions {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
  readonly log: Logger;
  readonly metrics: Metrics;
  /** Asked for at `/metrics`; null: metrics are open. */
  readonly metricsToken: Secret | null;
  /** Body of `/api/v1/info`. */
  info(): object;
  /** Body of `/api/v1/health`; `down` is answered 503. */
  health(): HealthReport;
  /** `/ready`. */
  ready(): Readiness;
  /** Called once per accepted `POST /exit`, after it was answered. */
  onExit(): void;
  /** Tried after the built-in paths, in order. */
  readonly routes?: readonly Route[];
}

/** A running admin server. */
export interface AdminServer {
  readonly port: number;
  /** Stops listening, ends idle connections at once and all others within 1 s. */
  close(): Promise<void>;
}

/** Listens; raises the listen error (for example EADDRINUSE) with the address in its message. */
export async function startAdminServer(options: AdminServerOptions): Promise<AdminServer> {
  const { log } = options;
  const routes = [...builtInRoutes(options), ...(options.routes ?? [])];
  const server = createServer(
    {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      requestTimeout: REQUEST_TIMEOUT_MS,
      keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
      connectionsCheckingInterval: CHECK_PERIOD_MS,
      requireHostHeader: false, // kubelet and scripts of old send none
    },
    (request, response) => void serve(request, response, routes, log),
  );
  server.maxConnections = MAX_CONNECTIONS;

  server.listen(options.port, options.host);
  await once(server, "listening");
  server.on("error", (err) => log.error({ err }, "admin server failed"));
  const { port } = server.address() as AddressInfo; // a TCP listener's address is never a string
  log.info({ host: options.host, port }, "admin server listening");

  async function close(): Promise<void> {
    const closed = once(server, "close");
    server.close();
    server.closeIdleConnections();
    const force = setTimeout(() => server.closeAllConnections(), CLOSE_GRACE_MS).unref();
    await closed;
    clearTimeout(force);
  }
  return { port, close };
}

async function serve(request: IncomingMessage, response: ServerResponse, routes: readonly Route[], log: Logger): Promise<void> {
  try {
    const answer = await answerTo(toAdminRequest(request), routes);
    send(request, response, answer);
  } catch (err) {
    if (isTooLarge(err)) return send(request, response, { status: 413, body: { error: "too_large", message: err.message } });
    if (request.destroyed && !request.complete) return; // the client left in the middle of its body; nobody reads an answer
    log.error({ err, method: request.method, path: request.url?.slice(0, 200) }, "admin request failed");
    send(request, response, { status: 500, body: { error: "internal", message: "The request failed; the log says why." } });
  }
}

function toAdminRequest(request: IncomingMessage): AdminRequest {
  const target = request.url ?? "/";
  const queryAt = target.indexOf("?");
  return {
    method: request.method ?? "GET",
    path: queryAt === -1 ? target : target.slice(0, queryAt),
    query: new URLSearchParams(queryAt === -1 ? "" : target.slice(queryAt + 1)),
    headers: request.headers,
    remoteAddress: request.socket.remoteAddress ?? "",
    localAddress: request.socket.localAddress ?? "",
    body: (maxBytes) => readBody(request, maxBytes),
  };
}

async function answerTo(request: AdminRequest, routes: readonly Route[]): Promise<AdminResponse> {
  const matching = routes.filter(({ path }) => matches(path, request.path));
  if (matching.length === 0)
    return { status: 404, body: { error: "not_found", message: `There is nothing at ${request.path.slice(0, 200)}.` } };
  const method = request.method === "HEAD" ? "GET" : request.method;
  const route = matching.find((candidate) => candidate.method === method);
  if (route !== undefined) return route.handle(request);
  const allow = [...new Set(matching.flatMap((candidate) => (candidate.method === "GET" ? ["GET", "HEAD"] : [candidate.method])))].join(
    ", ",
  );
  return { status: 405, headers: { allow }, body: { error: "method_not_allowed", message: `Use ${allow}.` } };
}

function matches(pattern: string, path: string): boolean {
  return pattern.endsWith("/*") ? path.startsWith(pattern.slice(0, -1)) : path === pattern;
}

function send(request: IncomingMessage, response: ServerResponse, { status, headers = {}, body, cut = false }: AdminResponse): void {
  if (response.headersSent || response.destroyed) return;
  if (cut) {
    request.socket.destroy();
    return;
  }
  const isPlain = typeof body === "string" || Buffer.isBuffer(body);
  const bytes = Buffer.isBuffer(body) ? body : Buffer.from(isPlain ? body : `${JSON.stringify(body)}\n`);
  response.statusCode = status;
  response.setHeader("content-type", isPlain ? "text/plain; charset=utf-8" : "application/json");
  response.setHeader("cache-control", "no-store");
  response.setHeader("x-content-type-options", "nosniff");
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
  response.setHeader("content-length", bytes.length);
  // What was not read of the body would be taken for the next request, or read in vain: such a connection ends here.
  if (!request.complete) response.setHeader("connection", "close");
  response.end(request.method === "HEAD" ? undefined : bytes);
}
