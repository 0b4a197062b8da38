// A control plane that is slow rather than away: it runs for a tenth of the time, as on a node that has no CPU left.
import { type Fault, NOTHING_FAILS, type Scene, type Target } from "./fault.ts";
import { everyInstanceKnown } from "./health.ts";
import type { Part } from "./part.ts";
import type { PartName } from "./world.ts";

const kind = "slow control plane";
const STILL_MS = 450;
const RUNS_MS = 50;

/** Freezes and thaws it in turn until the result is called. */
function slowDown(part: Part): () => void {
  let timer: NodeJS.Timeout | undefined;
  const still = () => {
    part.freeze();
    timer = setTimeout(runs, STILL_MS);
  };
  const runs = () => {
    part.thaw();
    timer = setTimeout(still, RUNS_MS);
  };
  still();
  return () => {
    clearTimeout(timer);
    part.thaw();
  };
}

async function slowFor(scene: Scene, names: readonly PartName[]): Promise<void> {
  scene.begin();
  for (const name of names) scene.undo(slowDown(scene.world.parts[name]));
  await scene.hold(3_000, 20_000);
}

function row(target: Target, names: readonly PartName[], promise: string, isShort: boolean): Fault {
  return {
    kind,
    target,
    what: `runs for ${RUNS_MS} of ${STILL_MS + RUNS_MS} ms`,
    promise,
    bound: NOTHING_FAILS,
    isShort,
    play: (scene) => slowFor(scene, names),
  };
}

export const SLOW: readonly Fault[] = [
  row("registry", ["registry"], "nothing fails, nobody is lost", true),
  row("CA", ["ca"], "nothing fails", false),
  row("Redis", ["redis"], "nothing fails, nobody is lost", false),
  {
    ...row("sidecar", ["caller"], "", false),
    what: "one that starts while registry and CA are slow",
    promise: "it takes longer, and nothing fails once it is ready",
    bound: { failed: "any", recoverMs: 250 },
    async play(scene) {
      const { parts } = scene.world;
      scene.begin();
      for (const name of ["registry", "ca"] as const) scene.undo(slowDown(parts[name]));
      await parts.caller.restart();
      scene.over();
      await scene.hold(3_000, 10_000);
      await scene.becomes("every instance is known", 10_000, everyInstanceKnown(scene));
    },
  },
];
