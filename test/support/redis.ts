// A real redis-server on a free port of loopback, with its files in a temporary folder, that tests can kill, stop for a while, and start again on the
// same port. It dies with the test process, whatever ends that.
import type { ChildProcess } from "node:child_process";
import { execFileSync, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect as connectTls } from "node:tls";
import { freePort } from "./free-port.ts";

const START_TIMEOUT_MS = 30_000;
/** The C library's malloc before Redis's own (jemalloc), which asks for the time before libfaketime is ready. `$LIB` is the loader's. */
const FAKE_TIME_PRELOAD = "/usr/$LIB/faketime/libfaketime.so.1:libc.so.6";

/** Settings of {@link startRedis}. */
export interface RedisServerOptions {
  /** Asked from every client. */
  readonly password?: string;
  /** Serve TLS only; with "mutual" every client must show a certificate (the server's own will do). */
  readonly tls?: boolean | "mutual";
  /** Keep an append-only file, so that a killed server comes back with its data. */
  readonly persistent?: boolean;
  /** Further lines of redis.conf. */
  readonly lines?: readonly string[];
  /** Run as Sentinel, which writes to its configuration. */
  readonly sentinel?: boolean;
  /** Let {@link RedisServer.stepClock} set the server's wall clock, by Debian's libfaketime. */
  readonly fakeTime?: boolean;
}

/** A running server. */
export interface RedisServer {
  readonly port: number;
  /** With the password, if there is one. */
  readonly url: string;
  /** Root of the server's certificate, PEM; null without TLS. */
  readonly caPem: string | null;
  /** Key of that certificate, PEM. */
  readonly keyPem: string | null;
  /** Ends the process as a power cut would. */
  kill(): Promise<void>;
  /** SIGSTOP or SIGCONT. */
  signal(name: "SIGSTOP" | "SIGCONT"): void;
  /** Starts it again on the same port. */
  start(): Promise<void>;
  /** Sets its wall clock off by so many seconds; needs `fakeTime`. */
  stepClock(offsetSeconds: number): void;
  /** Ends it and removes its folder. */
  close(): Promise<void>;
}

/** Starts a server; `close` it in `t.teardown`. */
export async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const { password, tls = false, persistent = false, lines = [], sentinel = false, fakeTime = false } = options;
  const folder = mkdtempSync(join(tmpdir(), "remora-redis-"));
  const port = await freePort();
  const caPem = tls === false ? null : makeCertificate(folder);
  const conf = join(folder, "redis.conf");
  const clockFile = join(folder, "clock");
  writeFileSync(clockFile, "+0s\n");
  writeFileSync(
    conf,
    [
      ...(tls === false ? [`port ${port}`] : tlsLines(port, tls === "mutual")),
      "bind 127.0.0.1",
      `dir ${folder}`,
      ...(sentinel ? [] : ['save ""', `appendonly ${persistent ? "yes" : "no"}`]),
      ...(password === undefined ? [] : [`requirepass ${JSON.stringify(password)}`]),
      ...lines,
      "",
    ].join("\n"),
  );
  const fakeEnv = {
    LD_PRELOAD: FAKE_TIME_PRELOAD,
    FAKETIME_TIMESTAMP_FILE: clockFile,
    FAKETIME_NO_CACHE: "1",
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  };
  let child: ChildProcess | null = null;

  async function start(): Promise<void> {
    const started = spawn("setpriv", ["--pdeathsig=KILL", "--", "redis-server", conf, ...(sentinel ? ["--sentinel"] : [])], {
      cwd: folder,
      stdio: "ignore",
      env: { ...process.env, ...(fakeTime ? fakeEnv : {}) },
    });
    child = started;
    await waitForPort(port, tls !== false, started);
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
  return {
    port,
    url: `${tls === false ? "redis" : "rediss"}://${secret}127.0.0.1:${port}`,
    caPem,
    keyPem: caPem === null ? null : readFileSync(join(folder, "key.pem"), "utf8"),
    kill,
    signal: (name) => void child?.kill(name),
    start,
    stepClock: (seconds) => writeFileSync(clockFile, `${seconds < 0 ? "" : "+"}${seconds}s\n`),
    close,
  };
}

function tlsLines(port: number, mutual: boolean): string[] {
  const files = ["tls-cert-file cert.pem", "tls-key-file key.pem", "tls-ca-cert-file cert.pem"];
  return ["port 0", `tls-port ${port}`, ...files, `tls-auth-clients ${mutual ? "yes" : "no"}`];
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
