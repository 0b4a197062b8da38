// The control plane under test: the process that a cluster would run, with the roles `ca` and `registry`, each replica on one core, with a root that the simulator
// knows too, so that it can make its sidecars' certificates itself.
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePorts } from "../../cli/run/free-ports.ts";
import { findProgram } from "../../test/support/requires.ts";
import type { ThrowawayCa } from "../../test/support/throwaway-ca.ts";
import type { StartProcess } from "../load/processes.ts";
import { untilServed } from "../load/until-served.ts";

const MAIN = fileURLToPath(new URL("../../cli/main.ts", import.meta.url));
const READY_MS = 30_000;

/** What to start. */
export interface PlaneOptions {
  readonly folder: string;
  readonly ca: ThrowawayCa;
  readonly core: number;
  /** Null: leases in memory. */
  readonly redisUrl: string | null;
  /** Flags of Node, e.g. `--cpu-prof`. */
  readonly nodeFlags: readonly string[];
  /** A bundle, which is started as in the image. Default: the sources, which take 20 MB more. */
  readonly dist?: string | undefined;
  /** Further settings. */
  readonly env: NodeJS.ProcessEnv;
}

/** One running replica. */
export interface Replica {
  readonly pid: number;
  readonly grpcPort: number;
  readonly adminPort: number;
  readonly stateDir: string;
  /** One value of `/metrics`; 0 when it is not there. */
  metric(line: string): Promise<number>;
}

/** Starts a replica and waits until it is ready. */
export async function startReplica(options: PlaneOptions, start: StartProcess): Promise<Replica> {
  const [grpcPort = 0, adminPort = 0] = await freePorts(2);
  const stateDir = join(options.folder, `state-${grpcPort}`);
  await mkdir(stateDir, { recursive: true });
  const [certFile, keyFile] = [join(stateDir, "root.pem"), join(stateDir, "root.key")];
  await Promise.all([writeFile(certFile, options.ca.rootPem), writeFile(keyFile, options.ca.rootKeyPem, { mode: 0o600 })]);
  const taskset = findProgram("taskset");
  const pinned = taskset === null ? [] : [taskset, "-c", String(options.core)];
  const main = options.dist === undefined ? MAIN : join(options.dist, "remora.mjs");
  const [command = "", ...words] = [...pinned, process.execPath, ...options.nodeFlags, main, "control"];
  const { pid } = await start({
    command,
    arguments: words,
    env: {
      PATH: process.env["PATH"] ?? "",
      REMORA_ROLES: "ca,registry",
      REMORA_BIND_ADDRESS: "127.0.0.1",
      REMORA_GRPC_PORT: String(grpcPort),
      REMORA_ADMIN_PORT: String(adminPort),
      REMORA_STATE_DIR: stateDir,
      REMORA_CA_CERT_FILE: certFile,
      REMORA_CA_KEY_FILE: keyFile,
      ...(options.redisUrl === null ? {} : { REMORA_STORE: "redis", REMORA_REDIS_URL: options.redisUrl }),
      ...options.env,
    },
    stdio: ["ignore", "ignore", "inherit"],
  });
  await untilServed({ port: adminPort, path: "/ready", timeoutMs: READY_MS });
  return { pid, grpcPort, adminPort, stateDir, metric: (line) => readMetric(adminPort, line) };
}

async function readMetric(port: number, line: string): Promise<number> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text();
  const found = text.split("\n").find((candidate) => candidate.startsWith(`${line} `));
  return found === undefined ? 0 : Number(found.slice(line.length + 1));
}
