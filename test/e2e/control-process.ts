// One process of the control plane in an end-to-end test: the real `remora control`, watched, asked over its admin port, and killed. It dies with the
// test process, whatever kills that.
import { type ChildProcess, spawn } from "node:child_process";
import { get as httpGet } from "node:http";
import { join, resolve } from "node:path";
import { until } from "./until.ts";

const REMORA = resolve(import.meta.dirname, "../../bin/remora");
const READY_TIMEOUT_MS = 60_000;
const CALL_TIMEOUT_MS = 2_000;

export interface ControlProcess {
  readonly name: string;
  readonly adminPort: number;
  readonly child: ChildProcess;
  /** Comma list, as in REMORA_ROLES. */
  readonly roles: string;
  isRunning(): boolean;
  log(): string;
  /** GET on its admin port, parsed. Health answers 503 when it is down, which is an error here. */
  api(path: string): Promise<unknown>;
  /** SIGKILL; resolves when it is gone. */
  kill(): Promise<void>;
}

export interface ControlOptions {
  readonly name: string;
  /** Address of all its ports. */
  readonly host: string;
  readonly ports: { readonly grpc: number; readonly admin: number; readonly webhook: number };
  /** Its state folder is made in here, by its name. */
  readonly folder: string;
  readonly kubeconfig: string;
  /** Settings over those of the tests. */
  readonly env: Readonly<Record<string, string>>;
}

/** Starts it; {@link waitUntilReady} says when it is up. */
export function spawnControl({ name, host, ports, folder, kubeconfig, env }: ControlOptions): ControlProcess {
  const roles = env["REMORA_ROLES"] ?? "ca,registry,injector";
  const child = spawn("setpriv", ["--pdeathsig=KILL", "--", REMORA, "control"], {
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      PATH: process.env["PATH"],
      HOME: folder,
      KUBECONFIG: kubeconfig,
      REMORA_KUBERNETES: "on",
      REMORA_ROLES: roles,
      REMORA_BIND_ADDRESS: host,
      REMORA_GRPC_PORT: String(ports.grpc),
      REMORA_ADMIN_PORT: String(ports.admin),
      REMORA_WEBHOOK_PORT: String(ports.webhook),
      REMORA_STATE_DIR: join(folder, `state-${name}`),
      REMORA_HEARTBEAT_INTERVAL: "1s",
      REMORA_LEASE: "3s",
      ...env,
    },
  });
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.setEncoding("utf8").on("data", (more: string) => (text += more));
  const exited = new Promise<void>((done) => child.once("exit", () => done()));
  return {
    name,
    adminPort: ports.admin,
    child,
    roles,
    isRunning: () => child.exitCode === null && child.signalCode === null,
    log: () => text,
    api: (path) => getJson(`http://${host}:${ports.admin}${path}`),
    async kill() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Waits for /ready. @throws Error with its log when it ends before, or takes longer than 60 s */
export async function waitUntilReady(control: ControlProcess): Promise<void> {
  await until(`control plane ${control.name}`, READY_TIMEOUT_MS, async () => {
    if (!control.isRunning()) throw new Error(`control plane ${control.name} ended with ${control.child.exitCode}:\n${control.log()}`);
    return (await control.api("/ready").catch(() => null)) !== null;
  });
}

function getJson(url: string): Promise<unknown> {
  return new Promise((done, fail) => {
    const request = httpGet(url, { timeout: CALL_TIMEOUT_MS, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (more: string) => (text += more));
      response.on("end", () => {
        if (response.statusCode !== 200) return fail(new Error(`${url}: status ${response.statusCode} ${text}`));
        try {
          done(JSON.parse(text));
        } catch {
          done(text);
        }
      });
    });
    request.on("timeout", () => request.destroy(new Error(`${url}: no answer`)));
    request.on("error", fail);
  });
}
