// What the registry knows of pods: `GET /api/v1/instances` of the control plane, joined by pod UID. The registry may be away; then that is what is said.

/** One instance, as far as people ask. */
export interface ExplainedInstance {
  readonly state: string;
  readonly version: string;
  readonly channel: string;
  readonly services: readonly string[];
  /** Epoch ms. */
  readonly certExpiresAtMs: number;
  /** Null where the sidecar has told nothing yet. */
  readonly load: { readonly inFlight: number; readonly rps: number; readonly p99Ms: number; readonly errorRatio: number } | null;
}

/** The instances of one namespace by id (pod UID), or why they are not known. */
export type RegistryView =
  | { readonly known: true; readonly instances: ReadonlyMap<string, ExplainedInstance> }
  | { readonly known: false; readonly why: string };

/** Fetches a path of the control plane's REST API; rejects with a sentence. */
export type FetchRegistry = (path: string) => Promise<unknown>;

/** Answers hold 10000 at most; more than so many pages belong to no namespace. */
const MAX_PAGES = 20;

/** Asks for the instances of `namespace`. Never rejects. */
export async function readRegistry(fetchJson: FetchRegistry, namespace: string): Promise<RegistryView> {
  const instances = new Map<string, ExplainedInstance>();
  let after = "";
  try {
    for (let page = 0; page < MAX_PAGES; page += 1) {
      const query = new URLSearchParams({ namespace, ...(after === "" ? {} : { after }) });
      const listed = readInstances(await fetchJson(`/api/v1/instances?${query}`));
      for (const [id, instance] of listed.items) instances.set(id, instance);
      const last = listed.items.at(-1)?.[0];
      if (last === undefined || listed.total <= listed.items.length) break;
      after = last;
    }
    return { known: true, instances };
  } catch (error) {
    return { known: false, why: error instanceof Error ? error.message : String(error) };
  }
}

/** Over plain HTTP at `host:port`. */
export function registryAt(address: string, timeoutMs = 5_000): FetchRegistry {
  return async (path) => {
    const answer = await fetch(`http://${address}${path}`, { signal: AbortSignal.timeout(timeoutMs) }).catch((cause: unknown) => {
      throw new Error(`${address} cannot be reached: ${reasonOf(cause)}`, { cause });
    });
    if (!answer.ok) throw new Error(`${address} answers ${answer.status}`);
    return answer.json();
  };
}

function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error && error.cause.message !== "" ? error.cause.message : error.message;
}

interface Listed {
  readonly items: readonly (readonly [string, ExplainedInstance])[];
  /** Matching instances, those of this page and after. */
  readonly total: number;
}

function readInstances(body: unknown): Listed {
  const { instances, total } = fieldsOf(body);
  if (!Array.isArray(instances)) throw new Error("the answer is not a list of instances");
  const items = instances.map((item) => {
    const { instanceId, state, version, channel, services, certExpiresAtMs, load } = fieldsOf(item);
    const { inFlight, rps, p99Ms, errorRatio } = fieldsOf(load);
    const instance: ExplainedInstance = {
      state: textOf(state),
      version: textOf(version),
      channel: textOf(channel),
      services: Array.isArray(services) ? services.map(textOf) : [],
      certExpiresAtMs: numberOf(certExpiresAtMs),
      load:
        load == null
          ? null
          : { inFlight: numberOf(inFlight), rps: numberOf(rps), p99Ms: numberOf(p99Ms), errorRatio: numberOf(errorRatio) },
    };
    return [textOf(instanceId), instance] as const;
  });
  return { items, total: numberOf(total) };
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? (value as Readonly<Record<string, unknown>>) : {};
}

function textOf(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function numberOf(value: unknown): number {
  return typeof value === "number" ? value : 0;
}
