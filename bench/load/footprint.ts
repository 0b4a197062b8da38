// `npm run bench -- footprint`: what a sidecar costs before it does anything for anybody. Starts a control plane and two sidecars from the bundle, as
// the image starts them, and reads the time from process start to `/ready` and the private memory (`RssAnon`) idle and after load; nginx doing the
// same two hops stands beside it for scale. What the columns mean is in bench/README.md.
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { bundle } from "../../bin/bundle.ts";
import { podEnvironment, startBundledMesh } from "./bundled-mesh.ts";
import type { Contender } from "./contender.ts";
import { generate } from "./generate.ts";
import { runModuleCost } from "./module-cost.ts";
import { startNginxPair, startOrigin } from "./nginx.ts";
import { cpuMs, memory } from "./process-cost.ts";
import { createProcesses, type StartProcess } from "./processes.ts";

const CONNECTIONS = 32;
/** After the load, so that the last answers' buffers are gone and the connections are still open. */
const AFTER_LOAD_MS = 1_000;

/** One line of the table. Memory in MiB. */
interface Footprint {
  readonly name: string;
  readonly readyMs: readonly number[];
  /** CPU time used by then; unlike the time itself it depends little on what else the machine does. */
  readonly readyCpuMs: readonly number[];
  readonly idle: readonly [client: number, server: number];
  readonly loaded: readonly [client: number, server: number];
}

/** What the measurement is told. */
interface Effort {
  readonly starts: number;
  readonly idleS: number;
  readonly seconds: number;
  /** `NODE_OPTIONS` of the sidecars, for trying V8's. */
  readonly nodeOptions: string;
}

