// nginx as the origin (1 KiB, kept in memory) and as the contender to beat: one process a hop, keep-alive and TLS 1.3 with client certificates between
// the hops, no access log.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import type { StartContender } from "./contender.ts";
import type { StartProcess } from "./processes.ts";
import { TLS_NAME, writeTlsFiles } from "./tls-files.ts";
import { untilServed } from "./until-served.ts";

const BODY_BYTES = 1_024;
const READY_TIMEOUT_MS = 5_000;
const KEPT_CONNECTIONS = 64;

/** A running nginx. */
export interface Nginx {
  readonly port: number;
  readonly pid: number;
  readonly startMs: number;
}

/** Starts the origin. */
export async function startOrigin(folder: string, start: StartProcess): Promise<Nginx> {
  return startNginx(
    start,
    join(folder, "origin"),
    (port) => `server { listen 127.0.0.1:${port}; location / { return 200 "${"x".repeat(BODY_BYTES)}"; } }`,
  );
}

/** nginx in front of nginx. */
export const startNginxPair: StartContender = async ({ originPort, folder, start }) => {
  const tls = await writeTlsFiles(folder);
  const proxy = `proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;`;
  const server = await startNginx(
    start,
    join(folder, "server"),
    (port) => `
      upstream origin { server 127.0.0.1:${originPort}; keepalive ${KEPT_CONNECTIONS}; }
      server {
        listen 127.0.0.1:${port} ssl;
        ssl_certificate ${tls.cert}; ssl_certificate_key ${tls.key};
        ssl_client_certificate ${tls.ca}; ssl_verify_client on; ssl_protocols TLSv1.3;
        location / { ${proxy} proxy_pass http://origin; }
      }`,
    true,
  );
  const client = await startNginx(
    start,
    join(folder, "client"),
    (port) => `
      upstream peer { server 127.0.0.1:${server.port}; keepalive ${KEPT_CONNECTIONS}; }
      server {
        listen 127.0.0.1:${port};
        location / {
          ${proxy} proxy_pass https://peer;
          proxy_ssl_certificate ${tls.cert}; proxy_ssl_certificate_key ${tls.key};
          proxy_ssl_trusted_certificate ${tls.ca}; proxy_ssl_verify on; proxy_ssl_name ${TLS_NAME}; proxy_ssl_protocols TLSv1.3;
        }
      }`,
  );
  return {
    name: "nginx",
    url: `http://127.0.0.1:${client.port}/`,
    host: null,
    hops: [client.pid, server.pid],
    startMs: Math.max(client.startMs, server.startMs),
  };
};

async function startNginx(start: StartProcess, folder: string, servers: (port: number) => string, tls = false): Promise<Nginx> {
  await mkdir(folder, { recursive: true });
  const [port = 0] = await freePorts(1);
  const temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join(" ");
  const config = `
    daemon off; master_process off; worker_processes 1; pid ${folder}/pid; error_log ${folder}/error.log warn;
    events { worker_connections 4096; }
    http { access_log off; keepalive_requests 1000000; default_type text/plain; ${temporary} ${servers(port)} }`;
  await writeFile(join(folder, "nginx.conf"), config);
  const startedMonoMs = performance.now();
  const child = await start({
    command: "nginx",
    arguments: ["-p", folder, "-c", join(folder, "nginx.conf"), "-e", join(folder, "error.log")],
    env: { ...process.env, PATH: `${process.env["PATH"]}:/usr/sbin` },
    stdio: "ignore",
  });
  await untilServed({ port, timeoutMs: READY_TIMEOUT_MS, status: tls ? "400" : "200" }); // 400: plain HTTP to a TLS port, so it listens
  return {
    port,
    pid: child.pid,
    startMs: performance.now() - startedMonoMs,
  };
}
