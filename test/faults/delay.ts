// Every packet of a link takes longer, each way: a far region, or a network that is congested.
import { connect } from "node:net";
import { type Fault, NOTHING_FAILS, type Scene, type Target } from "./fault.ts";
import { everyInstanceKnown, isHealthy } from "./health.ts";
import { delayLink } from "./links.ts";
import type { PartName } from "./world.ts";

const kind = "network delay";
const DELAY_MS = 100;

async function delayFor(scene: Scene, name: PartName): Promise<void> {
  const { network, parts } = scene.world;
  const namespaces = Object.values(parts).map(({ namespace }) => namespace);
  scene.begin();
  const shorten = await delayLink(network, namespaces, parts[name].namespace, DELAY_MS);
  scene.undo(shorten);
  const tripMs = await roundTripMs(parts[name].namespace.ipv4);
  scene.check(`packets take longer (${tripMs} ms for a round trip)`, tripMs >= 2 * DELAY_MS);
  await scene.hold(3_000, 15_000);
  scene.check("the registry is well", await isHealthy(parts.registry));
  shorten();
  scene.over();
  await scene.becomes("every instance is known", 5_000, everyInstanceKnown(scene));
}

/** A connection attempt, whether it is accepted or refused, takes one. */
function roundTripMs(host: string): Promise<number> {
  const startedMonoMs = performance.now();
  return new Promise((done) => {
    const socket = connect(1, host);
    for (const event of ["connect", "error"])
      socket.once(event, () => {
        socket.destroy();
        done(Math.round(performance.now() - startedMonoMs));
      });
  });
}

function row(target: Target, name: PartName, what: string, promise: string, isShort: boolean): Fault {
  return {
    kind,
    target,
    what: `${what}, ${DELAY_MS} ms each way`,
    promise,
    bound: NOTHING_FAILS,
    isShort,
    play: (scene) => delayFor(scene, name),
  };
}

export const DELAYS: readonly Fault[] = [
  row("sidecar", "caller", "the caller's link", "everything is slower and nothing fails", false),
  row("registry", "registry", "its link", "nothing fails, nobody is lost", false),
  row("CA", "ca", "its link", "nothing fails", false),
  row("Redis", "redis", "its link", "nothing fails, nobody is lost", false),
  row("app", "sidecarB", "the link of one of two instances", "the other instance gets more; nothing fails", true),
];
