// Who is in the demo's mesh, as the registry's REST API says.
import { until } from "./claims.ts";
import { getJson } from "./http-call.ts";
import type { World } from "./world.ts";

const READY_WITHIN_MS = 8_000;

/** What is used of one entry of `/api/v1/instances`. */
export interface Instance {
  readonly instanceId: string;
  readonly identity: string;
  readonly services: readonly string[];
  readonly state: string;
  readonly certExpiresAtMs: number;
}

/** Everybody who is registered. */
export async function instances({ controlAdminPort }: World): Promise<readonly Instance[]> {
  return (await getJson<{ readonly instances: readonly Instance[] }>(controlAdminPort, "/api/v1/instances")).instances;
}

/** Waits until `count` ready instances (of `service`) are registered. */
export async function instancesOf(world: World, count: number, service?: string): Promise<readonly Instance[]> {
  let found: readonly Instance[] = [];
  await until(`${count} instances are ready`, READY_WITHIN_MS, async () => {
    found = (await instances(world)).filter(
      ({ state, services }) => state === "ready" && (service === undefined || services.includes(service)),
    );
    return found.length === count;
  });
  return found;
}
