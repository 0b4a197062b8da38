// The disk on which a part keeps its state is full: to the last byte, with files that are not its own.
import { closeSync, openSync, readFileSync, rmSync, writeSync } from "node:fs";
import { join } from "node:path";
import { type Fault, NOTHING_FAILS } from "./fault.ts";
import { everyInstanceKnown, isHealthy } from "./health.ts";

const kind = "full disk";
const BLOCK = Buffer.alloc(4_096, "x");

/** Fills the disk of `folder` until the result is called. Idempotent. */
function fill(folder: string): () => void {
  const path = join(folder, "filler");
  const file = openSync(path, "w");
  try {
    for (;;) writeSync(file, BLOCK);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOSPC") throw error;
  } finally {
    closeSync(file);
  }
  return () => rmSync(path, { force: true });
}

export const DISKS: readonly Fault[] = [
  {
    kind,
    target: "sidecar",
    what: "the caller's cache of destinations",
    promise: "a warning and a metric; saved again when there is room",
    bound: { failed: 3, recoverMs: 0 }, // of the instance that is restarted to have something to save
    isShort: true,
    async play(scene) {
      const { folders, parts } = scene.world;
      const saved = () => readFileSync(join(folders.caller, "destinations.json"), "utf8");
      const errors = async () => (await parts.caller.metric("remora_destinations_save_errors_total")) ?? 0;
      const before = await errors();
      scene.begin();
      const free = fill(folders.caller);
      scene.undo(free);
      await parts.sidecarB.restart();
      await scene.becomes("it counts that it cannot save", 8_000, async () => (await errors()) > before);
      scene.check("it warns", parts.caller.log.includes("destinations cannot be saved"));
      free();
      scene.over();
      const old = saved();
      await parts.sidecarB.restart();
      await scene.becomes("it saves again", 8_000, () => saved() !== old);
    },
  },
  {
    kind,
    target: "registry",
    what: "where it keeps its own certificate",
    promise: "a warning at the next renewal; nothing fails",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { folders, parts } = scene.world;
      scene.begin();
      const free = fill(folders.registry);
      scene.undo(free);
      await scene.becomes("it warns", 60_000, () => parts.registry.log.includes("a state file cannot be written"));
      scene.check("it is well", await isHealthy(parts.registry));
      free();
      scene.over();
    },
  },
  {
    kind,
    target: "CA",
    what: "where it keeps root and join tokens",
    promise: "a new token is refused with the reason; it signs all the same, also for a token made before",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { folders, joinToken, parts } = scene.world;
      scene.begin();
      const free = fill(folders.ca);
      scene.undo(free);
      const problem = await joinToken("default", "late").then(
        () => "",
        (error: Error) => error.message,
      );
      scene.check(`a new token is refused with the reason (${problem})`, /ENOSPC|no space/i.test(problem));
      scene.check("the CA is well", parts.ca.isRunning && (await isHealthy(parts.ca)));
      await scene.hold(1_000, 45_000); // long: certificates are renewed
      free();
      scene.over();
      const later = await joinToken("default", "late").then(
        (token) => token !== "",
        () => false,
      );
      scene.check("a new token is made when there is room", later);
    },
  },
  {
    kind,
    target: "Redis",
    what: "its append-only file",
    promise: "it refuses writes, so the registry serves from memory, degraded; nobody is lost",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      const { folders, parts } = scene.world;
      scene.begin();
      const free = fill(folders.redis);
      scene.undo(free);
      await scene.becomes("the registry says degraded", 10_000, async () => !(await isHealthy(parts.registry)));
      await scene.hold(4_000, 20_000);
      scene.check("every instance is known", await everyInstanceKnown(scene)());
      free();
      scene.undo(() => parts.redis.isRunning || parts.redis.start());
      if (!parts.redis.isRunning) await parts.redis.start(); // it may end itself over a file that cannot be written
      scene.over();
      await scene.becomes("the registry is well", 10_000, () => isHealthy(parts.registry));
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
];
