// What the registry knows of pods: `GET /api/v1/instances` of the control plane, joined by pod UID. The registry may be away; then that is what is said.
import { environmentCredential } from "../environment-credential.ts";
import { fetchFrom } from "../../injector/rollout/registry-http.ts";
import type { FetchJson } from "../../injector/rollout/registry-reader.ts";

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

/** Fetches a path of one replica's REST API; rejects with a sentence. */
export type FetchRegistry = FetchJson;

/** Answers hold 10000 at most; more than so many pages belong to no namespace. */
const MAX_PAGES = 20;

/** One replica at `host:port`, over plain HTTP. */
export function registryAt(address: string): FetchRegistry {
  return fetchFrom(`http://${address}`, environmentCredential(process.env));
}

/** Asks every replica for the instances of `namespace`; one that knows the load of an instance knows more of it. Never rejects. */
export async function readRegistries(
  findReplicas: () => Promise<ReadonlyMap<string, FetchRegistry>>,
  namespace: string,
): Promise<RegistryView> {
  const replicas = await findReplicas().catch((error: unknown) => sentenceOf(error));
  if (typeof replicas === "string") return { known: false, why: replicas };
  const views = await Promise.all(
    [...replicas].map(async ([name, fetchJson]) => ({ name, view: await readRegistry(fetchJson, namespace) })),
  );
  const instances = new Map<string, ExplainedInstance>();
  const reasons: string[] = [];
  for (const { name, view } of views) {
    if (!view.known) reasons.push(`${name}: ${view.why}`);
    else for (const [id, instance] of view.instances) if (instances.get(id)?.load == null) instances.set(id, instance);
  }
  if (reasons.length < views.length) return { known: true, instances };
  return { known: false, why: views.length === 0 ? "no replica of it runs" : reasons.join("; ") };
}

/** Asks one replica. Never rejects. */
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
    return { known: false, why: sentenceOf(error) };
  }
}

function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
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
