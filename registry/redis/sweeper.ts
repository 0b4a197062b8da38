// The sweep of all shards, once a second on every replica: it ends what nobody renewed, keeps the shards' clocks going, and sees whether this
// replica's mirror is in step, so that one that missed entries without a gap to show for it is read again.
import type { Clock } from "../../core/clock.ts";
import type { Calls } from "./calls.ts";
import type { RedisLink } from "./link.ts";
import type { Shard } from "./shards.ts";

const AT_ONCE = 1024;
const MOST_RUNS = 8;
const CONFIRM_EACH_MS = 3000;

/** The sweeper of one replica. */
export interface Sweeper {
  /** Returns how many leases ended. Rejects when Redis does not answer, or when another server is the master now. */
  sweep(): Promise<number>;
  /** From now on for one lease time nothing is ended: after an outage, those who are alive need the time to say so. */
  postpone(): void;
}

/** Makes it. */
export function createSweeper(parts: {
  readonly shards: readonly Shard[];
  readonly calls: Calls;
  readonly link: Pick<RedisLink, "confirm">;
  readonly clock: Clock;
  readonly leaseMs: number;
}): Sweeper {
  const { shards, calls, link, clock, leaseMs } = parts;
  /** Sequence number that Redis had reached by the sweep before. */
  const reached = new Map<Shard, number>();
  let fromMonoMs = 0;
  let confirmedMonoMs = clock.monoMs();

  async function sweepShard(shard: Shard, atOnce: number): Promise<number> {
    let sum = 0;
    for (let run = 0; run < MOST_RUNS; run += 1) {
      const readBefore = shard.sequence;
      const { ended, generation, sequence } = await calls.sweep(shard.keys, atOnce);
      sum += ended;
      if (run === 0) watch(shard, readBefore, generation, sequence);
      if (ended < atOnce || atOnce === 0) break;
    }
    return sum;
  }

  function watch(shard: Shard, readBefore: number, generation: string, sequence: number): void {
    const hasForgotten = generation !== shard.generation || sequence < readBefore;
    const isStuck = shard.sequence < (reached.get(shard) ?? 0);
    reached.set(shard, hasForgotten ? 0 : sequence);
    if (hasForgotten || isStuck) shard.suspect = true;
  }

  return {
    postpone() {
      fromMonoMs = clock.monoMs() + leaseMs;
      reached.clear();
    },
    async sweep() {
      const now = clock.monoMs();
      if (now - confirmedMonoMs >= CONFIRM_EACH_MS) {
        confirmedMonoMs = now;
        await link.confirm();
      }
      const atOnce = now < fromMonoMs ? 0 : AT_ONCE;
      const ended = await Promise.all(shards.map((shard) => sweepShard(shard, atOnce)));
      return ended.reduce((sum, count) => sum + count, 0);
    },
  };
}
