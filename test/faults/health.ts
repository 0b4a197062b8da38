// What the parts say about themselves, as rows ask for it.
import { setTimeout as sleep } from "node:timers/promises";
import type { Scene } from "./fault.ts";
import type { Part } from "./part.ts";
import { LEASE_MS } from "./world.ts";

/** A lease, the sweep after it, and a little. */
const LEASE_AND_SWEEP_MS = LEASE_MS + 1_500;

/** True when its health is `ok`; false when it is not, or there is no answer. */
export async function isHealthy(part: Part): Promise<boolean> {
  const { body } = await part.ask("/api/v1/health");
  return body.includes('"status":"ok"') && !body.includes("degraded");
}

/** True when the registry lists all three instances as ready. */
export function everyInstanceKnown({ world }: Scene): () => Promise<boolean> {
  return async () => (await world.instances())?.length === 3;
}

/** Waits until the registry lists the instance no more. */
export function leavesRegistry(scene: Scene, instanceId: string): Promise<void> {
  const isGone = async () => (await scene.world.instances())?.includes(instanceId) === false;
  return scene.becomes("it left the registry", LEASE_MS + 3_000, isGone);
}

/** True when the part has a fresh heartbeat. */
export function heartbeatsFlow(part: Part): () => Promise<boolean> {
  return async () => {
    const ageS = await part.metric("remora_heartbeat_age_seconds");
    return ageS !== null && ageS < 2;
  };
}

/** Watches that an instance never leaves the registry's list; an answer that does not come counts as nothing. Call it for the verdict. */
export function watchInstances({ world }: Scene): () => { readonly lost: readonly string[] } {
  const lost = new Set<string>();
  const timer = setInterval(async () => {
    const known = await world.instances();
    if (known !== null) for (const id of ["caller", "sidecarA", "sidecarB"]) if (!known.includes(id)) lost.add(id);
  }, 100);
  return () => {
    clearInterval(timer);
    return { lost: [...lost] };
  };
}

/** Waits until all are known and sees that they stay so for longer than a lease: those of before are known without a word of theirs. */
export async function everyInstanceStays(scene: Scene): Promise<void> {
  await scene.becomes("every instance is known", 8_000, everyInstanceKnown(scene));
  const watch = watchInstances(scene);
  scene.undo(watch);
  await sleep(LEASE_AND_SWEEP_MS);
  const { lost } = watch();
  scene.check(`no live instance disappeared afterwards (${lost.join(", ") || "none"})`, lost.length === 0);
}