/** Runs the measurement and prints the table; false when an argument is wrong or requests failed. */
export async function runFootprint(words: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      starts: { type: "string", default: "5" },
      idle: { type: "string", default: "5" },
      seconds: { type: "string", default: "10" },
      only: { type: "string", default: "remora,nginx" },
      "node-options": { type: "string", default: "" },
      modules: { type: "boolean", default: false },
    },
  });
  if (values.modules) return runModuleCost().then(() => true);
  const effort = {
    starts: Number(values.starts),
    idleS: Number(values.idle),
    seconds: Number(values.seconds),
    nodeOptions: values["node-options"],
  };
  const names = values.only.split(",");
  const unknown = names.filter((name) => !Object.hasOwn(MEASURES, name));
  if (unknown.length > 0) return refuse(`unknown: ${unknown.join(", ")}; there are ${Object.keys(MEASURES).join(", ")}`);
  if (!(effort.starts >= 1 && effort.idleS >= 0 && effort.seconds >= 1))
    return refuse("--starts and --seconds are at least 1, --idle is at least 0 (seconds)");
  const folder = await mkdtemp(join(tmpdir(), "remora-footprint-"));
  try {
    const lines: Footprint[] = [];
    for (const name of names) lines.push(await measureInOwnFolder(name as keyof typeof MEASURES, folder, effort)); // the names were checked
    printTable(lines, effort);
    return true;
  } catch (error) {
    return refuse((error as Error).message);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

type Measure = (parts: {
  readonly folder: string;
  readonly start: StartProcess;
  readonly originPort: number;
  readonly effort: Effort;
}) => Promise<Footprint>;

const MEASURES = { remora: measureRemora, nginx: measureNginx } as const satisfies Readonly<Record<string, Measure>>;

async function measureInOwnFolder(name: keyof typeof MEASURES, parent: string, effort: Effort): Promise<Footprint> {
  process.stderr.write(`${name}…\n`);
  const folder = join(parent, name);
  await mkdir(folder);
  const processes = createProcesses();
  try {
    const { port } = await startOrigin(folder, processes.start);
    return await MEASURES[name]({ folder, start: processes.start, originPort: port, effort });
  } finally {
    await processes.close();
  }
}

/** The first start is not counted: it fills the compile cache, as the image's build does, and the page cache, as the first pod of a node does. */
async function measureRemora({ folder, start, originPort, effort }: Parameters<Measure>[0]): Promise<Footprint> {
  const dist = join(folder, "dist");
  await bundle({ outDir: dist });
  await mkdir(join(dist, "compile-cache"));
  const mesh = await startBundledMesh({ dist, folder, start, env: environment(effort) });
  await (await mesh.startSidecar("warm-up", null)).stop();
  const [readyMs, readyCpuMs]: [number[], number[]] = [[], []];
  for (let count = 1; count < effort.starts; count += 1) {
    const sidecar = await mesh.startSidecar(`start-${count}`, null);
    readyMs.push(sidecar.readyMs);
    readyCpuMs.push(cpuMs(sidecar.pid));
    await sidecar.stop();
  }
  const orders = await mesh.startSidecar("orders", originPort);
  readyMs.push(orders.readyMs);
  readyCpuMs.push(cpuMs(orders.pid));
  const web = await mesh.startSidecar("web", null);
  await mesh.untilReached(web, "orders");
  const hops = { name: "remora", url: `http://127.0.0.1:${web.outboundPort}/`, host: "orders", hops: [web.pid, orders.pid] as const };
  return { ...(await measureMemory(hops, effort)), readyMs, readyCpuMs };
}

async function measureNginx({ folder, start, originPort, effort }: Parameters<Measure>[0]): Promise<Footprint> {
  const pair = await startNginxPair({ originPort, folder, start });
  const readyCpuMs = pair.hops.map(cpuMs);
  return { ...(await measureMemory(pair, effort)), readyMs: [pair.startMs], readyCpuMs };
}

async function measureMemory(
  pair: Omit<Contender, "startMs">,
  { idleS, seconds }: Effort,
): Promise<Omit<Footprint, "readyMs" | "readyCpuMs">> {
  await sleep(idleS * 1_000);
  const idle = privateMib(pair);
  const { failed } = await generate({ ...pair, connections: CONNECTIONS, durationS: seconds });
  if (failed > 0) throw new Error(`${pair.name}: ${failed} requests failed, so the memory after them means nothing`);
  await sleep(AFTER_LOAD_MS);
  return { name: pair.name, idle, loaded: privateMib(pair) };
}

function privateMib({ hops: [client, server] }: Pick<Contender, "hops">): readonly [number, number] {
  return [memory(client).privateKiB / 1_024, memory(server).privateKiB / 1_024];
}

function environment({ nodeOptions }: Effort): NodeJS.ProcessEnv {
  return nodeOptions === "" ? podEnvironment() : { ...podEnvironment(), NODE_OPTIONS: nodeOptions };
}

function printTable(lines: readonly Footprint[], { idleS, seconds }: Effort): void {
  const pair = ([client, server]: readonly [number, number]) => `${client.toFixed(1)} / ${server.toFixed(1)}`;
  const head = [
    "",
    "ready ms (median)",
    "from - to",
    `private MiB after ${idleS} s idle`,
    `after ${seconds} s of ${CONNECTIONS} connections`,
  ];
  const rows = lines.map(({ name, readyMs, readyCpuMs, idle, loaded }) => {
    const range = `${Math.min(...readyMs).toFixed(0)} - ${Math.max(...readyMs).toFixed(0)}`;
    return [name, median(readyMs).toFixed(0), range, median(readyCpuMs).toFixed(0), pair(idle), pair(loaded)];
  });
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)));
  for (const row of [head, ...rows]) {
    const cells = row.map((cell, column) => cell.padEnd(widths[column] ?? 0));
    process.stdout.write(`${cells.join("  ").trimEnd()}\n`);
  }
  process.stdout.write("(pairs: first hop, next to the caller / second hop, next to the origin)\n");
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN;
}

function refuse(message: string): false {
  process.stderr.write(`${message}\n`);
  return false;
}
