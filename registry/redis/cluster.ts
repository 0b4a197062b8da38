// The masters of a Redis Cluster. Its nodes are asked who has which slots (`CLUSTER SLOTS`), and most decide. A node's redirection is never a
// source of addresses: MOVED only says that it is time to ask again, ASK is followed to members only.
import type { Endpoint } from "./address.ts";
import { endpointName, parseEndpoint } from "./address.ts";
import type { RedisClient } from "./client.ts";
import type { Masters, MastersFinder } from "./masters.ts";
import { slotOf } from "./slot.ts";
import { askAll, mostNamed } from "./votes.ts";

const ANSWER_TIMEOUT_MS = 1500;
const MAX_ASKED = 32;

/** Settings of {@link clusterMasters}. */
export interface ClusterOptions {
  /** Nodes that are asked first; the others are learned. */
  readonly seeds: readonly Endpoint[];
  readonly open: (endpoint: Endpoint) => Promise<RedisClient>;
}

interface SlotRange {
  readonly from: number;
  readonly to: number;
  readonly master: string;
  /** Master and replicas. */
  readonly members: readonly string[];
}

/** A finder that asks the cluster's nodes. */
export function clusterMasters({ seeds, open }: ClusterOptions): MastersFinder {
  /** By {@link endpointName}; those of the settings stay. */
  let known = new Map(seeds.map((seed) => [endpointName(seed), seed]));

  async function ask(endpoint: Endpoint): Promise<readonly SlotRange[]> {
    const client = await open(endpoint);
    try {
      return readSlots(await client.call("CLUSTER", "SLOTS"), endpoint.host);
    } finally {
      client.close();
    }
  }

  async function askKnown(): Promise<(readonly SlotRange[])[]> {
    const first = [...known.values()].slice(0, MAX_ASKED);
    const views = await askAll(first, ANSWER_TIMEOUT_MS, ask);
    const asked = new Set(first.map(endpointName));
    const others = [...membersOf(views)].filter((name) => !asked.has(name)).slice(0, MAX_ASKED - first.length);
    if (others.length === 0) return views;
    const more = await askAll(
      others.map(parseEndpoint).filter((one) => one !== null),
      ANSWER_TIMEOUT_MS,
      ask,
    ).catch(() => []);
    return [...views, ...more];
  }

  return {
    together: false,
    async find() {
      const views = await askKnown();
      const members = membersOf(views);
      known = new Map([...seeds.map(endpointName), ...members].flatMap((name) => named(name)));
      return mastersIn(views, members);
    },
    confirm: async () => {}, // a node that lost a slot says MOVED
  };
}

function named(name: string): [string, Endpoint][] {
  const endpoint = parseEndpoint(name);
  return endpoint === null ? [] : [[name, endpoint]];
}

function mastersIn(views: readonly (readonly SlotRange[])[], members: ReadonlySet<string>): Masters {
  return {
    isMember: (endpoint) => members.has(endpointName(endpoint)),
    of(key) {
      const slot = slotOf(key);
      const owners = views.flatMap((view) => view.filter(({ from, to }) => from <= slot && slot <= to).map(({ master }) => master));
      const endpoint = parseEndpoint(mostNamed(owners) ?? "");
      if (endpoint === null) throw new Error(`no master of the cluster has slot ${slot}`);
      return endpoint;
    },
  };
}

/** Nodes that at least half of those asked list. */
function membersOf(views: readonly (readonly SlotRange[])[]): Set<string> {
  const counts = new Map<string, number>();
  for (const view of views) {
    for (const name of new Set(view.flatMap((range) => range.members))) counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  return new Set([...counts].filter(([, count]) => count * 2 >= views.length).map(([name]) => name));
}

/** Reads `[[from, to, [host, port, id, …], replica, …], …]`. A node that does not know its own name is the one that was asked. */
function readSlots(reply: unknown, askedHost: string): SlotRange[] {
  if (!Array.isArray(reply)) throw new Error("CLUSTER SLOTS was answered with something else");
  return reply.flatMap((range: unknown) => {
    if (!Array.isArray(range)) return [];
    const [from, to, ...nodes] = range as unknown[];
    const members = nodes.map((node) => readNode(node, askedHost));
    const master = members[0];
    if (typeof from !== "number" || typeof to !== "number" || master === undefined || master === null) return [];
    return [{ from, to, master, members: members.filter((name) => name !== null) }];
  });
}

function readNode(node: unknown, askedHost: string): string | null {
  if (!Array.isArray(node)) return null;
  const [host, port] = node as unknown[];
  if (typeof port !== "number" || host === "?") return null; // "?": a node whose announced name nobody set
  return endpointName({ host: typeof host === "string" && host !== "" ? host : askedHost, port });
}
