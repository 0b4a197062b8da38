// `remora run`: a sidecar in explicit capture next to any local program (design 2). Owns the flags; the two processes and their order are in run/.
import { randomUUID } from "node:crypto";
import type { Command } from "commander";
import { destination } from "pino";
import { parseDurationMs } from "../core/duration.ts";
import { ConfigError } from "../core/errors.ts";
import { createLogger } from "../core/log.ts";
import { PORT_PROTOCOLS, portProtocol } from "../core/wire/port-protocol.ts";
import { freePorts } from "./run/free-ports.ts";
import { DEFAULT_CONTROL, joinMesh } from "./run/join-mesh.ts";
import { runBeside } from "./run/run-beside.ts";
import type { Workload } from "./run/workload.ts";

interface Flags {
  readonly service: string;
  readonly port?: string;
  readonly grpc?: true;
  readonly protocol: string;
  readonly namespace: string;
  readonly control?: string;
  readonly token?: string;
  readonly stateDir?: string;
  readonly address: string;
  readonly outboundPort?: string;
  readonly inboundPort?: string;
  readonly adminPort?: string;
  readonly mode?: string;
  readonly rateLimit?: string;
  readonly allow?: string;
  readonly signing?: string;
  readonly verify?: string;
  readonly egress?: string;
  readonly drainTimeout: string;
}

/** Flags that are settings of the sidecar and go to it as they are: it knows what is allowed. */
const PASSED_ON = {
  mode: "REMORA_MODE",
  rateLimit: "REMORA_RATE_LIMIT",
  allow: "REMORA_ALLOW",
  signing: "REMORA_SIGNING",
  verify: "REMORA_VERIFY",
  egress: "REMORA_EGRESS",
  drainTimeout: "REMORA_DRAIN_TIMEOUT",
} as const;

/** Adds the command. */
export function register(program: Command): void {
  program
    .command("run")
    .summary("run a local program with a sidecar next to it")
    .description(
      "Starts a sidecar for SERVICE, waits until it is in the mesh, then starts COMMAND. COMMAND should listen on --port (it is told by PORT)\n" +
        "and send its calls to HTTP_PROXY, or to REMORA_OUTBOUND with the wanted service as Host or :authority. On a machine where\n" +
        "`remora control` runs as the same user, the token is made by itself. Ends with COMMAND's exit code.",
    )
    .argument("<command...>", "the program and its arguments, after --")
    .requiredOption("--service <name>", "name of the service, and of its identity")
    .option("--port <port>", "where COMMAND listens; left out for a program that only calls others")
    .option("--grpc", "the port speaks gRPC (short for --protocol grpc)")
    .option("--protocol <protocol>", `what the port speaks: ${PORT_PROTOCOLS.join(", ")}`, "detect")
    .option("--namespace <namespace>", "namespace of the service", "default")
    .option("--control <host:port>", `the control plane's gRPC port (default: the one on this machine, else ${DEFAULT_CONTROL})`)
    .option("--token <token>", "join token from `remora token` (also REMORA_JOIN_TOKEN, which other users cannot see in the process list)")
    .option("--state-dir <folder>", "state folder of the control plane on this machine (REMORA_STATE_DIR, default ~/.remora)")
    .option("--address <address>", "address to announce and to listen on", "127.0.0.1")
    .option("--outbound-port <port>", "the sidecar's port for calls from COMMAND (default: a free one)")
    .option("--inbound-port <port>", "the sidecar's port for calls to COMMAND (default: a free one)")
    .option("--admin-port <port>", "the sidecar's admin port (default: a free one)")
    .option("--mode <mode>", "strict or permissive")
    .option("--rate-limit <limits>", 'for instance "100/s burst=200 per=identity path=/api/"')
    .option("--allow <callers>", "who may call: * or a list of namespace/service-account, namespace/*")
    .option("--signing <mode>", "how outbound gRPC is signed: hmac, sign or mtls")
    .option("--verify <mode>", "weakest signature accepted on inbound gRPC: hmac, sign or mtls")
    .option("--egress <what>", "calls to what is not in the mesh: allow or deny")
    .option("--drain-timeout <duration>", "time to finish what is in flight at shutdown, with a unit", "10s")
    .passThroughOptions()
    .action(async (words: string[], flags: Flags) => {
      process.exitCode = await run(words, flags);
    });
}

async function run(words: readonly string[], flags: Flags): Promise<number> {
  const log = createLogger({ component: "run", level: "warn", stdout: destination({ dest: 2, sync: true }) });
  const { workload, cleanUp } = await describe(flags);
  try {
    return await runBeside({
      workload,
      words,
      env: process.env,
      log,
      drainTimeoutMs: parseDuration("--drain-timeout", flags.drainTimeout),
    });
  } finally {
    await cleanUp();
  }
}

async function describe(flags: Flags): Promise<{ workload: Workload; cleanUp(): Promise<void> }> {
  const appPort = flags.port === undefined ? null : parsePort("--port", flags.port);
  const protocol = flags.grpc === true ? "grpc" : portProtocol(flags.protocol);
  if (protocol === null) throw new ConfigError("invalid_value", `--protocol: ${flags.protocol} is none of ${PORT_PROTOCOLS.join(", ")}`);
  const free = await freePorts(3, flags.address);
  const [outboundPort = 0, inboundPort = 0, adminPort = 0] = (["outboundPort", "inboundPort", "adminPort"] as const).map((name, index) => {
    const given = flags[name];
    return given === undefined ? free[index] : parsePort(`--${name.replace("P", "-p")}`, given);
  });
  const { joinToken, controlAddress, stateDir, cleanUp } = await joinMesh({ ...flags, appPort }, process.env);
  const settings: Record<string, string> = { REMORA_LOG_LEVEL: process.env["REMORA_LOG_LEVEL"] ?? "warn" };
  for (const [name, variable] of Object.entries(PASSED_ON)) {
    const value = flags[name as keyof typeof PASSED_ON];
    if (value !== undefined) settings[variable] = value;
  }
  const workload: Workload = {
    service: flags.service,
    namespace: flags.namespace,
    instanceId: randomUUID(),
    appPort,
    protocol,
    controlAddress,
    joinToken,
    stateDir,
    outboundPort,
    inboundPort,
    adminPort,
    address: flags.address,
    settings,
  };
  return { workload, cleanUp };
}

function parsePort(flag: string, text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port < 1 || port > 65535)
    throw new ConfigError("invalid_value", `${flag}: ${text} is no port (1 to 65535)`);
  return port;
}

function parseDuration(flag: string, text: string): number {
  try {
    return parseDurationMs(text);
  } catch (error) {
    throw new ConfigError("invalid_value", `${flag}: ${(error as Error).message}`);
  }
}
