// `npm run bench -- http1`: two hops with mutual TLS in front of nginx with 1 KiB answers. Measures what each hop's process costs per request, latency,
// memory idle and after the load, and the time from start to ready; prints a table and writes bench/results/http1.json.
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, release, tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import { buildInfo } from "../../core/build-info.ts";
import type { Contender, StartContender } from "./contender.ts";
import { generate, type LoadResult } from "./generate.ts";
import { startHttpProxyPair } from "./http-proxy.ts";
import { startNginxPair, startOrigin } from "./nginx.ts";
import { createProcesses } from "./processes.ts";
import { cpuMs, type Memory, memory } from "./process-cost.ts";
import { remora } from "./remora.ts";

const RESULTS = join(import.meta.dirname, "..", "results");
const WARM_UP_S = 2;
/** How long a contender is left alone before its idle memory is read. */
const SETTLE_MS = 3_000;

const CONTENDERS: Readonly<Record<string, StartContender>> = {
  nginx: startNginxPair,
  "http-proxy": startHttpProxyPair,
  remora: remora({ name: "remora", bundled: true, settings: { REMORA_ACCESS_LOG: "false" } }),
  "remora-log": remora({ name: "remora-log", bundled: true, settings: {} }),
  "remora-source": remora({ name: "remora-source", bundled: false, settings: { REMORA_ACCESS_LOG: "false" } }),
};

/** A number of each hop. */
interface Hops<T> {
  readonly client: T;
  readonly server: T;
}

/** What is written for one contender. */
interface Measured extends LoadResult {
  readonly name: string;
  readonly cpuPerRequestUs: Hops<number>;
  readonly idle: Hops<Memory>;
  readonly loaded: Hops<Memory>;
  readonly startMs: number;
}

/** Runs the benchmark; false when an argument is wrong, or a contender did not start or failed requests. */
export async function runLoad(words: readonly string[]): Promise<boolean> {
  const { values } = parseArgs({
    args: [...words],
    options: {
      only: { type: "string", default: "nginx,http-proxy,remora,remora-log" },
      connections: { type: "string", default: "32" },
      seconds: { type: "string", default: "8" },
      rounds: { type: "string", default: "1" },
    },
  });
  const names = values.only.split(",");
  const unknown = names.filter((name) => CONTENDERS[name] === undefined);
  if (unknown.length > 0) return refuse(`unknown: ${unknown.join(", ")}; there are ${Object.keys(CONTENDERS).join(", ")}`);
  const [connections, durationS, rounds] = [Number(values.connections), Number(values.seconds), Number(values.rounds)];
  if (!(connections >= 1 && durationS >= 1 && rounds >= 1))
    return refuse("--connections, --seconds and --rounds are whole numbers of at least 1");

  const folder = await mkdtemp(join(tmpdir(), "remora-bench-"));
  const measured: Measured[] = [];
  let broken = 0;
  try {
    const processes = createProcesses();
    try {
      const { port } = await startOrigin(folder, processes.start);
      for (let round = 0; round < rounds; round += 1) {
        for (const name of names) {
          const own = await freshFolder(folder, `${name}-${round}`);
          const one = await measureOne(name, port, own, connections, durationS).catch((error: Error) => note(name, error));
          if (one === null) broken += 1;
          else measured.push(one);
        }
      }
    } finally {
      await processes.close();
    }
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  printTable(measured);
  await writeResults(measured, connections, durationS);
  return broken === 0 && measured.every(({ failed }) => failed === 0);
}

async function measureOne(name: string, originPort: number, folder: string, connections: number, durationS: number): Promise<Measured> {
  process.stderr.write(`${name}…\n`);
  const processes = createProcesses();
  try {
    const contender = await (CONTENDERS[name] as StartContender)({ originPort, folder, start: processes.start }); // the names were checked
    await sleep(SETTLE_MS);
    const idle = memoryOf(contender);
    await generate({ ...contender, connections, durationS: WARM_UP_S });
    const before = contender.hops.map(cpuMs);
    const result = await generate({ ...contender, connections, durationS });
    const after = contender.hops.map(cpuMs);
    const perRequestUs = (hop: 0 | 1) => (((after[hop] ?? 0) - (before[hop] ?? 0)) * 1_000) / result.requests;
    return {
      name,
      ...result,
      cpuPerRequestUs: { client: perRequestUs(0), server: perRequestUs(1) },
      idle,
      loaded: memoryOf(contender),
      startMs: contender.startMs,
    };
  } finally {
    await processes.close();
  }
}

function memoryOf({ hops }: Contender): Hops<Memory> {
  return { client: memory(hops[0]), server: memory(hops[1]) };
}

async function freshFolder(parent: string, name: string): Promise<string> {
  const folder = join(parent, name);
  await mkdir(folder);
  return folder;
}

/** The others are measured all the same. */
function note(name: string, error: Error): null {
  process.stderr.write(`${name} did not work: ${error.message}\n`);
  return null;
}

function refuse(message: string): false {
  process.stderr.write(`${message}\n`);
  return false;
}

function printTable(measured: readonly Measured[]): void {
  const mib = ({ client, server }: Hops<Memory>, key: keyof Memory) =>
    [client, server].map((hop) => (hop[key] / 1_024).toFixed(0)).join(" / ");
  const rows = measured.map((one) => [
    one.name,
    `${one.cpuPerRequestUs.client.toFixed(1)} / ${one.cpuPerRequestUs.server.toFixed(1)}`,
    one.perSecond.toFixed(0),
    one.p50Ms.toFixed(2),
    one.p99Ms.toFixed(2),
    mib(one.idle, "rssKiB"),
    mib(one.idle, "privateKiB"),
    mib(one.loaded, "privateKiB"),
    one.startMs.toFixed(0),
    String(one.failed),
  ]);
  const head = ["", "CPU µs/request", "req/s", "p50 ms", "p99 ms", "RSS idle MiB", "private idle", "private loaded", "ready ms", "failed"];
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => (row[column] ?? "").length)));
  for (const row of [head, ...rows])
    process.stdout.write(
      `${row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join("  ")
        .trimEnd()}\n`,
    );
  process.stdout.write("(pairs: first hop, next to the caller / second hop, next to the origin)\n");
}

async function writeResults(measured: readonly Measured[], connections: number, durationS: number): Promise<void> {
  const { version, commit } = buildInfo();
  const [cpu] = cpus();
  const result = {
    benchmark: "http1, two hops, mutual TLS between them, 1 KiB answers",
    at: new Date().toISOString(),
    version,
    commit,
    machine: { cpu: cpu?.model ?? "", cores: cpus().length, kernel: release(), node: process.version },
    connections,
    durationS,
    measured,
  };
  await mkdir(RESULTS, { recursive: true });
  await writeFile(join(RESULTS, "http1.json"), `${JSON.stringify(result, null, 2)}\n`);
}
