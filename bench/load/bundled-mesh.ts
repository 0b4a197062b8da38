// A control plane and sidecars in explicit capture, each started through the launcher of a bundle, so with the very flags that the image has.
import { randomUUID } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { delimiter, dirname, join } from "node:path";
import { freePorts } from "../../cli/run/free-ports.ts";
import { sidecarEnv, type Workload } from "../../cli/run/workload.ts";
import { makeToken } from "../../cli/token-command.ts";
import type { StartProcess } from "./processes.ts";
import { untilServed } from "./until-served.ts";

const READY_TIMEOUT_MS = 30_000;
const TOKEN_TTL_MS = 60_000;
const STOP_GRACE_MS = 5_000;

/** A sidecar that was ready. */
export interface BundledSidecar {
  readonly pid: number;
  readonly outboundPort: number;
  readonly inboundPort: number;
  readonly adminPort: number;
  /** From the start of its process to the first yes of `/ready`. */
  readonly readyMs: number;
  stop(): Promise<void>;
}

/** What a program needs to get a certificate of its own. */
export interface Invitation {
  /** host:port of the control plane. */
  readonly controlAddress: string;
  readonly joinToken: string;
}

/** A running control plane, ready. */
export interface BundledMesh {
  /** Lets a program join as `service`, once. */
  invite(service: string): Promise<Invitation>;
  /** Starts the sidecar of `service`, whose app is at `appPort`; null: it only calls others. `protocol` is what the app speaks, default "http1". */
  startSidecar(service: string, appPort: number | null, protocol?: "http1" | "grpc"): Promise<BundledSidecar>;
  /** Waits until `service` answers a GET with 200 through `from`. */
  untilReached(from: BundledSidecar, service: string): Promise<void>;
}

/** Starts the control plane of the bundle in `dist`. `env` is all that it and the sidecars find in their environment besides REMORA_*; default: as in a pod. */
export async function startBundledMesh(options: {
  readonly dist: string;
  /** State goes there. */
  readonly folder: string;
  readonly start: StartProcess;
  readonly env?: NodeJS.ProcessEnv;
  /** Settings of every sidecar; default: no access log. */
  readonly settings?: Readonly<Record<string, string>>;
}): Promise<BundledMesh> {
  const { dist, folder, start, env = podEnvironment(), settings = { REMORA_ACCESS_LOG: "false" } } = options;
  const run = (word: string, own: NodeJS.ProcessEnv) =>
    start({ command: join(dist, "remora"), arguments: [word], env: own, stdio: ["ignore", "ignore", "inherit"] });

  const stateDir = join(folder, "control");
  const [grpcPort = 0, controlAdminPort = 0] = await freePorts(2);
  await run("control", {
    ...env,
    REMORA_STATE_DIR: stateDir,
    REMORA_GRPC_PORT: String(grpcPort),
    REMORA_ADMIN_PORT: String(controlAdminPort),
    REMORA_KUBERNETES: "off",
  });
  await untilServed({ port: controlAdminPort, path: "/ready", timeoutMs: READY_TIMEOUT_MS });

  const controlAddress = `127.0.0.1:${grpcPort}`;
  const tokenFor = (service: string) =>
    makeToken({ stateDir, namespace: "default", serviceAccount: service, ttlMs: TOKEN_TTL_MS, purpose: "join" });

  return {
    invite: async (service) => ({ controlAddress, joinToken: await tokenFor(service) }),
    async startSidecar(service, appPort, protocol = "http1") {
      const [outboundPort = 0, inboundPort = 0, adminPort = 0] = await freePorts(3);
      const own = join(folder, service);
      await mkdir(own, { mode: 0o700 });
      const workload: Workload = {
        service,
        namespace: "default",
        instanceId: randomUUID(),
        appPort,
        protocol,
        controlAddress,
        joinToken: await tokenFor(service),
        stateDir: own,
        outboundPort,
        inboundPort,
        adminPort,
        address: "127.0.0.1",
        settings,
      };
      const startedMonoMs = performance.now();
      const child = await run("sidecar", sidecarEnv(workload, env));
      await untilServed({ port: adminPort, path: "/ready", timeoutMs: READY_TIMEOUT_MS });
      const readyMs = performance.now() - startedMonoMs;
      return {
        pid: child.pid,
        outboundPort,
        inboundPort,
        adminPort,
        readyMs,
        stop: async () => void (await child.stop("SIGTERM", STOP_GRACE_MS)),
      };
    },
    untilReached: (from, service) => untilServed({ port: from.outboundPort, host: service, timeoutMs: READY_TIMEOUT_MS }),
  };
}

/** What a pod's container has: nothing of this machine's certificates, which OpenSSL would load, nor of its Node settings. */
export function podEnvironment(): NodeJS.ProcessEnv {
  return { PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter), HOME: process.env["HOME"] };
}
