// kill -9: the process is gone without a word, and whoever starts processes starts it again.
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Fault, NOTHING_FAILS, type Scene } from "./fault.ts";
import { everyInstanceKnown, everyInstanceStays, isHealthy, leavesRegistry, watchInstances } from "./health.ts";
import type { PartName } from "./world.ts";

const kind = "kill -9";

async function killFor(scene: Scene, name: PartName, shortMs: number, longMs: number): Promise<void> {
  const part = scene.world.parts[name];
  scene.begin();
  await part.kill();
  await scene.hold(shortMs, longMs);
  await part.start();
  scene.over();
}

export const KILLS: readonly Fault[] = [
  {
    kind,
    target: "sidecar",
    what: "the caller's, started again at once",
    promise: "fails while it is away, and not once it is ready again",
    bound: { failed: "any", recoverMs: 250 },
    isShort: true,
    play: (scene) => killFor(scene, "caller", 0, 0),
  },
  {
    kind,
    target: "sidecar",
    what: "the caller's, with registry and CA away too",
    promise: "starts from disk: fails while it is away, and not once it is ready again",
    bound: { failed: "any", recoverMs: 250 },
    isShort: false,
    async play(scene) {
      const { ca, registry, caller } = scene.world.parts;
      scene.begin();
      await Promise.all([ca.kill(), registry.kill(), caller.kill()]);
      scene.undo(() => Promise.all([ca, registry].filter((one) => !one.isRunning).map((one) => one.start())));
      await caller.start();
      scene.over();
      await scene.hold(1_500, 10_000);
      await Promise.all([ca.start(), registry.start()]);
      await everyInstanceStays(scene);
    },
  },
  {
    kind,
    target: "sidecar",
    what: "of one of two instances, back after 2 s",
    promise: "only requests in flight fail; the other instance serves",
    bound: { failed: 3, recoverMs: 0, gapMs: 1_000 },
    isShort: true,
    play: (scene) => killFor(scene, "sidecarB", 2_000, 20_000),
  },
  {
    kind,
    target: "registry",
    what: "away for longer than the lease",
    promise: "calls to every destination already seen; heartbeats come back in time, and nobody is lost",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      await killFor(scene, "registry", 4_000, 30_000);
      await everyInstanceStays(scene);
    },
  },
  {
    kind,
    target: "registry",
    what: "with the CA and without its own certificate, which it gets when the CA is back",
    promise: "calls to every destination already seen; nobody is lost for the time in which it could not be reached",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      const { parts, folders, joinToken } = scene.world;
      scene.begin();
      await Promise.all([parts.ca.kill(), parts.registry.kill()]);
      scene.undo(() => parts.ca.isRunning || parts.ca.start());
      rmSync(join(folders.registry, "identity.json"));
      parts.registry.spawn({ REMORA_JOIN_TOKEN: await joinToken("remora-system", "remora-control") });
      await scene.hold(6_000, 15_000);
      const watch = watchInstances(scene);
      scene.undo(watch);
      await parts.ca.start();
      await parts.registry.ready();
      scene.over();
      await everyInstanceStays(scene);
      const { lost } = watch();
      scene.check(`everybody is known as soon as it answers (${lost.join(", ") || "nobody"} was not)`, lost.length === 0);
    },
  },
  {
    kind,
    target: "registry",
    what: "with leases in memory, away for longer than the lease",
    promise: "the same: a registry that starts empty cuts nobody off",
    bound: NOTHING_FAILS,
    isShort: false,
    store: "memory",
    async play(scene) {
      await killFor(scene, "registry", 4_000, 30_000);
      await everyInstanceStays(scene);
    },
  },
  {
    kind,
    target: "CA",
    what: "back after 3 s (15 s)",
    promise: "everything until a leaf expires",
    bound: NOTHING_FAILS,
    isShort: false,
    play: (scene) => killFor(scene, "ca", 3_000, 15_000),
  },
  {
    kind,
    target: "Redis",
    what: "away for longer than the lease, back with what it had",
    promise: "the registry serves and accepts heartbeats from memory, degraded; nobody is lost",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      const { redis } = scene.world.parts;
      scene.begin();
      await redis.kill();
      scene.undo(() => redis.isRunning || redis.start());
      await scene.becomes("the registry says degraded", 5_000, async () => !(await isHealthy(scene.world.parts.registry)));
      await scene.hold(2_500, 20_000);
      await redis.start();
      scene.over();
      await scene.becomes("the registry is well", 8_000, () => isHealthy(scene.world.parts.registry));
      await scene.becomes("every instance is known", 3_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "app",
    what: "one of two, its sidecar stays; back after 2 s",
    promise: "HTTP and gRPC: only requests in flight fail; of opaque TCP a few connections more, at most until its breaker opens",
    // Three requests in flight, seven connections until its breaker opens at the latest, and the probes.
    bound: { failed: 12, recoverMs: 0, gapMs: 1_000 },
    isShort: true,
    play: (scene) => killFor(scene, "appB", 2_000, 10_000),
  },
  {
    kind,
    target: "app",
    what: "one of two with its sidecar, as a node that loses power",
    promise: "only requests in flight fail; it leaves the registry within lease and sweep",
    bound: { failed: 3, recoverMs: 0, gapMs: 1_000 },
    isShort: false,
    async play(scene) {
      const { appB, sidecarB } = scene.world.parts;
      scene.begin();
      await Promise.all([appB.kill(), sidecarB.kill()]);
      scene.undo(() => Promise.all([appB, sidecarB].filter((one) => !one.isRunning).map((one) => one.start())));
      await leavesRegistry(scene, "sidecarB");
      await appB.start();
      await sidecarB.start();
      scene.over();
    },
  },
];
