// One hop of the bare http-proxy contender, as a process: `client PORT TARGET-PORT CA CERT KEY` (plain in, TLS out) or `server …` (TLS in, plain out).
// Nothing but the library and keep-alive agents: what any gateway written on it pays at least.
import { readFileSync } from "node:fs";
import { Agent as HttpAgent, createServer } from "node:http";
import { createServer as createTlsServer, Agent as HttpsAgent } from "node:https";
import httpProxy from "http-proxy";
import { TLS_NAME } from "./tls-files.ts";

const KEPT_CONNECTIONS = 64;

const [kind = "", port = "", targetPort = "", ...files] = process.argv.slice(2);
const [ca, cert, key] = files.map((file) => readFileSync(file, "utf8"));
const tls = { ca, cert, key, minVersion: "TLSv1.3" } as const;

if (kind === "client") {
  const agent = new HttpsAgent({ keepAlive: true, maxFreeSockets: KEPT_CONNECTIONS, servername: TLS_NAME, ...tls });
  const proxy = httpProxy.createProxyServer({ target: `https://127.0.0.1:${targetPort}`, agent, secure: true });
  createServer((request, response) => proxy.web(request, response)).listen(Number(port), "127.0.0.1");
} else {
  const agent = new HttpAgent({ keepAlive: true, maxFreeSockets: KEPT_CONNECTIONS });
  const proxy = httpProxy.createProxyServer({ target: `http://127.0.0.1:${targetPort}`, agent });
  createTlsServer({ ...tls, requestCert: true, rejectUnauthorized: true }, (request, response) => proxy.web(request, response)).listen(
    Number(port),
    "127.0.0.1",
  );
}
