// What every admin server answers: /live /ready /metrics /exit /api/v1/info /api/v1/health. Handlers are plain functions from request to answer.
import type { IncomingHttpHeaders } from "node:http";
import type { AdminServerOptions } from "./admin-server.ts";
import type { Secret } from "./secret.ts";

/** A request as routes see it. */
export interface AdminRequest {
  readonly method: string;
  /** Without the query; not decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Reads the body, at most `maxBytes`; above, the request is answered 413. Call it at most once. */
  body(maxBytes: number): Promise<Buffer>;
  readonly remoteAddress: string;
  /** Where the connection arrived; empty when it is gone. */
  readonly localAddress: string;
}

/** An answer. An object is sent as JSON, text as text/plain unless `headers` say otherwise. */
export interface AdminResponse {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string | Buffer | object;
  /** True: the connection ends without any answer, for who understands nothing else as failure. */
  readonly cut?: boolean;
}

/** One path and method. A `GET` route also answers `HEAD`. */
export interface Route {
  readonly method: string;
  /** Exact, or everything below a prefix that ends in "/*". */
  readonly path: string;
  handle(request: AdminRequest): Promise<AdminResponse> | AdminResponse;
}

/** One thing that can be well or not. */
export interface HealthCheck {
  readonly status: "ok" | "degraded" | "down";
  /** Epoch ms of the last change; answered as ISO time. */
  readonly since?: number;
  readonly message?: string;
}

/** Body of `/api/v1/health`. */
export interface HealthReport {
  readonly status: "ok" | "degraded" | "down";
  readonly checks: Readonly<Record<string, HealthCheck>>;
}

/** Whether traffic may come, and if not, what is awaited. */
export interface Readiness {
  readonly ready: boolean;
  readonly waitingFor: readonly string[];
}

/** The routes that need nothing but the server's options. */
export function builtInRoutes(options: AdminServerOptions): readonly Route[] {
  return [
    { method: "GET", path: "/live", handle: () => ({ status: 200, body: { live: true } }) },
    { method: "GET", path: "/ready", handle: () => readyAnswer(options.ready()) },
    { method: "GET", path: "/metrics", handle: (request) => metricsAnswer(request, options) },
    { method: "GET", path: "/api/v1/info", handle: () => ({ status: 200, body: options.info() }) },
    { method: "GET", path: "/api/v1/health", handle: () => healthAnswer(options.health()) },
    { method: "POST", path: "/exit", handle: (request) => exitAnswer(request, options) },
  ];
}

function readyAnswer({ ready, waitingFor }: Readiness): AdminResponse {
  return { status: ready ? 200 : 503, body: { ready, waitingFor } };
}

function healthAnswer(report: HealthReport): AdminResponse {
  const checks = Object.entries(report.checks).map(([name, { since, ...check }]) => [
    name,
    since === undefined ? check : { ...check, since: new Date(since).toISOString() },
  ]);
  return { status: report.status === "down" ? 503 : 200, body: { status: report.status, checks: Object.fromEntries(checks) } };
}

async function metricsAnswer({ headers }: AdminRequest, { metrics, metricsToken }: AdminServerOptions): Promise<AdminResponse> {
  // Fails closed: with a token set, anything but the token is refused, in constant time whatever was sent.
  if (metricsToken !== null && !holdsToken(headers, metricsToken)) {
    return {
      status: 401,
      headers: { "www-authenticate": 'Bearer realm="remora metrics"' },
      body: { error: "unauthenticated", message: "Send the metrics token in X-Metrics-Token or Authorization: Bearer." },
    };
  }
  return { status: 200, headers: { "content-type": metrics.registry.contentType }, body: await metrics.registry.metrics() };
}

function holdsToken(headers: IncomingHttpHeaders, token: Secret): boolean {
  const own = headers["x-metrics-token"];
  const bearer = /^bearer +(\S+) *$/i.exec(headers.authorization ?? "")?.[1];
  const ownMatches = token.equals(typeof own === "string" ? own : "");
  const bearerMatches = token.equals(bearer ?? "");
  return ownMatches || bearerMatches;
}

function exitAnswer({ remoteAddress, headers }: AdminRequest, { onExit, log }: AdminServerOptions): AdminResponse {
  // Fails closed: an unknown peer address is not loopback. A browser's request is local too, but any web page can make one; it says `Origin`.
  if (!isLoopback(remoteAddress) || headers.origin !== undefined) {
    log.warn({ remoteAddress }, "exit refused, the peer is not a local program");
    return { status: 403, body: { error: "forbidden", message: "Only programs of this host or pod may ask for exit." } };
  }
  log.info({ remoteAddress }, "exit requested");
  setImmediate(onExit);
  return { status: 202, headers: { connection: "close" }, body: { exiting: true } };
}

/** True when the caller is on this machine, or in this pod: over loopback, or from the very address that it called. */
export function isLocal({ remoteAddress, localAddress }: Pick<AdminRequest, "remoteAddress" | "localAddress">): boolean {
  return isLoopback(remoteAddress) || (remoteAddress !== "" && remoteAddress === localAddress);
}

/** True for 127.0.0.0/8, ::1 and v4-mapped 127.0.0.0/8. */
export function isLoopback(address: string): boolean {
  return address === "::1" || /^(?:::ffff:)?127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/i.test(address);
}
