// The scripts as functions: arguments in their order, answers with their types. What an answer means for the mirror is for others.
import { RegistryError } from "../../core/errors.ts";
import type { SpiffeId } from "../../core/spiffe.ts";
import type { Lease } from "../lease.ts";
import { MAX_LEASES } from "../lease-store.ts";
import type { RedisLink } from "./link.ts";
import type { Shard, ShardKeys } from "./shards.ts";

/** The least of what a shard's clock may move at once: a sweep comes each second. */
const LEAST_STEP_MS = 2000;
/** Keys that no control plane sweeps clean themselves up after a day. */
const KEEP_SECONDS = 86_400;

/** Who wants to end a lease. */
export interface Claim {
  readonly identity: SpiffeId;
  readonly epoch: number;
}

/** How a renewal or removal went; `held` is the text of the lease that stands in its way. */
export interface Outcome {
  readonly outcome: "ok" | "kept" | "full" | "other_identity" | "newer_process";
  readonly held: string | null;
}

/** What a shard knows of itself. */
export interface ShardState {
  readonly generation: string;
  readonly sequence: number;
}

/** One shard, whole. */
export interface ShardSnapshot extends ShardState {
  /** Id of the newest entry of the stream. */
  readonly newest: string;
  /** False: the server has lost some of the texts. */
  readonly isWhole: boolean;
  readonly texts: readonly string[];
}

/** The scripts of one store. */
export interface Calls {
  renew(keys: ShardKeys, lease: Lease, text: string, lastsMs: number, isWrittenBack: boolean): Promise<Outcome>;
  remove(keys: ShardKeys, instanceId: string, claim: Claim): Promise<Outcome>;
  /** Ends at most `atOnce` leases; 0 lets the shard's clock go on and no more. */
  sweep(keys: ShardKeys, atOnce: number): Promise<ShardState & { readonly ended: number }>;
  snapshot(keys: ShardKeys): Promise<ShardSnapshot>;
  /** `atCursor`: the sequence number of the entry that was read last, NaN when it is gone. */
  resume(shard: Shard): Promise<ShardState & { readonly atCursor: number }>;
}

/** Settings of {@link createCalls}. */
export interface CallsOptions {
  readonly link: Pick<RedisLink, "run">;
  readonly shards: number;
  readonly leaseMs: number;
  readonly maxChanges: number;
  /** Default a day. */
  readonly keepSeconds?: number;
}

/** Makes the functions. They reject when Redis does not answer; a refusal is an {@link Outcome}. */
export function createCalls({ link, shards, leaseMs, maxChanges, keepSeconds = KEEP_SECONDS }: CallsOptions): Calls {
  const common = [leaseMs, Math.max(leaseMs / 3, LEAST_STEP_MS), maxChanges, keepSeconds] as const;
  const fullAt = Math.ceil(MAX_LEASES / shards);

  return {
    async renew(keys, { instanceId, identity, epoch }, text, lastsMs, isWrittenBack) {
      const args = [...common, instanceId, identity, epoch, text, lastsMs, isWrittenBack ? "1" : "0", fullAt];
      return readOutcome(await link.run("renew", keys, args));
    },
    async remove(keys, instanceId, { identity, epoch }) {
      return readOutcome(await link.run("remove", keys, [...common, instanceId, identity, epoch]));
    },
    async sweep(keys, atOnce) {
      const [ended, generation, sequence] = (await link.run("sweep", keys, [...common, atOnce])) as [number, string, string]; // as SWEEP_SCRIPT answers
      return { ended: Number(ended), generation, sequence: Number(sequence) };
    },
    async snapshot(keys) {
      const reply = await link.run("snapshot", keys, []);
      const [generation, sequence, newest, whole, texts] = reply as [string, string, string, string, string[]]; // as SNAPSHOT_SCRIPT answers
      return { generation, sequence: Number(sequence), newest, isWhole: whole === "1", texts };
    },
    async resume({ keys, cursor }) {
      const [generation, sequence, at] = (await link.run("resume", keys, [cursor])) as [string, string, string]; // as RESUME_SCRIPT answers
      return { generation, sequence: Number(sequence), atCursor: at === "" ? Number.NaN : Number(at) };
    },
  };
}

/** Raises the `RegistryError` that a refusal means. */
export function refuse(instanceId: string, { outcome }: Outcome): void {
  switch (outcome) {
    case "ok":
    case "kept":
      return;
    case "other_identity":
      throw new RegistryError("forbidden", `instance ${instanceId} belongs to another identity`);
    case "newer_process":
      throw new RegistryError("forbidden", `instance ${instanceId} is held by a newer process`);
    case "full":
      throw new RegistryError("overloaded", `the registry holds its most, ${MAX_LEASES} instances`);
  }
}

const OUTCOMES: readonly Outcome["outcome"][] = ["ok", "kept", "full", "other_identity", "newer_process"];

function readOutcome(reply: unknown): Outcome {
  const [name, held = null] = reply as [string, string?]; // as the scripts answer
  const outcome = OUTCOMES.find((known) => known === name);
  if (outcome === undefined) throw new Error(`unexpected answer of a script: ${String(name).slice(0, 80)}`);
  return { outcome, held };
}
