// The network is cut without a word: no reset, no refusal, packets vanish. Links are taken off the bridge, or iptables drops between two namespaces.
import { type Fault, NOTHING_FAILS, type Scene } from "./fault.ts";
import { everyInstanceKnown, heartbeatsFlow, isHealthy, leavesRegistry, watchInstances } from "./health.ts";
import { cutBetween, cutLink, cutOpenConnections } from "./links.ts";
import { LEASE_MS, type PartName } from "./world.ts";

const kind = "network cut";
const LONGER_THAN_LEASE_MS = LEASE_MS + 2_500;

async function cutFor(scene: Scene, name: PartName, shortMs: number, longMs: number): Promise<void> {
  const { network, parts } = scene.world;
  scene.begin();
  const join = cutLink(network, parts[name].namespace);
  scene.undo(join);
  await scene.hold(shortMs, longMs);
  join();
  scene.over();
}

export const CUTS: readonly Fault[] = [
  {
    kind,
    target: "sidecar",
    what: "the caller's, from registry and CA",
    promise: "calls to every destination already seen; heartbeats come back",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { caller, registry, ca } = scene.world.parts;
      scene.begin();
      const join = cutBetween(caller.namespace, [registry.namespace, ca.namespace]);
      scene.undo(join);
      await scene.hold(LONGER_THAN_LEASE_MS, 15_000);
      join();
      scene.over();
      await scene.becomes("heartbeats flow", 10_000, heartbeatsFlow(caller));
    },
  },
  {
    kind,
    target: "sidecar",
    what: "of one of two instances, from registry and CA",
    promise: "it leaves the view with its lease and comes back; no request fails",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      const { sidecarB, registry, ca } = scene.world.parts;
      scene.begin();
      const join = cutBetween(sidecarB.namespace, [registry.namespace, ca.namespace]);
      scene.undo(join);
      await leavesRegistry(scene, "sidecarB");
      await scene.hold(1_000, 15_000);
      join();
      scene.over();
      await scene.becomes("every instance is known", 10_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "sidecar",
    what: "of one of two instances: open connections to the registry, new ones pass",
    promise: "it connects anew in time: it never leaves the registry, and no request fails",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      const { sidecarB, registry } = scene.world.parts;
      const watch = watchInstances(scene);
      scene.undo(watch);
      scene.begin();
      const join = cutOpenConnections(sidecarB.namespace, registry.namespace);
      scene.undo(join);
      await scene.hold(LONGER_THAN_LEASE_MS + 1_000, 15_000);
      scene.over();
      const { lost } = watch();
      scene.check(`no live instance disappeared (${lost.join(", ") || "none"})`, lost.length === 0);
    },
  },
  {
    kind,
    target: "registry",
    what: "from everybody, for longer than the lease",
    promise: "calls to every destination already seen; it ends nobody's lease for that time",
    bound: NOTHING_FAILS,
    isShort: true,
    async play(scene) {
      await cutFor(scene, "registry", LONGER_THAN_LEASE_MS, 20_000);
      await scene.becomes("heartbeats flow", 15_000, heartbeatsFlow(scene.world.parts.caller));
      await scene.becomes("every instance is known", 10_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "CA",
    what: "from everybody, for 4 s (15 s)",
    promise: "everything until a leaf expires",
    bound: NOTHING_FAILS,
    isShort: false,
    play: (scene) => cutFor(scene, "ca", 4_000, 15_000),
  },
  {
    kind,
    target: "Redis",
    what: "from the registry, for longer than the lease",
    promise: "the registry serves and accepts heartbeats from memory, degraded; nobody is lost",
    bound: NOTHING_FAILS,
    isShort: false,
    async play(scene) {
      await cutFor(scene, "redis", LONGER_THAN_LEASE_MS, 20_000);
      await scene.becomes("the registry is well", 15_000, () => isHealthy(scene.world.parts.registry));
      await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
    },
  },
  {
    kind,
    target: "app",
    what: "one of two with its sidecar, from everybody",
    promise: "requests that went to it fail, at most four of each kind; none once it left the view; it comes back by itself",
    bound: { failed: 12, recoverMs: 0, gapMs: 1_000 },
    isShort: true,
    async play(scene) {
      const { world } = scene;
      scene.begin();
      const join = cutLink(world.network, world.parts.sidecarB.namespace);
      scene.undo(join);
      await leavesRegistry(scene, "sidecarB");
      const leftMs = Date.now() + 500; // until the caller has heard
      await scene.hold(1_500, 20_000);
      const { failed } = await world.traffic.figures(leftMs, Date.now());
      scene.check(`no request fails once it left (${failed})`, failed === 0);
      join();
      scene.over();
      await scene.becomes("every instance is known", 15_000, everyInstanceKnown(scene));
    },
  },
];
