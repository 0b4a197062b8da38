// `npm run bench -- control`: how many sidecars one control plane carries, and what they cost it. The control plane is the process that a cluster would run, on one
// core; the sidecars are simulated in this process, with the real protocol and the sidecar's own timing.
import { writeFile } from "node:fs/promises";
import { cpus, loadavg } from "node:os";
import { type ControlBenchOptions, parseControlOptions } from "./options.ts";
import { sayResult } from "./report.ts";
import { playDisconnect, playRolling, playSteady, type Result } from "./scenarios.ts";
import { createWorld, type World } from "./world.ts";

const PLAYS: Readonly<Record<string, (world: World, options: ControlBenchOptions) => Promise<Result>>> = {
  steady: playSteady,
  disconnect: playDisconnect,
  rolling: playRolling,
};

/** Plays one scenario and prints what it found; false when an argument is wrong or it could not be played. */
export async function runControl(words: readonly string[]): Promise<boolean> {
  const options = parseControlOptions(words);
  if (!("scenario" in options)) return refuse(options.join("\n"));
  say(
    `${cpus()[0]?.model}, ${cpus().length} cores, load ${loadavg()[0]?.toFixed(1)} before; Node ${process.version}; ${new Date().toISOString()}`,
  );
  try {
    const results = await playAll(options);
    if (options.json !== null) await writeFile(options.json, `${JSON.stringify(results, null, 2)}\n`);
    return true;
  } catch (error) {
    return refuse(error instanceof Error ? error.message : String(error));
  }
}

async function playAll(options: ControlBenchOptions): Promise<readonly Result[]> {
  const play = PLAYS[options.scenario];
  if (play === undefined) return [];
  const world = await createWorld(options);
  try {
    const result = await play(world, options);
    say(sayResult(result));
    return [result];
  } finally {
    await world.close();
  }
}

function refuse(problem: string): false {
  process.stderr.write(`${problem}\n`);
  return false;
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
