// One hop of the bare http-proxy contender, as a process: `outbound PORT TARGET-PORT CA CERT KEY` (plain in, TLS out) or `inbound …` (TLS in, plain
// out). Nothing but the library, keep-alive agents and the work that every peer does: what any gateway written on it pays at least.
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { Agent as HttpAgent, createServer } from "node:http";
import { createServer as createTlsServer, Agent as HttpsAgent } from "node:https";
import type { TLSSocket } from "node:tls";
import httpProxy from "http-proxy";
import { TLS_NAME } from "../tls-files.ts";

const KEPT_CONNECTIONS = 1_024;
/** A limit that never fires: a window counter by caller. */
const REQUESTS_PER_SECOND = 1_000_000;
const WINDOW_MS = 1_000;

const [kind = "", port = "", targetPort = "", ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((file) => readFileSync(file, "utf8"));
const tls = { ca, cert, key, minVersion: "TLSv1.3" } as const;

/** Who is at the other end of a connection; asked once for each. */
const callers = new WeakMap<object, string>();
const windows = new Map<string, { endMonoMs: number; count: number }>();

function callerOf(socket: TLSSocket): string {
  const known = callers.get(socket);
  if (known !== undefined) return known;
  const caller = `Subject="CN=${String(socket.getPeerCertificate().subject.CN)}"`;
  callers.set(socket, caller);
  return caller;
}

function allowed(caller: string): boolean {
  const nowMonoMs = performance.now();
  let window = windows.get(caller);
  if (window === undefined || nowMonoMs > window.endMonoMs) {
    window = { endMonoMs: nowMonoMs + WINDOW_MS, count: 0 };
    windows.set(caller, window);
  }
  window.count += 1;
  return window.count <= REQUESTS_PER_SECOND;
}

/**
 * Without a listener for errors the library throws when a client leaves early. It also hands a client's `Connection: close` on to the next hop, and
 * would open a TLS connection for each such request.
 */
function adapt(proxy: httpProxy): httpProxy {
  proxy.on("error", (_error, _request, response) => void response.destroy());
  proxy.on("proxyReq", (outgoing) => void outgoing.setHeader("connection", "keep-alive"));
  proxy.on("proxyRes", (incoming, { headers }) => {
    incoming.headers.connection = headers.connection ?? "keep-alive";
  });
  return proxy;
}

if (kind === "outbound") {
  const agent = new HttpsAgent({ keepAlive: true, maxFreeSockets: KEPT_CONNECTIONS, servername: TLS_NAME, ...tls });
  const proxy = adapt(httpProxy.createProxyServer({ target: `https://127.0.0.1:${targetPort}`, agent, secure: true }));
  createServer((request, response) => {
    request.headers["x-request-id"] ??= randomUUID();
    proxy.web(request, response);
  }).listen(Number(port), "127.0.0.1", 4_096);
} else {
  const agent = new HttpAgent({ keepAlive: true, maxFreeSockets: KEPT_CONNECTIONS });
  const proxy = adapt(httpProxy.createProxyServer({ target: `http://127.0.0.1:${targetPort}`, agent }));
  createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true }, (request, response) => {
    const caller = callerOf(request.socket as TLSSocket); // what a TLS server hands out
    if (!allowed(caller)) return void response.writeHead(429).end();
    request.headers["x-request-id"] ??= randomUUID();
    request.headers["x-forwarded-client-cert"] = caller;
    proxy.web(request, response);
  }).listen(Number(port), "127.0.0.1", 4_096);
}
