// The certificates of live workloads as one replica of the registry shows them, page by page.
import type { LiveLeaf } from "../../certs/rotation-guard.ts";
import type { FetchJson } from "../../injector/rollout/registry-reader.ts";

/** Asked for at most: more pages mean that a replica does not come to an end. */
const MAX_PAGES = 200;

/** Every instance. Rejects when a page is not answered, or is none. */
export async function readLeaves(fetchJson: FetchJson): Promise<readonly LiveLeaf[]> {
  const all: LiveLeaf[] = [];
  let path = "/api/v1/instances";
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { instances, total } = (await fetchJson(path)) as { readonly instances?: unknown; readonly total?: unknown };
    if (!Array.isArray(instances) || typeof total !== "number") throw new Error("the answer is no list of instances");
    all.push(...instances.map(readLeaf));
    const last = all.at(-1);
    if (instances.length >= total || last === undefined) return all;
    path = `/api/v1/instances?after=${encodeURIComponent(last.instanceId)}`;
  }
  throw new Error(`more than ${MAX_PAGES} pages of instances`);
}

/** What an older registry does not tell stays unproven. */
function readLeaf(value: unknown): LiveLeaf {
  const { instanceId, identity, version, certExpiresAtMs, issuedByRoot, trustedRoots } = value as Readonly<Record<string, unknown>>;
  if (typeof instanceId !== "string" || typeof identity !== "string") throw new Error("the answer has an instance without id or identity");
  return {
    instanceId,
    identity,
    version: typeof version === "string" ? version : "",
    certExpiresAtMs: typeof certExpiresAtMs === "number" ? certExpiresAtMs : 0,
    issuedByRoot: typeof issuedByRoot === "string" ? issuedByRoot : "",
    trustedRoots: Array.isArray(trustedRoots) ? trustedRoots.filter((id) => typeof id === "string") : [],
  };
}
