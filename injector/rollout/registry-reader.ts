// What every replica of the registry shows, as one list. A replica knows the load only of those instances whose heartbeats it hears itself, so all of
// them are asked and the answer with a load counts. I/O arrives as a function: the control plane asks over HTTP, a laptop through the API server.
import { RegistryError } from "../../core/errors.ts";
import type { RegistryInstance } from "./fleet.ts";

/** Fetches `path` of one replica as JSON; rejects when it is not answered with success. */
export type FetchJson = (path: string) => Promise<unknown>;

/** What was read. */
export interface RegistryReading {
  readonly instances: readonly RegistryInstance[];
  /** Replicas that did not answer, each with why. */
  readonly problems: readonly string[];
}

/** Asked for at most: more pages mean that a replica does not come to an end. */
const MAX_PAGES = 100;

/** Asks every replica, by name. @throws RegistryError("unavailable") when none answers */
export async function readRegistry(replicas: ReadonlyMap<string, FetchJson>): Promise<RegistryReading> {
  const answers = await Promise.allSettled([...replicas.values()].map(readReplica));
  const merged = new Map<string, RegistryInstance>();
  const problems: string[] = [];
  for (const [index, name] of [...replicas.keys()].entries()) {
    const answer = answers[index];
    if (answer?.status !== "fulfilled") {
      problems.push(`${name}: ${answer?.reason instanceof Error ? answer.reason.message : String(answer?.reason)}`);
      continue;
    }
    for (const instance of answer.value) {
      const known = merged.get(instance.instanceId);
      if (known === undefined || known.epoch < instance.epoch || (known.load === null && known.epoch === instance.epoch)) {
        merged.set(instance.instanceId, instance);
      }
    }
  }
  if (problems.length === replicas.size) {
    const why = replicas.size === 0 ? "no replica is known" : problems.join("; ");
    throw new RegistryError("unavailable", `no registry answers: ${why}`);
  }
  return { instances: [...merged.values()], problems };
}

async function readReplica(fetchJson: FetchJson): Promise<readonly RegistryInstance[]> {
  const all: RegistryInstance[] = [];
  let path = "/api/v1/instances";
  for (let page = 0; page < MAX_PAGES; page += 1) {
    const { instances, total } = (await fetchJson(path)) as { readonly instances?: unknown; readonly total?: unknown };
    if (!Array.isArray(instances) || typeof total !== "number") throw new Error("the answer is no list of instances");
    const found = instances.map(readInstance).filter((instance) => instance !== null);
    all.push(...found);
    // `total` is what is left from here on, this page included.
    const last = found.at(-1);
    if (instances.length >= total || last === undefined) return all;
    path = `/api/v1/instances?after=${encodeURIComponent(last.instanceId)}`;
  }
  throw new Error(`more than ${MAX_PAGES} pages of instances`);
}

/** Null for what an odd version shows that we do not understand. */
function readInstance(value: unknown): RegistryInstance | null {
  if (typeof value !== "object" || value === null) return null;
  const { instanceId, epoch, namespace, identity, version, channel, state, load } = value as Readonly<Record<string, unknown>>;
  if (typeof instanceId !== "string" || typeof identity !== "string" || typeof version !== "string") return null;
  return {
    instanceId,
    epoch: typeof epoch === "number" ? epoch : 0,
    namespace: typeof namespace === "string" ? namespace : "",
    identity,
    version,
    channel: typeof channel === "string" ? channel : "",
    state: state === "ready" || state === "draining" ? state : "starting",
    load: readLoad(load),
  };
}

function readLoad(value: unknown): RegistryInstance["load"] {
  if (typeof value !== "object" || value === null) return null;
  const fields = value as Readonly<Record<string, unknown>>;
  const number = (name: string) => (typeof fields[name] === "number" && Number.isFinite(fields[name]) ? fields[name] : 0);
  return {
    inFlight: number("inFlight"),
    rps: number("rps"),
    p99Ms: number("p99Ms"),
    errorRatio: number("errorRatio"),
    requests: number("requests"),
    errors: number("errors"),
    refused: number("refused"),
  };
}
