// A real sidecar with several workers next to an app of the test, and a control plane for its identity. Permissive, so that plain HTTP clients can
// come straight to the inbound port: what is seen there is what the workers do together.
import { once } from "node:events";
import { Agent, createServer, type IncomingMessage, request, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ranRemora, remora, startedControl, temporaryFolder } from "../../cli/remora.ts";
import { freePort } from "../../support/free-port.ts";
import type { HelperProcess, Teardown } from "../../support/processes.ts";

const READY_TIMEOUT_MS = 40_000;
const UNTIL_TIMEOUT_MS = 30_000;
const POLL_MS = 20;

/** A worker in `/api/v1/info`. */
export interface Worker {
  readonly worker: number;
  readonly pid: number;
  readonly state: string;
  readonly restarts: number;
}

/** A sidecar that was ready. */
export interface RunningSidecar {
  readonly process: HelperProcess;
  readonly inboundPort: number;
  readonly outboundPort: number;
  readonly adminPort: number;
  workers(): Promise<readonly Worker[]>;
  /** Sum of all lines of `/metrics` whose name and labels match. */
  metric(name: string, labels?: string): Promise<number>;
}

/** A control plane of the test. */
export type Control = Awaited<ReturnType<typeof startedControl>>;

/** Starts one whose leases are short. */
export function startControl(t: Teardown, env: Readonly<Record<string, string>> = {}): Promise<Control> {
  return startedControl(t, { REMORA_HEARTBEAT_INTERVAL: "200ms", REMORA_LEASE: "2s", ...env });
}

/** The environment of a sidecar whose app listens on `appPort`; the service is `orders` unless REMORA_SERVICES says otherwise. */
export async function sidecarEnv(
  t: Teardown,
  control: Control,
  appPort: number,
  settings: Readonly<Record<string, string>> = {},
): Promise<Readonly<Record<string, string>>> {
  const service = settings["REMORA_SERVICES"] ?? "orders";
  const { text: token } = await ranRemora(t, ["token", service], { REMORA_STATE_DIR: control.stateDir });
  const [inboundPort, outboundPort, adminPort] = [await freePort(), await freePort(), await freePort()];
  return {
    REMORA_CAPTURE: "explicit",
    REMORA_MODE: "permissive",
    REMORA_SERVICE_ACCOUNT: service,
    REMORA_SERVICES: service,
    REMORA_PORTS: `${appPort}=http1`,
    REMORA_CONTROL_ADDRESS: `127.0.0.1:${control.grpcPort}`,
    REMORA_JOIN_TOKEN: token,
    REMORA_STATE_DIR: temporaryFolder(t),
    REMORA_INBOUND_PORT: String(inboundPort),
    REMORA_OUTBOUND_PORT: String(outboundPort),
    REMORA_ADMIN_PORT: String(adminPort),
    REMORA_WORKERS: "2",
    ...settings,
  };
}

/** Starts a sidecar and waits until it is ready. */
export async function startSidecar(t: Teardown, env: Readonly<Record<string, string>>): Promise<RunningSidecar> {
  const process = remora(t, ["sidecar"], env);
  await process.line(/"msg":"ready"/, READY_TIMEOUT_MS);
  const adminPort = Number(env["REMORA_ADMIN_PORT"]);
  const admin = async (path: string) => (await fetch(`http://127.0.0.1:${adminPort}${path}`)).text();
  return {
    process,
    inboundPort: Number(env["REMORA_INBOUND_PORT"]),
    outboundPort: Number(env["REMORA_OUTBOUND_PORT"]),
    adminPort,
    workers: async () => (JSON.parse(await admin("/api/v1/info")) as { workers: readonly Worker[] }).workers,
    async metric(name, labels = "") {
      const lines = (await admin("/metrics")).split("\n").filter((line) => line.startsWith(`${name}{`) || line.startsWith(`${name} `));
      return lines.filter((line) => line.includes(labels)).reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
    },
  };
}

/** Starts an app of the test; by default it answers at once. */
export async function startApp(
  t: Teardown,
  answer: (request: IncomingMessage, response: ServerResponse) => void = (_request, response) => void response.end("ok"),
): Promise<{ readonly port: number; readonly server: Server }> {
  const server = createServer(answer).listen(0, "127.0.0.1");
  await once(server, "listening");
  t.teardown(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, server };
}

/** Makes clients that keep one connection each. */
export function keepAliveAgent(t: Teardown): Agent {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.teardown(() => agent.destroy());
  return agent;
}

/** What came back for one request. */
export interface Answer {
  /** Null: the request crossed the end of an idle connection, and nobody saw it. A client sends it again (RFC 9112 section 9.3.1). */
  readonly status: number | null;
  /** The caller was told to go elsewhere with the next one. */
  readonly isLast: boolean;
}

/** One request; resolves with its status once the answer is complete. A connection of its own unless there is an agent. */
export async function get(port: number, agent?: Agent): Promise<number> {
  const { status } = await ask(port, { agent });
  if (status === null) throw new Error("the connection ended before the request was sent");
  return status;
}

/** One request, by default for the app itself. */
export function ask(port: number, options: { readonly agent?: Agent | undefined; readonly host?: string } = {}): Promise<Answer> {
  const { agent = false, host = "orders" } = options;
  return new Promise((resolve, reject) => {
    const asked = request({ host: "127.0.0.1", port, path: "/", agent, headers: { host } }, (response) => {
      response.on("error", reject);
      response.on("end", () => resolve({ status: response.statusCode ?? 0, isLast: response.headers.connection === "close" }));
      response.resume();
    });
    asked.on("error", (error) => (asked.reusedSocket ? resolve({ status: null, isLast: true }) : reject(error)));
    asked.end();
  });
}

/** Polls until `isTrue`; rejects after 30 s. */
export async function until(what: string, isTrue: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAtMs = performance.now() + UNTIL_TIMEOUT_MS;
  while (!(await isTrue())) {
    if (performance.now() > giveUpAtMs) throw new Error(`${what}: not within ${UNTIL_TIMEOUT_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
