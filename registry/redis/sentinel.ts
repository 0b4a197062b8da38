// The master that Sentinels name. All of them are asked and most decide: one that was cut off still names the master of before a failover.
import type { Endpoint } from "./address.ts";
import { endpointName, parseEndpoint } from "./address.ts";
import type { RedisClient } from "./client.ts";
import type { Masters, MastersFinder } from "./masters.ts";
import { askAll, mostNamed } from "./votes.ts";

const ANSWER_TIMEOUT_MS = 1500;

/** Settings of {@link sentinelMasters}. */
export interface SentinelOptions {
  readonly sentinels: readonly Endpoint[];
  /** The name that the Sentinels monitor the master under. */
  readonly master: string;
  readonly open: (endpoint: Endpoint) => Promise<RedisClient>;
}

/** A finder that asks Sentinels. */
export function sentinelMasters({ sentinels, master, open }: SentinelOptions): MastersFinder {
  async function named(): Promise<string> {
    const votes = await askAll(sentinels, ANSWER_TIMEOUT_MS, ask);
    const most = mostNamed(votes.filter((vote) => vote !== null));
    if (most === undefined) throw new Error(`no Sentinel knows a master called ${master}`);
    return most;
  }

  async function ask(sentinel: Endpoint): Promise<string | null> {
    const client = await open(sentinel);
    try {
      return readAnswer(await client.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", master));
    } finally {
      client.close();
    }
  }

  return {
    together: true,
    async find() {
      const name = await named();
      const endpoint = parseEndpoint(name);
      if (endpoint === null) throw new Error(`the Sentinels name ${name.slice(0, 80)}, which is no address`);
      return { of: () => endpoint, isMember: (other) => endpointName(other) === name };
    },
    async confirm(masters: Masters) {
      const name = await named();
      const used = endpointName(masters.of(""));
      if (name !== used) throw new Error(`the Sentinels moved the master from ${used} to ${name}`);
    },
  };
}

function readAnswer(reply: unknown): string | null {
  if (!Array.isArray(reply) || typeof reply[0] !== "string") return null;
  return endpointName({ host: reply[0], port: Number(reply[1]) });
}
