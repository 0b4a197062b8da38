// A real redis-server on a free port of loopback, with its files in a temporary folder, that tests can kill and start again on the same port.
import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";

const START_TIMEOUT_MS = 10_000;

/** Settings of {@link startRedis}. */
export interface RedisServerOptions {
  /** Asked from every client. */
  readonly password?: string;
  /** Serve TLS only; the client is not asked for a certificate. */
  readonly tls?: boolean;
  /** Keep an append-only file, so that a killed server comes back with its data. */
  readonly persistent?: boolean;
}

/** A running server. */
export interface RedisServer {
  readonly port: number;
  /** With the password, if there is one. */
  readonly url: string;
  /** Root of the server's certificate, PEM; null without TLS. */
  readonly caPem: string | null;
  /** Ends the process as a power cut would. */
  kill(): Promise<void>;
  /** Starts it again on the same port. */
  start(): Promise<void>;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

/** Starts a server; `close` it in `t.teardown`. */
export async function startRedis({ password, tls = false, persistent = false }: RedisServerOptions = {}): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), "remora-redis-"));
  const port = await freePort();
  const caPem = tls ? makeCertificate(folder) : null;
  let child: ChildProcess | null = null;

  async function start(): Promise<void> {
    const listen = tls
      ? [
          "--port",
          "0",
          "--tls-port",
          `${port}`,
          "--tls-cert-file",
          "cert.pem",
          "--tls-key-file",
          "key.pem",
          "--tls-ca-cert-file",
          "cert.pem",
        ]
      : ["--port", `${port}`];
    const args = [...listen, "--bind", "127.0.0.1", "--dir", folder, "--save", "", "--appendonly", persistent ? "yes" : "no"];
    const started = spawn(
      "redis-server",
      [...args, ...(tls ? ["--tls-auth-clients", "no"] : []), ...(password === undefined ? [] : ["--requirepass", password])],
      { cwd: folder, stdio: "ignore" },
    );
    child = started;
    await waitForPort(port, tls, started);
  }

  async function kill(): Promise<void> {
    const running = child;
    child = null;
    if (running === null || running.exitCode !== null || running.signalCode !== null) return;
    const gone = new Promise((resolve) => running.once("exit", resolve));
    running.kill("SIGKILL");
    await gone;
  }

  async function close(): Promise<void> {
    await kill();
    rmSync(folder, { recursive: true, force: true });
  }

  try {
    await start();
  } catch (error) {
    await close();
    throw error;
  }
  const secret = password === undefined ? "" : `:${encodeURIComponent(password)}@`;
  return { port, url: `${tls ? "rediss" : "redis"}://${secret}127.0.0.1:${port}`, caPem, kill, start, close };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve, reject) => server.once("error", reject).listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no port");
  return address.port;
}

function makeCertificate(folder: string): string {
  const names = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1"];
  const files = ["-keyout", join(folder, "key.pem"), "-out", join(folder, "cert.pem")];
  execFileSync(
    "openssl",
    ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", ...names, ...files],
    {
      stdio: "ignore",
      timeout: START_TIMEOUT_MS,
    },
  );
  return readFileSync(join(folder, "cert.pem"), "utf8");
}

async function waitForPort(port: number, tls: boolean, child: ChildProcess): Promise<void> {
  const deadline = Date.now() + START_TIMEOUT_MS;
  while (Date.now() < deadline) {
    if (child.exitCode !== null) throw new Error(`redis-server ended with ${child.exitCode}`);
    if (await answers(port, tls)) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`redis-server did not listen on ${port} within ${START_TIMEOUT_MS} ms`);
}

function answers(port: number, tls: boolean): Promise<boolean> {
  return new Promise((resolve) => {
    const options = { port, host: "127.0.0.1" };
    const socket = tls ? connectTls({ ...options, rejectUnauthorized: false }) : connect(options);
    const end = (answer: boolean) => {
      socket.destroy();
      resolve(answer);
    };
    socket.once(tls ? "secureConnect" : "connect", () => end(true));
    socket.once("error", () => end(false));
  });
}
