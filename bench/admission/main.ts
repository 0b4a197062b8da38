// `npm run bench -- admission`: what the injector's webhook costs, measured on the process that a cluster would run, from the bundle through
// the image's launcher with what our manifest sets, with the role `injector` alone, on one core: reviews a second as fast as they go and the CPU of each, latency at a constant rate, the
// time of a pod of 1 MB, and private memory. A plain server takes the same load on the same core in turns, because some of each figure is the machine's.
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { bundle } from "../../bin/bundle.ts";
import { memory } from "../load/process-cost.ts";
import { manifestEnv } from "../load/manifest-env.ts";
import { createProcesses } from "../load/processes.ts";
import { rank } from "../load/rank.ts";
import { type Caller, createCaller } from "./caller.ts";
import { startInjectorUnderTest } from "./cluster.ts";
import { keepOff } from "./cores.ts";
import { createGcWatch } from "./gc-watch.ts";
import { asFastAsItGoes, atConstantRate, IN_FLIGHT, type Load, oneAtATime } from "./measure.ts";
import { type AdmissionBenchOptions, parseAdmissionOptions } from "./options.ts";
import { startPlain } from "./plain.ts";
import { largeReview, ordinaryReview } from "./reviews.ts";
import type { Subject } from "./subject.ts";

const DIFFERENT_REVIEWS = 500;
const LARGE_BYTES = 1024 * 1024;
const LARGE_CALLS = 20;
const BURST_MS = 3_000;
const WARM_UP_MS = 3_000;

/** Runs the measurements and prints them; false when an argument is wrong or an answer was not what it should be. */
export async function runAdmission(words: readonly string[]): Promise<boolean> {
  const options = parseAdmissionOptions(words);
  if (typeof options === "string") return refuse(options);
  const folder = await mkdtemp(join(tmpdir(), "remora-admission-"));
  const processes = createProcesses();
  let close = () => Promise.resolve();
  try {
    keepOff(options.core);
    const dist = join(folder, "dist");
    await bundle({ outDir: dist });
    const given = await manifestEnv(dist, "injector");
    const nodeOptions = `${given["NODE_OPTIONS"] ?? ""} ${options.nodeOptions}`.trim();
    const gc = options.gc ? createGcWatch(folder, nodeOptions) : null;
    const env = { ...given, NODE_OPTIONS: nodeOptions, ...gc?.env };
    const started = await startInjectorUnderTest({ dist, folder, start: processes.start, core: options.core, env });
    close = started.close;
    const bodies = Array.from({ length: DIFFERENT_REVIEWS }, (_, index) => Buffer.from(ordinaryReview(index)));
    const injector = contender(started.injector, bodies, options);
    const firstMonoMs = performance.now();
    const answer = await injector.caller.call(bodies[0] as Buffer); // made just above
    const firstMs = performance.now() - firstMonoMs;
    checkInjection(answer);
    const plain = contender(await startPlain(folder, processes.start, options.core, answer), bodies, options);
    say(
      `${cpus()[0]?.model}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)} before; Node ${process.version}; ${options.protocol}; reviews of ${sizeOf(bodies)} bytes`,
    );
    say(`private memory idle ${megabytes(injector.pid)} MB; the first review of all took ${firstMs.toFixed(0)} ms`);
    const sayGc = async () => void (gc !== null && say(`  ${await gc.since(injector.pid)}`));
    for (const one of [plain, injector]) await asFastAsItGoes(one, WARM_UP_MS);
    await sayGc();
    for (const one of [plain, injector]) await throughput(one, options);
    await sayGc();
    await constantRate(injector, plain, options);
    await sayGc();
    await large(plain, () => {});
    await large(injector, checkInjection);
    await sayGc();
    const peak = async () => `${megabytes(injector.pid)} MB, resident at its highest ${await peakMegabytes(injector.pid)} MB`;
    say(`private memory at the end ${await peak()}`);
    const { perSecond } = await asFastAsItGoes({ ...injector, bodies: largeBodies() }, BURST_MS);
    await sayGc();
    say(`${perSecond.toFixed(0)} pods of 1 MB a second, ${IN_FLIGHT} in flight; private memory then ${await peak()}`);
    for (const { caller } of [plain, injector]) caller.close();
    return true;
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  } finally {
    await processes.close();
    await close();
    await rm(folder, { recursive: true, force: true });
  }
}

