// `npm run bench -- handshakes`: what a new mesh connection costs the side that accepts it, in CPU: mutual TLS 1.3 with P-256 leaves, and for Remora the
// checks of the peer's certificate as well. nginx accepts the same, in turns with it; nginx again with resumed sessions shows what tickets would save, which
// the mesh does not use (each connection proves its identity anew).
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ConnectionOptions, connect, type TLSSocket } from "node:tls";
import { parseArgs } from "node:util";
import { bundle } from "../../bin/bundle.ts";
import { freePorts } from "../../cli/run/free-ports.ts";
import { startBundledMesh } from "./bundled-mesh.ts";
import { startHop } from "./hop-process.ts";
import { joinMesh } from "./mesh-peer.ts";
import { startOrigin } from "./nginx.ts";
import { writePeerConfig } from "./peer-config.ts";
import { cpuMs } from "./process-cost.ts";
import { createProcesses, type StartProcess } from "./processes.ts";
import { TLS_NAME, writeTlsFiles } from "./tls-files.ts";

const DEFAULT_COUNT = 600;
const ROUNDS = 3;
const CONCURRENT = 8;
const SERVICE = "orders";
const TIMEOUT_MS = 20_000;

/** One server, and how a connection to it is opened and closed again. */
interface Accepting {
  readonly name: string;
  readonly pid: number;
  readonly visit: () => Promise<void>;
  readonly costsUs: number[];
}

/** Runs the measurement and prints it; false when an argument is wrong or a connection failed. */
export async function runHandshakes(words: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({ args: [...words], options: { count: { type: "string", default: String(DEFAULT_COUNT) } } });
  const count = Number(values.count);
  if (!(Number.isInteger(count) && count >= 1)) return refuse(`--count is a whole number from 1, not "${values.count}"`);
  const folder = await mkdtemp(join(tmpdir(), "remora-handshakes-"));
  const processes = createProcesses();
  try {
    const { port: originPort } = await startOrigin(folder, processes.start);
    const servers = [
      await acceptingSidecar(folder, processes.start, originPort),
      ...(await acceptingNginx(folder, processes.start, originPort)),
    ];
    for (const server of servers) await visitMany(server, Math.ceil(count / 4)); // warm-up
    for (let round = 0; round < ROUNDS; round += 1) {
      for (const server of servers) server.costsUs.push(await costUs(server, count));
    }
    process.stdout.write(
      `CPU of the accepting side for each connection, µs, with one GET on each; ${ROUNDS} rounds of ${count}, in turns\n`,
    );
    for (const { name, costsUs } of servers)
      process.stdout.write(`  ${name.padEnd(40)}${costsUs.map((cost) => cost.toFixed(0).padStart(7)).join("")}\n`);
    return true;
  } catch (error) {
    return refuse((error as Error).message);
  } finally {
    await processes.close();
    await rm(folder, { recursive: true, force: true });
  }
}

async function acceptingSidecar(folder: string, start: StartProcess, appPort: number): Promise<Accepting> {
  const dist = join(folder, "dist");
  await bundle({ outDir: dist });
  const mesh = await startBundledMesh({ dist, folder, start });
  const sidecar = await mesh.startSidecar(SERVICE, appPort);
  const peer = await joinMesh(await mesh.invite("bench"), "bench");
  const target = { inboundPort: sidecar.inboundPort, service: SERVICE, appPort };
  const visit = async () => askOnce(await peer.open(target));
  return { name: "remora, full handshake and checks", pid: sidecar.pid, visit, costsUs: [] };
}

async function acceptingNginx(parent: string, start: StartProcess, target: number): Promise<readonly Accepting[]> {
  const folder = join(parent, "nginx");
  await mkdir(folder);
  const files = await writeTlsFiles(folder);
  const [port = 0] = await freePorts(1);
  const config = join(folder, "nginx.conf");
  await writePeerConfig("nginx-inbound.conf", config, { ...files, name: TLS_NAME, target, folder, port });
  const { pid } = await startHop({ command: "nginx", arguments: ["-p", folder, "-c", config, "-e", "stderr"], port, folder, start });
  const pem = (file: string) => readFileSync(file, "utf8");
  const options: ConnectionOptions = {
    host: "127.0.0.1",
    port,
    ca: pem(files.ca),
    cert: pem(files.cert),
    key: pem(files.key),
    servername: TLS_NAME,
    minVersion: "TLSv1.3",
    ecdhCurve: "P-256:X25519",
  };
  const session = await sessionOf(options);
  return [
    { name: "nginx, full handshake", pid, visit: () => shake(options, false), costsUs: [] },
    { name: "nginx, resumed session", pid, visit: () => shake({ ...options, session }, true), costsUs: [] },
  ];
}

/** Connects and asks; rejects when the session was, or was not, resumed against expectation. */
async function shake(options: ConnectionOptions, resumes: boolean): Promise<void> {
  const socket = connect(options);
  await once(socket, "secureConnect");
  if (socket.isSessionReused() !== resumes) throw new Error(resumes ? "a session was not resumed" : "a session was resumed");
  await askOnce(socket);
}

/** One request, so that the server has verified the client's last flight before the connection is closed. */
async function askOnce(socket: TLSSocket): Promise<void> {
  socket.write(`GET / HTTP/1.1\r\nHost: ${SERVICE}\r\n\r\n`);
  await once(socket, "data", { signal: AbortSignal.timeout(TIMEOUT_MS) });
  socket.destroy();
}

/** A ticket of the server. */
function sessionOf(options: ConnectionOptions): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket = connect(options);
    socket.setTimeout(TIMEOUT_MS, () => socket.destroy(new Error("no session ticket came")));
    socket.once("error", reject);
    socket.once("session", (session) => {
      socket.destroy();
      resolve(session);
    });
    socket.resume();
  });
}

async function costUs(server: Accepting, count: number): Promise<number> {
  const before = cpuMs(server.pid);
  await visitMany(server, count);
  return ((cpuMs(server.pid) - before) * 1_000) / count;
}

async function visitMany({ visit }: Accepting, count: number): Promise<void> {
  let begun = 0;
  const visitor = async () => {
    while (begun < count) {
      begun += 1;
      await visit();
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, visitor));
}

function refuse(message: string): false {
  process.stderr.write(`${message}\n`);
  return false;
}
