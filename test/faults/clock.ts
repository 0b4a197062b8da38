// The wall clock of one node steps (libfaketime; the monotonic clock stays): leases neither end nor come back by it, and what depends on wall time, a
// certificate or a signature, is refused only while the clock is wrong by more than the mesh allows.
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Fault, NOTHING_FAILS, type Scene, type Target } from "./fault.ts";
import { heartbeatsFlow, watchInstances } from "./health.ts";
import type { PartName } from "./world.ts";

const kind = "clock step";
const LIBRARIES = ["x86_64-linux-gnu", "aarch64-linux-gnu"].map((machine) => `/usr/lib/${machine}/faketime/libfaketimeMT.so.1`);
/** Redis's own malloc asks for the time before libfaketime is ready; the C library's comes first there. */
const PLAIN_MALLOC = ":libc.so.6";
/** libfaketime reads its file again after this long. */
const CACHE_S = 1;

/** Starts a part again under a clock that can be stepped; the result steps it, in seconds from the true time. */
async function underOwnClock(scene: Scene, name: PartName): Promise<(offsetS: number) => void> {
  const part = scene.world.parts[name];
  const file = join(scene.world.folders.clocks, name);
  const step = (offsetS: number) => {
    writeFileSync(`${file}.new`, `${offsetS < 0 ? "-" : "+"}${Math.abs(offsetS)}\n`, { mode: 0o644 });
    renameSync(`${file}.new`, file);
  };
  const library = LIBRARIES.find((path) => existsSync(path));
  if (library === undefined) throw new Error("libfaketime is not installed");
  step(0);
  scene.undo(() => part.restart());
  await part.restart({
    LD_PRELOAD: name === "redis" ? `${library}${PLAIN_MALLOC}` : library,
    FAKETIME_TIMESTAMP_FILE: file,
    FAKETIME_CACHE_DURATION: String(CACHE_S),
    FAKETIME_DONT_FAKE_MONOTONIC: "1",
  });
  return step;
}

async function stepBy(scene: Scene, name: PartName, offsetS: number): Promise<void> {
  const step = await underOwnClock(scene, name);
  const { caller, sidecarA, sidecarB } = scene.world.parts;
  for (const one of [caller, sidecarA, sidecarB])
    await scene.becomes(`${one.name} has a heartbeat before the step`, 10_000, heartbeatsFlow(one));
  scene.check("traffic is steady before the step", await scene.world.traffic.isSteady(500, 10_000));
  const watch = watchInstances(scene);
  scene.undo(watch);
  scene.begin();
  step(offsetS);
  await scene.hold(5_000, 15_000); // past a lease and its sweep
  step(0);
  await scene.hold(CACHE_S * 1_000 + 500, 8_000);
  scene.over();
  const { lost } = watch();
  scene.check(`no lease ended (${lost.join(", ") || "none"})`, lost.length === 0);
}

function row(target: Target, name: PartName, what: string, offsetS: number, promise: string, isShort: boolean): Fault {
  return { kind, target, what, promise, bound: NOTHING_FAILS, isShort, play: (scene) => stepBy(scene, name, offsetS) };
}

export const CLOCKS: readonly Fault[] = [
  row("sidecar", "caller", "the caller's, 15 s ahead and back", 15, "within the skew that is allowed: nothing fails", false),
  row("sidecar", "caller", "the caller's, 10 s behind and back", -10, "within the skew that is allowed: nothing fails", false),
  row("sidecar", "sidecarB", "of one of two instances, 15 s ahead and back", 15, "within the skew that is allowed: nothing fails", false),
  row("registry", "registry", "an hour behind and back", -3_600, "leases end by the monotonic clock: nobody is lost", false),
  row("registry", "registry", "15 s ahead and back", 15, "leases end by the monotonic clock: nobody is lost", false),
  row("CA", "ca", "15 s ahead and back", 15, "nothing fails", false),
  row("CA", "ca", "an hour ahead and back", 3_600, "a certificate from the future is refused, the one held serves on", false),
  row("Redis", "redis", "an hour ahead and back", 3_600, "nobody is lost", false),
  row("Redis", "redis", "an hour behind and back", -3_600, "nobody is lost, and nobody comes back", false),
];
