// The services file (design 8): services with virtual addresses outside Kubernetes, and who may announce what. Read again when it changes on
// disk; a file that became wrong is logged and the last good one stays in force.
import { readFile, stat } from "node:fs/promises";
import type { Clock } from "../core/clock.ts";
import { ConfigError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import { spiffeParts } from "../core/spiffe.ts";
import type { Lease } from "./lease.ts";
import { accountOf } from "./lease.ts";
import type { AnnounceGrant, ServiceEntry, ServiceSource, SourceProblem } from "./service-source.ts";
import { matchesLabels, serviceIdOf } from "./service-source.ts";
import type { ServicesFile } from "./services-yaml.ts";
import { parseServicesFile } from "./services-yaml.ts";

const MAX_FILE_BYTES = 4 * 1024 * 1024;
const RELOAD_PERIOD_MS = 1000;

/** Settings of {@link startServicesFile}. */
export interface ServicesFileOptions {
  readonly path: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Reads the file and follows its changes. Raises `ConfigError` when it cannot be read or is wrong at the start. */
export async function startServicesFile({ path, clock, log }: ServicesFileOptions): Promise<ServiceSource & { reload(): Promise<void> }> {
  let stamp = await stampOf(path);
  let index = indexServices(await loadServicesFile(path));
  let problem: SourceProblem | null = null;
  const listeners = new Set<(serviceIds: ReadonlySet<string>) => void>();

  async function reload(): Promise<void> {
    try {
      const next = await stampOf(path);
      if (next === stamp) return;
      const loaded = indexServices(await loadServicesFile(path));
      stamp = next;
      problem = null;
      const changed = changedServices(index.byId, loaded.byId);
      index = loaded;
      log.info({ path, services: loaded.byId.size, changed: changed.size }, "services file read again");
      for (const run of listeners) run(changed);
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      if (message === problem?.message) return;
      log.warn({ path, problem: message }, "services file is wrong; the last good one stays in force");
      problem = { message, since: problem?.since ?? clock.nowMs() };
    }
  }

  const timer = clock.every(RELOAD_PERIOD_MS, () => void reload());
  return {
    kind: "file",
    service: (serviceId) => index.byId.get(serviceId),
    all: () => index.byId.values(),
    byVirtualAddress: (address) => index.byAddress.get(address),
    selecting: (lease) => index.selecting(lease),
    pods: null,
    grants: (identity) => index.grants.get(accountOf(identity)) ?? [],
    onChange(run) {
      listeners.add(run);
      return () => void listeners.delete(run);
    },
    problem: () => problem,
    reload,
    close: async () => timer.cancel(),
  };
}

async function stampOf(path: string): Promise<string> {
  try {
    const { mtimeMs, size, ino } = await stat(path);
    return `${mtimeMs} ${size} ${ino}`;
  } catch (cause) {
    throw new ConfigError("invalid_value", `services file ${path} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

async function loadServicesFile(path: string): Promise<ServicesFile> {
  const bytes = await readFile(path);
  if (bytes.length > MAX_FILE_BYTES)
    throw new ConfigError("invalid_value", `services file ${path} has ${bytes.length} bytes, at most ${MAX_FILE_BYTES}`);
  return parseServicesFile(bytes.toString("utf8"));
}

function indexServices(file: ServicesFile) {
  const byId = new Map(file.services.map((entry) => [serviceIdOf(entry), entry]));
  const byAddress = new Map(file.services.flatMap((entry) => entry.virtualAddresses.map((address) => [address, entry] as const)));
  const grants = Map.groupBy([...file.grants, ...file.services.flatMap(grantsOfMembers)], (grant) => grant.account);
  function* selecting(lease: Lease): Iterable<string> {
    const { namespace, serviceAccount } = spiffeParts(lease.identity);
    const account = `${namespace}/${serviceAccount}`;
    for (const [id, { members, namespace: own }] of byId) {
      if (members.kind === "accounts" && members.accounts.includes(account)) yield id;
      else if (members.kind === "labels" && own === namespace && matchesLabels(lease, serviceAccount, members.labels)) yield id;
    }
  }
  return { byId, byAddress, grants, selecting };
}

/** Being named a member of a service is a grant to announce its name. */
function grantsOfMembers(entry: ServiceEntry): AnnounceGrant[] {
  if (entry.members.kind !== "accounts") return [];
  return entry.members.accounts
    .filter((account) => account.startsWith(`${entry.namespace}/`))
    .map((account) => ({ account, services: [entry.name], mayUse: () => false }));
}

function changedServices(before: ReadonlyMap<string, ServiceEntry>, after: ReadonlyMap<string, ServiceEntry>): Set<string> {
  const text = (entry: ServiceEntry | undefined) =>
    JSON.stringify(entry, (_key, value: unknown) => (value instanceof Map ? [...value] : value)) ?? "";
  return new Set([...before.keys(), ...after.keys()].filter((id) => text(before.get(id)) !== text(after.get(id))));
}
