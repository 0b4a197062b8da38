// How the commands of the CA reach it: what is kept straight in the state folder or the Secret, by the caller's own rights there, and what is in use by asking
// every replica's admin port, on this machine, at given addresses, or through the API server.
import { access, readFile } from "node:fs/promises";
import { join } from "node:path";
import { type AuthorityState, readAuthority } from "../../certs/authority-data.ts";
import { type AuthorityStatus, describeState } from "../../certs/authority-status.ts";
import { createFileRootStore } from "../../certs/file-root-store.ts";
import type { Kept, RootStore } from "../../certs/root-store.ts";
import type { GuardFacts, LiveLeaf, Replica } from "../../certs/rotation-guard.ts";
import { ConfigError } from "../../core/errors.ts";
import { fetchFrom } from "../../injector/rollout/registry-http.ts";
import type { FetchJson } from "../../injector/rollout/registry-reader.ts";
import { connectRolloutApi } from "../../injector/rollout/rollout-api.ts";
import type { MeshFlags } from "../ca-command.ts";
import { defaultStateDir } from "../control/config.ts";
import { findAddress } from "../control/local-address.ts";
import { readLeaves } from "./live-leaves.ts";

const DEFAULT_TRUST_DOMAIN = "cluster.local";
const ROOT_FILE = "ca-root.pem";

/** What was read at one moment. */
export interface MeshReading extends GuardFacts {
  /** Null: the control plane was given its CA by files, and nothing is kept that could be changed here. */
  readonly stored: { readonly state: AuthorityState; readonly kept: Kept } | null;
  readonly trustDomain: string;
}

/** The CA of one mesh. */
export interface CaMesh {
  readonly store: RootStore;
  read(): Promise<MeshReading>;
}

/** Finds it; nothing is asked yet. */
export async function connectCa(flags: MeshFlags): Promise<CaMesh> {
  const stateDir = flags.stateDir ?? defaultStateDir(process.env);
  const isHere = flags.stateDir !== undefined || (!wantsCluster(flags) && (await isThere(stateDir)));
  const { store, replicas, trustDomain } = isHere ? await onThisMachine(stateDir) : await inCluster(flags);
  const asked = flags.control === undefined ? replicas : async () => new Map((flags.control ?? []).map((base) => [base, fetchFrom(base)]));
  return { store, read: async () => readMesh(store, await asked(), flags.trustDomain ?? trustDomain) };
}

interface Reach {
  readonly store: RootStore;
  readonly replicas: () => Promise<ReadonlyMap<string, FetchJson>>;
  readonly trustDomain: string | null;
}

async function onThisMachine(stateDir: string): Promise<Reach> {
  const address = await findAddress(stateDir);
  const host = address?.host.includes(":") === true ? `[${address.host}]` : address?.host;
  const found = new Map(
    address === null ? [] : [[`http://${host}:${address.ports.admin}`, fetchFrom(`http://${host}:${address.ports.admin}`)] as const],
  );
  return { store: createFileRootStore(stateDir), replicas: async () => found, trustDomain: address?.trustDomain ?? null };
}

async function inCluster({ kubeconfig, controlNamespace }: MeshFlags): Promise<Reach> {
  const { connectKubernetes, createSecretRootStore } = await import("../../certs/kubernetes.ts");
  const options = kubeconfig === undefined ? {} : { kubeconfig: await readFile(kubeconfig, "utf8") };
  const [apis, api] = await Promise.all([
    connectKubernetes(options),
    connectRolloutApi(controlNamespace, { env: process.env, ...options }),
  ]);
  return { store: createSecretRootStore(apis, controlNamespace), replicas: () => api.registries("proxy"), trustDomain: null };
}

function wantsCluster(flags: MeshFlags): boolean {
  return flags.kubernetes === true || flags.kubeconfig !== undefined;
}

async function isThere(stateDir: string): Promise<boolean> {
  const [kept, address] = await Promise.all([
    access(join(stateDir, ROOT_FILE)).then(
      () => true,
      () => false,
    ),
    findAddress(stateDir),
  ]);
  return kept || address !== null;
}

async function readMesh(store: RootStore, replicas: ReadonlyMap<string, FetchJson>, wantedDomain: string | null): Promise<MeshReading> {
  const answers = await Promise.all([...replicas].map(([name, fetchJson]) => readReplica(name, fetchJson)));
  const running = answers.flatMap(({ replica }) => (replica.status === null ? [] : [replica.status]));
  const trustDomain = wantedDomain ?? running[0]?.trustDomain ?? DEFAULT_TRUST_DOMAIN;
  const nowMs = Date.now();
  const given = running.find(({ kind }) => kind === "files");
  const kept = given === undefined ? await store.load() : null;
  const stored = kept === null ? null : { kept, state: readAuthority(kept.data, store.place, { trustDomain, nowMs }) };
  const status = stored === null ? given : describeState(stored.state, store.place, trustDomain);
  if (status === undefined)
    throw new ConfigError("invalid_value", `there is no CA in ${store.place}; a control plane makes one at its first start`);
  return {
    stored,
    trustDomain,
    kept: status,
    replicas: answers.map(({ replica }) => replica),
    leaves: merge(answers.flatMap(({ leaves }) => leaves)),
    nowMs,
  };
}

/** What one replica says of its CA and of live workloads. One without a CA or without a registry answers 404 there, and that is no trouble. */
async function readReplica(
  name: string,
  fetchJson: FetchJson,
): Promise<{ readonly replica: Replica; readonly leaves: readonly LiveLeaf[] }> {
  const [status, leaves] = await Promise.allSettled([fetchJson("/api/v1/ca"), readLeaves(fetchJson)]);
  const problem = [status, leaves].map(problemOf).find((one) => one !== null) ?? null;
  return {
    replica: { name, problem, status: status.status === "fulfilled" ? (status.value as AuthorityStatus) : null },
    leaves: leaves.status === "fulfilled" ? leaves.value : [],
  };
}

function problemOf(result: PromiseSettledResult<unknown>): string | null {
  if (result.status === "fulfilled") return null;
  const why = result.reason instanceof Error ? result.reason.message : String(result.reason);
  return /\b404\b/.test(why) ? null : why;
}

/** Replicas that share a store tell of the same instances. */
function merge(leaves: readonly LiveLeaf[]): readonly LiveLeaf[] {
  const newest = new Map<string, LiveLeaf>();
  for (const leaf of leaves) {
    const known = newest.get(leaf.instanceId);
    if (known === undefined || leaf.certExpiresAtMs >= known.certExpiresAtMs) newest.set(leaf.instanceId, leaf);
  }
  return [...newest.values()];
}
