// Which server is the master of which keys, now. The three kinds of installation differ in nothing else: one server is its own master, Sentinels
// name one, and the nodes of a Redis Cluster name one for each slot.
import type { Endpoint, RedisAddress, RedisLogin } from "./address.ts";
import { endpointName } from "./address.ts";
import type { RedisAccess } from "./client.ts";
import { openRedis } from "./client.ts";
import { clusterMasters } from "./cluster.ts";
import type { RedisTls } from "./connector.ts";
import { sentinelMasters } from "./sentinel.ts";

/** Masters as they were found at one time. */
export interface Masters {
  /** The master of a key. Raises an Error when no server has its slot. */
  of(key: string): Endpoint;
  /** True: this server belongs to the installation, as most of its servers say. Nothing else is ever connected to. */
  isMember(endpoint: Endpoint): boolean;
}

/** Finds masters. */
export interface MastersFinder {
  /** True: one command may use keys of different shards. */
  readonly together: boolean;
  /** Asks whoever knows. Rejects when nobody who knows answers. */
  find(): Promise<Masters>;
  /** Rejects when those who know now name another master than `masters` does. Cheap; for calling each second. */
  confirm(masters: Masters): Promise<void>;
}

/** How to open connections to whatever an address names. */
export interface MastersOptions {
  readonly address: RedisAddress;
  readonly tls: RedisTls | null;
  /** For the Sentinels themselves; null: they ask for nothing. */
  readonly sentinelLogin: RedisLogin | null;
}

/** The finder for an address. */
export function createMastersFinder({ address, tls, sentinelLogin }: MastersOptions): MastersFinder {
  switch (address.mode) {
    case "single":
      return oneServer(address.endpoint);
    case "sentinel": {
      const access: RedisAccess = { login: sentinelLogin, database: 0, tls };
      return sentinelMasters({ sentinels: address.sentinels, master: address.master, open: (endpoint) => openRedis(endpoint, access) });
    }
    case "cluster": {
      const access: RedisAccess = { login: address.login, database: 0, tls };
      return clusterMasters({ seeds: address.nodes, open: (endpoint) => openRedis(endpoint, access) });
    }
  }
}

function oneServer(endpoint: Endpoint): MastersFinder {
  const masters: Masters = { of: () => endpoint, isMember: (other) => endpointName(other) === endpointName(endpoint) };
  return { together: true, find: async () => masters, confirm: async () => {} };
}
