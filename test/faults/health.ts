// What the parts say about themselves, as rows ask for it.
import type { Scene } from "./fault.ts";
import type { Part } from "./part.ts";

/** True when its health is `ok`; false when it is not, or there is no answer. */
export async function isHealthy(part: Part): Promise<boolean> {
  const { body } = await part.ask("/api/v1/health");
  return body.includes('"status":"ok"') && !body.includes("degraded");
}

/** True when the registry lists all three instances as ready. */
export function everyInstanceKnown({ world }: Scene): () => Promise<boolean> {
  return async () => (await world.instances())?.length === 3;
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
