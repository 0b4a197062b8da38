// No file descriptors left in the running process: what is open goes on, what is new is refused, and it is over when there are some again. It must not
// crash, and not spin on connections that it cannot accept.
import type { Fault, Scene, Target } from "./fault.ts";
import { everyInstanceKnown } from "./health.ts";
import type { PartName } from "./world.ts";

const kind = "no descriptors";
/** Of one core, while it can accept nothing. */
const MAX_CPU_RATIO = 0.7;

async function starve(scene: Scene, name: PartName): Promise<void> {
  const part = scene.world.parts[name];
  scene.begin();
  part.limitFiles(part.openFiles());
  scene.undo(() => part.isRunning && part.limitFiles(null));
  const [sinceMs, cpuMs] = [performance.now(), part.cpuMs()];
  await scene.hold(3_000, 15_000);
  scene.check("it runs", part.isRunning);
  const ratio = (part.cpuMs() - cpuMs) / (performance.now() - sinceMs);
  scene.check(`it does not spin (${Math.round(ratio * 100)} % of a core)`, ratio < MAX_CPU_RATIO);
  part.limitFiles(null);
  scene.over();
  await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
}

function row(target: Target, name: PartName, what: string, promise: string, failed: number | "any", isShort: boolean): Fault {
  return { kind, target, what, promise, bound: { failed, recoverMs: 250 }, isShort, play: (scene) => starve(scene, name) };
}

export const DESCRIPTORS: readonly Fault[] = [
  row("sidecar", "caller", "the caller's", "new connections are refused, those that are open go on; over at once", "any", true),
  row("sidecar", "sidecarB", "of one of two instances", "what it cannot take goes to the other instance", 3, true),
  row("registry", "registry", "", "nothing fails", 0, false),
  row("CA", "ca", "", "nothing fails", 0, false),
  row("app", "appB", "one of two", "what it cannot take goes to the other instance", 3, false),
];