interface Contender extends Load {
  readonly name: string;
  readonly caller: Caller;
}

function contender(subject: Subject, bodies: readonly Buffer[], { protocol }: AdmissionBenchOptions): Contender {
  return { name: subject.name, pid: subject.pid, caller: createCaller(subject, protocol), bodies };
}

/** What is measured has to be an injection, or its speed means nothing. */
function checkInjection(answer: string): void {
  const { response } = JSON.parse(answer) as { readonly response: { readonly patch?: string; readonly status?: unknown } };
  const patch = Buffer.from(response.patch ?? "", "base64").toString();
  if (!patch.includes("remora-sidecar")) throw new Error(`the pod was not injected: ${JSON.stringify(response).slice(0, 500)}`);
}

async function throughput(one: Contender, { seconds }: AdmissionBenchOptions): Promise<void> {
  const { perSecond, costUs } = await asFastAsItGoes(one, seconds * 1000);
  const ofCore = (1e6 / costUs).toFixed(0);
  say(
    `${one.name}, as fast as they go, ${IN_FLIGHT} in flight: ${perSecond.toFixed(0)} reviews/s, ${costUs.toFixed(0)} µs CPU each, so ${ofCore}/s of a whole core`,
  );
}

/** In turns, because what else the machine does changes from second to second. */
async function constantRate(injector: Contender, plain: Contender, { seconds, rate, rounds }: AdmissionBenchOptions): Promise<void> {
  for (let round = 1; round <= rounds; round += 1) {
    const p99s: number[] = [];
    for (const one of [plain, injector]) {
      const { sorted, costUs, lateP99Ms } = await atConstantRate(one, seconds * 1000, rate);
      p99s.push(rank(sorted, 0.99));
      say(
        `${one.name}, ${rate} reviews/s: ${percentiles(sorted)}; ${costUs.toFixed(0)} µs CPU each; calls late by ${lateP99Ms.toFixed(1)} at p99`,
      );
    }
    const [base = 0, own = 0] = p99s;
    say(`  p99 of the injector is ${(own / base).toFixed(1)} times that of the plain server`);
  }
}

async function large(one: Contender, check: (answer: string) => void): Promise<void> {
  const bodies = largeBodies();
  const { latencies, costMs } = await oneAtATime({ ...one, bodies }, check);
  const sorted = [...latencies].sort((a, b) => a - b);
  say(
    `${one.name}, a pod of ${(sizeOf(bodies) / 1024 / 1024).toFixed(2)} MB, one at a time: ${percentiles(sorted)}, first ${latencies[0]?.toFixed(1)} ms; ${costMs.toFixed(1)} ms CPU each`,
  );
}

function largeBodies(): readonly Buffer[] {
  return Array.from({ length: LARGE_CALLS }, (_, index) => Buffer.from(largeReview(index, LARGE_BYTES)));
}

function percentiles(sorted: readonly number[]): string {
  const at = (share: number) => rank(sorted, share).toFixed(1);
  return `p50 ${at(0.5)}, p90 ${at(0.9)}, p99 ${at(0.99)}, worst ${at(1)} ms`;
}

function megabytes(pid: number): string {
  return (memory(pid).privateKiB / 1024).toFixed(0);
}

async function peakMegabytes(pid: number): Promise<string> {
  const kib = /^VmHWM:\s+(\d+) kB/m.exec(await readFile(`/proc/${pid}/status`, "utf8"))?.[1];
  return (Number(kib) / 1024).toFixed(0);
}

function sizeOf(bodies: readonly Buffer[]): number {
  return Math.round(bodies.reduce((sum, { length }) => sum + length, 0) / bodies.length);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function refuse(sentence: string): false {
  process.stderr.write(`${sentence}\n`);
  return false;
}
