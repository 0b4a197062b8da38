// `--scenario capacity`: all that bench/README.md says of the control plane's capacity, in one run of some ten minutes, written there with `--readme`. Each row has a control
// plane of its own; one that could not be played says why and leaves the others alone.
import { cpus } from "node:os";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { between } from "../load/publish.ts";
import { type BootResult, playBoot } from "./boot.ts";
import { type CertifyResult, playCertify } from "./certify.ts";
import { drawSweep } from "./chart.ts";
import type { ControlBenchOptions } from "./options.ts";
import { sayPaper } from "./paper.ts";
import { sayResult, sayTable } from "./report.ts";
import { playDisconnect, playRolling, playSteady, type Result } from "./scenarios.ts";
import { createWorld, type World } from "./world.ts";

const BENCH = join(import.meta.dirname, "..");
const SWEEP = [1_000, 2_000, 5_000, 10_000, 20_000];
const REPLICAS = [1, 2, 3];
const SHARED = 6_000;
const ROLLING = 5_000;
const CONNECTED = 2_000;

type Play<Found> = (world: World, options: ControlBenchOptions) => Promise<Found>;

/** Plays it all; `say` hears of each row as it is there. */
export async function playCapacity(options: ControlBenchOptions, dist: string, say: (line: string) => void): Promise<readonly object[]> {
  const problems: string[] = [];

  async function row<Found extends object>(what: string, changes: Partial<ControlBenchOptions>, play: Play<Found>): Promise<Found | null> {
    const own: ControlBenchOptions = { ...options, scenario: "steady", watches: 1, ...changes };
    const world = await createWorld(own, dist);
    try {
      const found = await play(world, own);
      say(`${what}\n${isResult(found) ? sayResult(found) : JSON.stringify(found)}`);
      return found;
    } catch (error) {
      problems.push(`${what}: ${(error as Error).message}`);
      say(problems.at(-1) ?? "");
      return null;
    } finally {
      await world.close();
    }
  }

  const sweep: Result[] = [];
  for (const sidecars of SWEEP) {
    const found = await row(`${sidecars} sidecars`, { sidecars }, playSteady);
    if (found !== null) sweep.push(found);
  }
  const busy = await row("three watches each", { sidecars: SWEEP.at(-1) ?? 0, watches: 3 }, playSteady);
  const rolling = await row("rolling", { scenario: "rolling", sidecars: ROLLING, watches: 3 }, playRolling);
  const disconnect = await row("disconnect", { scenario: "disconnect", sidecars: ROLLING }, playDisconnect);
  const shared: Result[] = [];
  for (const replicas of REPLICAS) {
    const found = await row(`redis, ${replicas} replicas`, { sidecars: SHARED, store: "redis", replicas }, playSteady);
    if (found !== null) shared.push(found);
  }
  const connected = await row("a connection each", { sidecars: CONNECTED, perConnection: 1 }, playSteady);
  const certify = await row("certify", {}, playCertify);
  const boot = await row("boot", { sidecars: CONNECTED }, playBoot);

  if (options.readme) {
    const footer = `${machine()}, one core for the control plane; ${new Date().toISOString().slice(0, 10)}`;
    await writeFile(join(BENCH, "results", "control.svg"), drawSweep(sweep, footer));
    const body = sayCapacity({ sweep, busy, rolling, disconnect, shared, connected, certify, boot }, problems);
    const readme = join(BENCH, "README.md");
    await writeFile(readme, between(await readFile(readme, "utf8"), body, "control"));
  }
  return [...sweep, busy, rolling, disconnect, ...shared, connected, certify, boot].filter((found) => found !== null);
}

function isResult(found: object): found is Result {
  return "microsPerHeartbeat" in found;
}

interface Found {
  readonly sweep: readonly Result[];
  readonly busy: Result | null;
  readonly rolling: Result | null;
  readonly disconnect: Result | null;
  readonly shared: readonly Result[];
  readonly connected: Result | null;
  readonly certify: CertifyResult | null;
  readonly boot: BootResult | null;
}

