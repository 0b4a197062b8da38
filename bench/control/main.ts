// `npm run bench -- control`: how many sidecars one control plane carries, and what they cost it. The control plane is the process that a cluster would run, on one
// core; the sidecars are simulated in this process, with the real protocol and the sidecar's own timing.
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { bundle } from "../../bin/bundle.ts";
import { type BootResult, playBoot } from "./boot.ts";
import { playCapacity } from "./capacity.ts";
import { type CertifyResult, playCertify } from "./certify.ts";
import { drawSweep } from "./chart.ts";
import { type ControlBenchOptions, parseControlOptions } from "./options.ts";
import { sayResult, sayTable } from "./report.ts";
import { playDisconnect, playRolling, playSteady, type Result } from "./scenarios.ts";
import { createWorld, type World } from "./world.ts";

/** Sizes of a sweep. */
const SWEEP = [1_000, 2_000, 5_000, 10_000, 20_000];

type Outcome = Result | CertifyResult | BootResult;

/** Plays one scenario and prints what it found; false when an argument is wrong or it could not be played. */
export async function runControl(words: readonly string[]): Promise<boolean> {
  const options = parseControlOptions(words);
  if (!("scenario" in options)) return refuse(options.join("\n"));
  say(`${machine()}, load ${loadavg()[0]?.toFixed(1)} before; ${new Date().toISOString()}`);
  const dist = await mkdtemp(join(tmpdir(), "remora-bundle-"));
  try {
    await bundle({ outDir: dist });
    const results = await playAll(options, dist);
    if (options.json !== null) await writeFile(options.json, `${JSON.stringify(results, null, 2)}\n`);
    return true;
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  } finally {
    await rm(dist, { recursive: true, force: true });
  }
}

async function playAll(options: ControlBenchOptions, dist: string): Promise<readonly object[]> {
  if (options.scenario === "capacity") return playCapacity(options, dist, say);
  return options.scenario === "sweep" ? sweep(options, dist) : [await playOne(options, dist)];
}

/** Each size with a control plane of its own, so that none pays for the one before. */
async function sweep(options: ControlBenchOptions, dist: string): Promise<readonly Result[]> {
  const results: Result[] = [];
  for (const sidecars of SWEEP) {
    const result = await inWorld({ ...options, scenario: "steady", sidecars }, dist, playSteady);
    say(sayResult(result));
    results.push(result);
  }
  say(sayTable(results));
  const footer = `${machine()}, one core for the control plane; ${new Date().toISOString().slice(0, 10)}`;
  if (options.svg !== null) await writeFile(options.svg, drawSweep(results, footer));
  return results;
}

async function playOne(options: ControlBenchOptions, dist: string): Promise<Outcome> {
  switch (options.scenario) {
    case "certify": {
      const result = await inWorld(options, dist, playCertify);
      say(JSON.stringify(result, null, 2));
      return result;
    }
    case "boot": {
      const result = await inWorld(options, dist, playBoot);
      say(JSON.stringify(result, null, 2));
      return result;
    }
    default: {
      const play = { steady: playSteady, sweep: playSteady, capacity: playSteady, disconnect: playDisconnect, rolling: playRolling }[
        options.scenario
      ];
      const result = await inWorld(options, dist, play);
      say(sayResult(result));
      return result;
    }
  }
}

async function inWorld<Found>(
  options: ControlBenchOptions,
  dist: string,
  play: (world: World, options: ControlBenchOptions) => Promise<Found>,
): Promise<Found> {
  const world = await createWorld(options, dist);
  try {
    return await play(world, options);
  } finally {
    await world.close();
  }
}

function machine(): string {
  return `${cpus()[0]?.model}, ${cpus().length} cores, Node ${process.version}`;
}

function refuse(problem: string): false {
  process.stderr.write(`${problem}\n`);
  return false;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
