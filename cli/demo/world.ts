// The demo's processes: a control plane, and four workloads (web, two orders, payments), each an ordinary program with a sidecar next to it. Owns
// their ports, their folder and their end; what is shown with them is in steps.ts.
import { randomUUID } from "node:crypto";
import { closeSync, openSync, readFileSync } from "node:fs";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../core/log.ts";
import { type Child, startChild } from "../run/child.ts";
import { freePorts } from "../run/free-ports.ts";
import { type SidecarProcess, startSidecarProcess } from "../run/sidecar-process.ts";
import { appEnv, type Workload } from "../run/workload.ts";
import { makeToken } from "../token-command.ts";
import { waitUntilReady } from "../wait-until-ready.ts";

const REMORA = join(import.meta.dirname, "..", "main.ts");
const SERVICES = join(import.meta.dirname, "services");
/** Short, so that a renewal can be watched. */
const LEAF_TTL = "24s";
const HEARTBEAT = "500ms";
const LEASE = "2s";
/** Of orders; low, so that a handful of calls reach it. */
export const QUOTE_LIMIT = "5/s burst=5 per=identity path=/quote";
const READY_TIMEOUT_MS = 20_000;
const STOP_GRACE_MS = 3_000;
const TOKEN_TTL_MS = 60_000;
const LOG_TAIL_LINES = 8;

/** One program and its sidecar. */
export interface DemoWorkload {
  readonly name: string;
  readonly workload: Workload;
  readonly appPort: number;
  /** Kills both at once, as a crashed machine would. */
  kill(): void;
}

/** Everything that runs. */
export interface World {
  readonly stateDir: string;
  readonly controlAddress: string;
  readonly controlAdminPort: number;
  readonly web: DemoWorkload;
  readonly orders: readonly [DemoWorkload, DemoWorkload];
  readonly payments: DemoWorkload;
  /** A join token for one more workload. */
  token(service: string): Promise<string>;
  /** The last lines of every log, for a failure. */
  logs(): Promise<string>;
  /** Stops every process and removes the folder. Safe to call twice. */
  close(): Promise<void>;
}

