// Plays one row: settles the mesh, lets the fault happen, undoes what is left of it, and compares the figures of the traffic with what was promised.
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../e2e/until.ts";
import { waitedForCpuMs } from "../soak/process-view.ts";
import type { Fault, Scene } from "./fault.ts";
import type { Figures } from "./traffic.ts";
import type { Part } from "./part.ts";
import type { World } from "./world.ts";

const SETTLE_STEADY_MS = 700;
const SETTLE_TIMEOUT_MS = 30_000;
/** Traffic that is looked at after the fault is over. */
const AFTER_MS = 1_000;
/** A request that left in the same instant in which a fault ended may have met it. */
const INSTANT_MS = 50;
const SHOWN_LOG_CHARS = 3_000;

/** A row as it came out. */
export interface Outcome {
  readonly fault: Fault;
  readonly figures: Figures;
  /** From the end of the fault to the last request that failed, ms; 0: none did after it. */
  readonly recoverMs: number;
  /** How long things took that had to become so. */
  readonly took: readonly string[];
  /** How long one of those that carry the traffic waited for a CPU, ms: more than a moment says that this machine was busy with other things. */
  readonly starvedMs: number;
  /** What was promised and did not hold; empty: the row holds. */
  readonly broken: readonly string[];
}

/** Plays it. Never throws: what goes wrong is why the row does not hold. */
export async function play(fault: Fault, world: World, isLong: boolean): Promise<Outcome> {
  const broken: string[] = [];
  const took: string[] = [];
  const undos: (() => unknown)[] = [];
  let beganMs = Date.now();
  let overMs = 0;
  let waited: ReadonlyMap<number, number> = new Map();
  const scene: Scene = {
    world,
    isLong,
    begin: () => (beganMs = Date.now()),
    hold: (shortMs, longMs = shortMs) => sleep(isLong ? longMs : shortMs),
    over: () => (overMs = Date.now()),
    undo: (run) => undos.push(run),
    check(what, holds) {
      if (!holds) broken.push(`not so: ${what}`);
    },
    async becomes(what, withinMs, isTrue) {
      const sinceMs = Date.now();
      await until(what, withinMs, isTrue).then(
        () => took.push(`${what} after ${((Date.now() - sinceMs) / 1_000).toFixed(1)} s`),
        (error: Error) => broken.push(error.message),
      );
    },
  };
  try {
    await settle(world);
    beganMs = Date.now();
    waited = waitedMs(world);
    await fault.play(scene);
  } catch (error) {
    broken.push((error as Error).message.slice(0, 600));
  }
  if (overMs === 0) overMs = Date.now();
  await sleep(Math.max(0, overMs + AFTER_MS - Date.now()));
  const endMs = Date.now(); // before what undoing costs, such as a restart without the clock that stepped
  const figures = await world.traffic.figures(beganMs, endMs);
  const starvedMs = Math.max(...[...waitedMs(world)].map(([pid, ms]) => ms - (waited.get(pid) ?? ms)));
  for (const undo of undos.reverse()) {
    try {
      await undo();
    } catch (error) {
      broken.push(`undoing: ${(error as Error).message.slice(0, 600)}`);
    }
  }
  await repair(world);
  const recoverMs = figures.lastFailedMs === null ? 0 : Math.max(0, figures.lastFailedMs - overMs);
  broken.push(...beyond(fault, figures, recoverMs));
  return { fault, figures, recoverMs, took, starvedMs, broken };
}

/** How long each process that carries the traffic has waited for a CPU so far, by its id. */
function waitedMs({ parts, client }: World): ReadonlyMap<number, number> {
  const carriers = [client, parts.caller, parts.sidecarA, parts.sidecarB, parts.appA, parts.appB];
  return new Map(carriers.map(({ pid }) => [pid, waitedForCpuMs([pid])]));
}

function beyond({ bound }: Fault, { failed, longestGapMs, problems }: Figures, recoverMs: number): readonly string[] {
  const flaws: string[] = [];
  if (bound.failed !== "any" && failed > bound.failed)
    flaws.push(`${failed} requests failed, at most ${bound.failed} may: ${problems.join("; ")}`);
  if (recoverMs > bound.recoverMs + INSTANT_MS)
    flaws.push(`a request failed ${recoverMs} ms after the fault was over: ${problems.join("; ")}`);
  if (bound.gapMs !== undefined && longestGapMs > bound.gapMs)
    flaws.push(`nothing succeeded for ${longestGapMs} ms, at most ${bound.gapMs}`);
  return flaws;
}

/** A row that broke off leaves nothing behind for those after it. */
async function repair({ parts }: World): Promise<void> {
  for (const part of Object.values(parts)) {
    part.thaw();
    if (!part.isRunning) await part.start().catch(() => undefined); // told by the next row, which finds it missing
  }
}

/** Until the mesh is whole: the row before may have left it healing. @throws Error when it does not heal */
async function settle(world: World): Promise<void> {
  await until("every part runs", SETTLE_TIMEOUT_MS, () => Object.values(world.parts).every((part) => part.isRunning));
  await until("the registry knows every instance", SETTLE_TIMEOUT_MS, async () => (await world.instances())?.length === 3);
  if (!(await world.traffic.isSteady(SETTLE_STEADY_MS, SETTLE_TIMEOUT_MS))) throw new Error("traffic is not steady before the fault");
}

/** The end of every log, for a row that does not hold. */
export function logsOf(world: World): string {
  return Object.values(world.parts)
    .map((part: Part) => `--- ${part.name}\n${part.log.slice(-SHOWN_LOG_CHARS)}`)
    .join("\n");
}