function sayCapacity(found: Found, problems: readonly string[]): string {
  const { sweep, busy, rolling, disconnect, shared, connected, certify, boot } = found;
  const last = sweep.at(-1);
  const lines = [
    last === undefined
      ? ""
      : `- ${last.sidecars} sidecars, 1 watch each: the probe heard ${last.probe.answers} answers, most after ${ms(last.probe.answer.max)} ms; the process that simulates the others, which is busy, heard its own with p99 ${ms(last.answer.p99)} ms, late by p99 ${ms(last.late.p99)} ms itself. Goals: p99 10 ms, 400 MB.`,
    busy === null
      ? ""
      : `- ${busy.sidecars} sidecars, 3 watches each: ${busy.perSecond.toFixed(0)} heartbeats/s, ${busy.cores.toFixed(2)} cores, p50 ${ms(busy.probe.answer.p50)}, p99 ${ms(busy.probe.answer.p99)} ms, ${busy.privateMb.toFixed(0)} MB.`,
    rolling === null
      ? ""
      : `- rolling deployment, ${rolling.sidecars} sidecars, 3 watches each, 50 instances a second: ${rolling.updates} updates in ${rolling.seconds.toFixed(0)} s at ${rolling.cores.toFixed(2)} cores; the last watcher knew of a new instance after p50 ${ms(rolling.spread.p50)}, p99 ${ms(rolling.spread.p99)} ms; ${rolling.peakMb.toFixed(0)} MB at most.`,
    disconnect === null
      ? ""
      : `- all connections of ${disconnect.sidecars} sidecars cut at once: all back after ${disconnect.settledSeconds?.toFixed(1)} s, ${disconnect.expired} leases lost, ${disconnect.peakMb.toFixed(0)} MB at most.`,
    certify === null
      ? ""
      : `- certificates, renewed over open connections: ${certify.perCore.toFixed(0)} answers/s of a core (${certify.microsPerAnswer.toFixed(0)} µs each, two certificates). Goal: 800.`,
    boot === null
      ? ""
      : `- boot storm of ${boot.pods} pods of ${boot.accounts} accounts, join tokens, a connection each: certified after ${boot.certifiedSeconds.toFixed(1)} s, announced and watching after ${boot.settledSeconds.toFixed(1)} s, ${boot.failures} failures; ${boot.cpuMsPerPod.toFixed(1)} ms CPU a pod; ${boot.peakMb.toFixed(0)} MB at most. Goal: 60 s, no failure.`,
    ...problems.map((problem) => `- not played: ${problem}`),
  ].filter((line) => line !== "");
  const costs = costsOf(found);
  return [
    `${machine()}, ${new Date().toISOString().slice(0, 10)}, one run each. Steady heartbeats, 1 watch each:`,
    sayTable(sweep),
    "![cost against the number of sidecars](results/control.svg)",
    lines.join("\n"),
    `Leases in Redis, ${SHARED} sidecars on 1 to 3 replicas (CPU per heartbeat of all replicas, and of Redis; ${cpus().length} cores for all of it):`,
    sayShared(shared),
    connected === null
      ? ""
      : `${CONNECTED} sidecars with a connection each: ${connected.privateMb.toFixed(0)} MB, ${connected.microsPerHeartbeat.toFixed(0)} µs a heartbeat.`,
    "### 1,000,000 sidecars, on paper",
    costs === null ? "Not computed: a row is missing." : sayPaper(costs),
  ]
    .filter((part) => part !== "")
    .join("\n\n");
}

function sayShared(shared: readonly Result[]): string {
  return [
    "| replicas | CPU µs a heartbeat | on Redis | private MB, all replicas | p50 ms | p99 |",
    "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ...shared.map(
      ({ replicas, microsPerHeartbeat, redisMicrosPerHeartbeat, privateMb, probe }) =>
        `| ${replicas} | ${microsPerHeartbeat.toFixed(0)} | ${redisMicrosPerHeartbeat?.toFixed(0)} | ${privateMb.toFixed(0)} | ${ms(probe.answer.p50)} | ${ms(probe.answer.p99)} |`,
    ),
  ].join("\n");
}

/** What sayPaper needs; null when a row is missing. */
function costsOf({ sweep, rolling, shared, connected, certify }: Found) {
  const [least, most] = [sweep[0], sweep.at(-1)];
  const sameSize = sweep.find(({ sidecars }) => sidecars === CONNECTED);
  const [alone, together] = [shared[0], shared.at(-1)];
  const steady = sweep.find(({ sidecars }) => sidecars === ROLLING);
  if (!least || !most || !sameSize || !alone || !together || !steady || !rolling || !connected || !certify || most === least) return null;
  const bytes = (mb: number) => mb * 2 ** 20;
  const perReplicaMb = (together.privateMb - alone.privateMb) / (together.replicas - alone.replicas);
  const sidecarBytes = bytes(most.privateMb - least.privateMb) / (most.sidecars - least.sidecars);
  const beatsMicros = rolling.answers * steady.microsPerHeartbeat;
  return {
    planeMicros: together.microsPerHeartbeat,
    redisMicros: together.redisMicrosPerHeartbeat ?? 0,
    pushMicros: Math.max(0, rolling.cores * rolling.seconds * 1e6 - beatsMicros) / Math.max(1, rolling.updates),
    certifyMicros: certify.microsPerAnswer,
    sidecarBytes,
    connectionBytes: bytes(connected.privateMb - sameSize.privateMb) / (connected.connections - sameSize.connections),
    // What a further replica takes beyond an empty process is what it mirrors.
    mirrorBytes: Math.max(0, bytes(perReplicaMb - least.privateMb) + sidecarBytes * least.sidecars) / SHARED,
  };
}

const ms = (value: number) => (Number.isNaN(value) ? "-" : value.toFixed(value < 10 ? 2 : 0));

function machine(): string {
  return `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`;
}
