// Brings workloads to the version that the platform gives them: stale owners are restarted one after the other, at a pace and with few under way at
// once, and the mesh is looked at in between. The same judge as in the guard stops it. Owners come in the order of their places, so that a wider share
// goes on where a smaller one ended. I/O and time arrive as arguments.
import { placeOf } from "../platform/channels.ts";
import type { Platform, RolloutState } from "../platform/platform.ts";
import { type Fleet, type Workload, workloadsOf } from "./fleet.ts";
import { createObservation, describeVerdict, haltReason } from "./observation.ts";
import type { RestartOutcome } from "./rollout-api.ts";

/** Looks in a row that may fail before it is given up. */
const MAX_FAILED_LOOKS = 10;

/** What to restart, and how fast. */
export interface RestartOptions {
  /** Least time between two restarts. */
  readonly paceMs: number;
  /** Owners under way at once. */
  readonly maxUnavailable: number;
  /** Time between two looks. */
  readonly pollMs: number;
  /** How long the new version is watched once every owner is through; only in a rollout. */
  readonly observeMs: number;
  /** How long an owner may take until all its pods run and are ready. */
  readonly settleMs: number;
  /** Which workloads; default all. */
  readonly only?: (workload: Workload) => boolean;
}

/** What the restarter works with. */
export interface RestarterParts {
  readonly platform: () => Promise<Platform>;
  readonly fleet: () => Promise<Fleet>;
  readonly restart: (workload: Workload) => Promise<RestartOutcome>;
  /** Writes the halt down; called once, and the end follows. */
  readonly halt: (rollout: RolloutState, why: string) => Promise<void>;
  /** Epoch ms. */
  readonly nowMs: () => number;
  readonly sleep: (ms: number) => Promise<void>;
  /** One line for people about what happens. */
  readonly report: (line: string) => void;
}

/** An owner that was left as it is, and why. */
export interface LeftOwner {
  readonly workload: string;
  readonly outcome: Exclude<RestartOutcome, "restarted">;
}

/** How it ended. `stuck`: an owner did not become ready in time; `changed`: somebody changed the rollout meanwhile. */
export interface RestartEnd {
  readonly kind: "done" | "halted" | "stuck" | "changed";
  /** A sentence without a full stop. */
  readonly why: string;
  readonly restarted: readonly string[];
  readonly left: readonly LeftOwner[];
}

/** Runs to its end. @throws the last error when the mesh could not be looked at ten times in a row, or a restart was refused */
export async function restartStale(parts: RestarterParts, options: RestartOptions): Promise<RestartEnd> {
  const { nowMs, report } = parts;
  const observation = createObservation();
  const restarted = new Map<string, number>();
  const left: LeftOwner[] = [];
  const first = (await parts.platform()).rollout;
  let lastRestartMs = Number.NEGATIVE_INFINITY;
  let throughSinceMs: number | null = null;
  let failed = 0;

  const end = (kind: RestartEnd["kind"], why: string): RestartEnd => ({ kind, why, restarted: [...restarted.keys()], left });

  async function look(): Promise<{ readonly platform: Platform; readonly fleet: Fleet } | null> {
    try {
      const [platform, fleet] = await Promise.all([parts.platform(), parts.fleet()]);
      failed = 0;
      return { platform, fleet };
    } catch (error) {
      failed += 1;
      if (failed >= MAX_FAILED_LOOKS) throw error;
      report(`the mesh cannot be seen, so nothing is restarted: ${error instanceof Error ? error.message : String(error)}`);
      return null;
    }
  }

  /** The rollout's end, when this look brings it. */
  async function judge(platform: Platform): Promise<RestartEnd | null> {
    const { rollout } = platform;
    if (!isSameRollout(first, rollout)) return end("changed", "the rollout was promoted, aborted or replaced by somebody else meanwhile");
    if (rollout !== null && rollout.halted !== null) return end("halted", rollout.halted.why);
    const judgement = observation.judge(platform);
    const why = judgement === null ? null : haltReason(judgement);
    if (rollout === null || why === null) return null;
    await parts.halt(rollout, why);
    return end("halted", why);
  }

  /** Restarts the next one that can be; false when there is none. */
  async function restartNext(waiting: readonly Workload[]): Promise<boolean> {
    for (const workload of waiting) {
      const outcome = await parts.restart(workload);
      if (outcome === "restarted") {
        restarted.set(workload.key, nowMs());
        lastRestartMs = nowMs();
        report(`restarted ${workload.key} (${restarted.size} so far, ${waiting.length - 1} to go)`);
        return true;
      }
      left.push({ workload: workload.key, outcome });
      report(`left ${workload.key}: ${outcome}`);
    }
    return false;
  }

  for (;;) {
    const seen = await look();
    if (seen !== null) {
      const { platform, fleet } = seen;
      observation.look(fleet, nowMs());
      const over = await judge(platform);
      if (over !== null) return over;
      const workloads = workloadsOf(fleet, platform);
      const stuck = [...restarted].find(([key, atMs]) => workloads.get(key)?.settled === false && nowMs() - atMs > options.settleMs);
      if (stuck !== undefined) return end("stuck", `${stuck[0]} is not ready ${Math.round(options.settleMs / 1000)} s after its restart`);
      const moving = [...restarted.keys()].filter((key) => workloads.get(key)?.settled === false);
      const passed = new Set([...restarted.keys(), ...left.map(({ workload }) => workload)]);
      const waiting = staleOnes(workloads, options.only).filter(({ key }) => !passed.has(key));
      if (waiting.length === 0 && moving.length === 0) {
        throughSinceMs ??= nowMs();
        const judgement = observation.judge(platform);
        if (judgement === null || nowMs() - throughSinceMs >= options.observeMs) {
          return end("done", judgement === null ? "every workload has its version" : describeVerdict(judgement));
        }
      } else {
        throughSinceMs = null;
        if (moving.length < options.maxUnavailable && nowMs() - lastRestartMs >= options.paceMs) await restartNext(waiting);
      }
    }
    await parts.sleep(options.pollMs);
  }
}

/** Workloads with pods of another version than they should have, by their places. */
export function staleOnes(
  workloads: ReadonlyMap<string, Workload>,
  only: (workload: Workload) => boolean = () => true,
): readonly Workload[] {
  const stale = [...workloads.values()].filter((workload) => workload.stale.length > 0 && only(workload));
  const place = (workload: Workload) => placeOf(workload.owner);
  return stale.sort((a, b) => place(a) - place(b) || (a.key < b.key ? -1 : 1));
}

function isSameRollout(before: RolloutState | null, now: RolloutState | null): boolean {
  if (before === null || now === null) return before === now;
  return before.channel === now.channel && before.from === now.from && before.to === now.to;
}