/** Starts everything; on a failure what was started is stopped and the error carries the logs' ends. */
export async function startWorld(progress: (text: string) => void): Promise<World> {
  const folder = await mkdtemp(join(tmpdir(), "remora-demo-"));
  const stops: Array<() => Promise<unknown>> = [];
  const children = new Set<Child>();
  const killAll = () => {
    for (const child of children) child.signal("SIGKILL");
  };
  // Whatever ends this process, nothing is left behind; close() is the gentle way and comes first.
  process.on("exit", killAll);
  let closing: Promise<void> | null = null;
  const close = () => {
    closing ??= (async () => {
      for (const stop of stops.splice(0).reverse()) await stop();
      await rm(folder, { recursive: true, force: true });
    })();
    return closing;
  };
  try {
    return await start();
  } catch (error) {
    const tails = await logTails(folder);
    await close();
    throw new Error(`${(error as Error).message}\n${tails}`, { cause: error });
  }

  async function start(): Promise<World> {
    const stateDir = join(folder, "control");
    const [grpcPort = 0, controlAdminPort = 0, ...rest] = await freePorts(2 + 4 * 4);
    const ports = () => rest.splice(0, 4) as [number, number, number, number];
    const controlAddress = `127.0.0.1:${grpcPort}`;
    const token = (service: string) =>
      makeToken({ stateDir, namespace: "default", serviceAccount: service, ttlMs: TOKEN_TTL_MS, purpose: "join" });

    progress("starting the control plane");
    const control = await startProgram("control", [REMORA, "control"], {
      ...plainEnv(),
      REMORA_STATE_DIR: stateDir,
      REMORA_GRPC_PORT: String(grpcPort),
      REMORA_ADMIN_PORT: String(controlAdminPort),
      REMORA_LEAF_TTL: LEAF_TTL,
      REMORA_HEARTBEAT_INTERVAL: HEARTBEAT,
      REMORA_LEASE: LEASE,
      REMORA_KUBERNETES: "off",
    });
    stops.push(() => control.stop("SIGTERM", STOP_GRACE_MS));
    await waitUntilReady({ host: "127.0.0.1", port: controlAdminPort, timeoutMs: READY_TIMEOUT_MS });

    progress("starting web, orders (twice) and payments with their sidecars");
    const mesh = { stateDir, controlAddress, token };
    const [web, first, second, payments] = await Promise.all([
      startWorkload({ name: "web", service: "web", program: "web.ts", protocol: "http1", ports: ports(), mesh }),
      startWorkload({
        name: "orders-1",
        service: "orders",
        program: "orders.ts",
        protocol: "http1",
        ports: ports(),
        mesh,
        rateLimit: QUOTE_LIMIT,
      }),
      startWorkload({
        name: "orders-2",
        service: "orders",
        program: "orders.ts",
        protocol: "http1",
        ports: ports(),
        mesh,
        rateLimit: QUOTE_LIMIT,
      }),
      startWorkload({ name: "payments", service: "payments", program: "payments.ts", protocol: "grpc", ports: ports(), mesh }),
    ]);
    return {
      stateDir,
      controlAddress,
      controlAdminPort,
      web,
      orders: [first, second],
      payments,
      token,
      logs: () => logTails(folder),
      close,
    };
  }

  async function startProgram(name: string, words: readonly string[], env: NodeJS.ProcessEnv): Promise<Child> {
    const output = openSync(join(folder, `${name}.log`), "a");
    try {
      const child = await startChild({ command: process.execPath, arguments: words, env, stdio: ["ignore", output, output] });
      children.add(child);
      return child;
    } finally {
      closeSync(output);
    }
  }

  async function startWorkload(options: {
    readonly name: string;
    readonly service: string;
    readonly program: string;
    readonly protocol: "http1" | "grpc";
    readonly ports: readonly [number, number, number, number];
    readonly mesh: { readonly controlAddress: string; token(service: string): Promise<string> };
    readonly rateLimit?: string;
  }): Promise<DemoWorkload> {
    const { name, service, protocol, mesh, rateLimit } = options;
    const [appPort, outboundPort, inboundPort, adminPort] = options.ports;
    const stateDir = join(folder, `${name}-state`);
    await mkdir(stateDir, { mode: 0o700 });
    const workload: Workload = {
      service,
      namespace: "default",
      instanceId: randomUUID(),
      appPort,
      protocol,
      controlAddress: mesh.controlAddress,
      joinToken: await mesh.token(service),
      stateDir,
      outboundPort,
      inboundPort,
      adminPort,
      address: "127.0.0.1",
      settings: { REMORA_DRAIN_TIMEOUT: "2s", ...(rateLimit === undefined ? {} : { REMORA_RATE_LIMIT: rateLimit }) },
    };
    const app = await startProgram(`${name}-app`, [join(SERVICES, options.program)], { ...appEnv(workload, plainEnv()), INSTANCE: name });
    stops.push(() => app.stop("SIGTERM", STOP_GRACE_MS));
    const sidecar = await startSidecar(name, workload);
    stops.push(() => sidecar.close());
    return {
      name,
      workload,
      appPort,
      kill() {
        sidecar.kill();
        app.signal("SIGKILL");
      },
    };
  }

  async function startSidecar(name: string, workload: Workload): Promise<SidecarProcess> {
    const output = openSync(join(folder, `${name}-sidecar.log`), "a");
    try {
      return await startSidecarProcess({
        workload,
        env: plainEnv(),
        program: ["--disable-warning=DEP0060", REMORA],
        log: silentLogger(),
        readyTimeoutMs: READY_TIMEOUT_MS,
        drainTimeoutMs: STOP_GRACE_MS,
        output,
        restart: false,
        onStart: (child) => children.add(child),
      });
    } finally {
      closeSync(output);
    }
  }
}

/** The reader's own REMORA_* settings are for the reader's own mesh. */
function plainEnv(): NodeJS.ProcessEnv {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("REMORA_") && !/_proxy$/i.test(name)));
}

async function logTails(folder: string): Promise<string> {
  const names = (await readdir(folder).catch(() => [])).filter((name) => name.endsWith(".log")).sort();
  return names
    .map((name) => ({ name, lines: readFileSync(join(folder, name), "utf8").trim().split("\n").slice(-LOG_TAIL_LINES) }))
    .filter(({ lines }) => lines.join("") !== "")
    .map(({ name, lines }) => `--- ${name}\n${lines.map((line) => line.slice(0, 400)).join("\n")}`)
    .join("\n");
}
