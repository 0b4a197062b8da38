// SIGSTOP, then SIGCONT: the process is there, its sockets too, and nothing answers. When it goes on, its timers find that time has passed.
import { type Fault, NOTHING_FAILS, type Scene } from "./fault.ts";
import { everyInstanceKnown, heartbeatsFlow, isHealthy, leavesRegistry } from "./health.ts";
import { DEADLINE_MS, LEASE_MS, type PartName } from "./world.ts";

const kind = "SIGSTOP";
/** Longer than a lease and the sweep after it. */
const LONGER_THAN_LEASE_MS = LEASE_MS + 2_500;

async function freezeFor(scene: Scene, name: PartName, shortMs: number, longMs: number): Promise<void> {
  const part = scene.world.parts[name];
  scene.undo(() => part.thaw());
  scene.begin();
  part.freeze();
  await scene.hold(shortMs, longMs);
  part.thaw();
  scene.over();
}

async function freezeRegistry(scene: Scene): Promise<void> {
  await freezeFor(scene, "registry", LONGER_THAN_LEASE_MS, 30_000);
  await scene.becomes("heartbeats flow", 8_000, heartbeatsFlow(scene.world.parts.caller));
  await scene.becomes("every instance is known", 8_000, everyInstanceKnown(scene));
}

export const FREEZES: readonly Fault[] = [
  {
    kind,
    target: "sidecar",
    what: "the caller's, for 1 s",
    promise: "requests wait and are answered",
    bound: { failed: 0, recoverMs: 0, gapMs: 1_800 },
    isShort: true,
    play: (scene) => freezeFor(scene, "caller", 1_000, 1_000),
  },
  {
    kind,
    target: "sidecar",
    what: "the caller's, for longer than the lease",
    promise: "fails while it stands still, and until what waited for it is worked off",
    // A thousand connections whose clients gave up wait in the kernel by then: a half-closed client looks like one that is gone, so each of them is served.
    bound: { failed: "any", recoverMs: 1_500 },
    isShort: false,
    async play(scene) {
      await freezeFor(scene, "caller", LONGER_THAN_LEASE_MS, 20_000);
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "sidecar",
    what: "of one of two instances, for longer than the lease",
    promise: "requests that went to it fail, at most five of each kind; none once it left the view; it comes back by itself",
    bound: { failed: 15, recoverMs: 0, gapMs: 1_000 },
    isShort: true,
    async play(scene) {
      const { world } = scene;
      scene.undo(() => world.parts.sidecarB.thaw());
      scene.begin();
      world.parts.sidecarB.freeze();
      await leavesRegistry(scene, "sidecarB");
      const leftMs = Date.now() + 500; // until the caller has heard
      await scene.hold(1_500, 20_000);
      const { failed } = await world.traffic.figures(leftMs, Date.now());
      scene.check(`no request fails once it left (${failed})`, failed === 0);
      world.parts.sidecarB.thaw();
      scene.over();
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "registry",
    what: "for longer than the lease",
    promise: "calls to every destination already seen; it ends nobody's lease for the time it stood still",
    bound: NOTHING_FAILS,
    isShort: true,
    play: freezeRegistry,
  },
  {
    kind,
    target: "registry",
    what: "with leases in memory, for longer than the lease",
    promise: "the same",
    bound: NOTHING_FAILS,
    isShort: false,
    store: "memory",
    play: freezeRegistry,
  },
  {
    kind,
    target: "CA",
    what: "for 4 s (15 s)",
    promise: "everything until a leaf expires",
    bound: NOTHING_FAILS,
    isShort: false,
    play: (scene) => freezeFor(scene, "ca", 4_000, 15_000),
  },
  {
    kind,
    target: "Redis",
    what: "for longer than the lease",
    promise: "the registry serves and accepts heartbeats from memory, degraded; nobody is lost",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      await freezeFor(scene, "redis", LONGER_THAN_LEASE_MS, 30_000);
      await scene.becomes("the registry is well", 8_000, () => isHealthy(scene.world.parts.registry));
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "app",
    what: "one of two, its sidecar stays",
    promise: "requests that wait for it fail, about one of each kind per deadline; the other instance serves",
    bound: { failed: 20, recoverMs: 0, gapMs: DEADLINE_MS },
    isShort: true,
    play: (scene) => freezeFor(scene, "appB", 4_000, 6_000),
  },
];
