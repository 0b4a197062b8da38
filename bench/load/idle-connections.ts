// `npm run bench -- idle`: what a connection costs that does nothing. Opens mesh mTLS connections to a sidecar of the bundle and reads its private memory
// (`RssAnon`) per connection: idle after the handshake, and idle again after one request on each. Both are what thousands of keep-alive clients cost.
import { execFileSync } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { TLSSocket } from "node:tls";
import { parseArgs } from "node:util";
import { bundle } from "../../bin/bundle.ts";
import { startBundledMesh } from "./bundled-mesh.ts";
import { joinMesh, type MeshPeer, type PeerTarget } from "./mesh-peer.ts";
import { startOrigin } from "./nginx.ts";
import { cpuMs, memory } from "./process-cost.ts";
import { createProcesses, type StartProcess } from "./processes.ts";

const DEFAULT_CONNECTIONS = 10_000;
/** Handshakes under way at once: well below the listen queue. */
const CONCURRENT = 32;
/** Connections opened and closed before the first reading, so that what is made once is not charged to the connections. */
const WARM_UP = 200;
/** After which everything that was only needed for the handshakes is gone. */
const SETTLE_MS = 4_000;
/** Open files besides the measured connections, of either process. */
const OTHER_FILES = 200;
const SERVICE = "orders";
const ANSWERED = /^HTTP\/1\.1 200 /;

/** Runs the measurement and prints it; false when an argument is wrong or a connection failed. */
export async function runIdle(words: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...words],
    options: { connections: { type: "string", default: String(DEFAULT_CONNECTIONS) } },
  });
  const connections = Number(values.connections);
  if (!(Number.isInteger(connections) && connections >= 1))
    return refuse(`--connections is a whole number from 1, not "${values.connections}"`);
  const openFiles = openFilesLimit();
  if (openFiles < connections + OTHER_FILES)
    return refuse(
      `${connections} connections need ${connections + OTHER_FILES} open files, the limit is ${openFiles}: ulimit -n, or fewer`,
    );
  const folder = await mkdtemp(join(tmpdir(), "remora-idle-"));
  const processes = createProcesses();
  try {
    process.stdout.write(await measure({ folder, start: processes.start, connections }));
    return true;
  } catch (error) {
    return refuse((error as Error).message);
  } finally {
    await processes.close();
    await rm(folder, { recursive: true, force: true });
  }
}

/** What a shell here, and so a child of ours, may open. */
function openFilesLimit(): number {
  const limit = execFileSync("sh", ["-c", "ulimit -n"], { encoding: "utf8" }).trim();
  return limit === "unlimited" ? Number.POSITIVE_INFINITY : Number(limit);
}

async function measure(parts: { readonly folder: string; readonly start: StartProcess; readonly connections: number }): Promise<string> {
  const { folder, start, connections } = parts;
  const { port: appPort } = await startOrigin(folder, start);
  const dist = join(folder, "dist");
  await bundle({ outDir: dist });
  const mesh = await startBundledMesh({ dist, folder, start });
  const sidecar = await mesh.startSidecar(SERVICE, appPort);
  const peer = await joinMesh(await mesh.invite("bench"), "bench");
  const target = { inboundPort: sidecar.inboundPort, service: SERVICE, appPort };

  for (const socket of await openMany(peer, target, WARM_UP)) {
    await request(socket);
    socket.destroy();
  }
  await sleep(SETTLE_MS);
  const before = reading(sidecar.pid);
  const sockets = await openMany(peer, target, connections);
  const opened = reading(sidecar.pid);
  await sleep(SETTLE_MS);
  const idle = reading(sidecar.pid);
  for (const socket of sockets) await request(socket);
  await sleep(SETTLE_MS);
  const used = reading(sidecar.pid);
  for (const socket of sockets) socket.destroy();
  await sleep(SETTLE_MS);
  const closed = reading(sidecar.pid);
  await peer.close();

  const each = ({ privateKiB }: Reading) => ((privateKiB - before.privateKiB) / connections).toFixed(1);
  return [
    `${connections} mTLS connections to one sidecar; private memory (RssAnon), KiB for each connection`,
    `  idle after the handshake            ${each(idle)}`,
    `  idle after one request on each      ${each(used)}`,
    `  left when all are closed            ${each(closed)}`,
    `private memory in all, MiB: ${[before, idle, used, closed].map(({ privateKiB }) => (privateKiB / 1_024).toFixed(1)).join(" → ")}`,
    `CPU for each connection, handshake and checks: ${(((opened.cpuMs - before.cpuMs) * 1_000) / connections).toFixed(0)} µs`,
    "",
  ].join("\n");
}

interface Reading {
  readonly privateKiB: number;
  readonly cpuMs: number;
}

function reading(pid: number): Reading {
  return { privateKiB: memory(pid).privateKiB, cpuMs: cpuMs(pid) };
}

async function openMany(peer: MeshPeer, target: PeerTarget, count: number): Promise<TLSSocket[]> {
  const sockets: TLSSocket[] = [];
  let begun = 0;
  const open = async () => {
    while (begun < count) {
      begun += 1;
      sockets.push(await peer.open(target).catch(() => peer.open(target))); // on a busy machine one may come too late
    }
  };
  await Promise.all(Array.from({ length: CONCURRENT }, open));
  return sockets;
}

/** One GET; rejects when it is not answered with 200. */
function request(socket: TLSSocket): Promise<void> {
  return new Promise((resolve, reject) => {
    const lost = () => reject(new Error("a connection was closed instead of answered"));
    socket.once("close", lost);
    socket.once("data", (chunk: Buffer) => {
      socket.off("close", lost);
      // Further chunks of the answer are of no interest.
      socket.on("data", () => {});
      if (ANSWERED.test(chunk.toString("latin1"))) resolve();
      else reject(new Error(`asked for 200, got ${chunk.toString("latin1", 0, 80)}`));
    });
    socket.write(`GET / HTTP/1.1\r\nHost: ${SERVICE}\r\n\r\n`);
  });
}

function refuse(message: string): false {
  process.stderr.write(`${message}\n`);
  return false;
}
