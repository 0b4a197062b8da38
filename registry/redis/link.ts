// The link to the masters: a connection to each for commands, and connections that wait for changes. It owns timeouts and where a command goes; what
// the scripts mean is the store's. Nothing reconnects by itself: `check` finds the masters and opens all connections anew.
import type { Logger } from "../../core/log.ts";
import type { RedisAddress, RedisLogin } from "./address.ts";
import { endpointName, parseEndpoint } from "./address.ts";
import type { RedisClient } from "./client.ts";
import { openRedis } from "./client.ts";
import type { RedisTls } from "./connector.ts";
import type { Masters } from "./masters.ts";
import { createMastersFinder } from "./masters.ts";
import type { ScriptName } from "./scripts.ts";
import { SCRIPTS } from "./scripts.ts";
import { within } from "./votes.ts";

const CHECK_TIMEOUT_MS = 8000;
const ENTRIES_AT_ONCE = 500;
const TRY_AGAIN_MS = 50;
const MAX_REDIRECTIONS = 4;

/** One entry of a change stream. Values are unchecked. */
export interface StreamEntry {
  readonly stream: string;
  readonly id: string;
  readonly fields: ReadonlyMap<string, string>;
}

/** A link. Every call rejects quickly while a master that it needs is away. */
export interface RedisLink {
  /** Without any secret. */
  readonly address: string;
  /** Streams that one {@link read} may ask for, one list per read. */
  readonly together: readonly (readonly string[])[];
  /** Finds the masters and connects to them. Resolves when every one answers and is a master. */
  check(): Promise<void>;
  /** Rejects when other servers have become the masters. */
  confirm(): Promise<void>;
  run(script: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /** Entries after each stream's id; waits up to `blockMs` for the first (0: not at all), and answers none after that. */
  read(cursors: ReadonlyMap<string, string>, blockMs: number): Promise<readonly StreamEntry[]>;
  /** Calls one master, the first's: for questions about the server. */
  ask(command: string, ...args: readonly string[]): Promise<unknown>;
  /** Closes every connection: what waits for an answer rejects now. Until the next {@link check} every call does. */
  drop(): void;
  close(): void;
}

/** Settings of {@link createRedisLink}. */
export interface RedisLinkOptions {
  readonly address: RedisAddress;
  readonly tls: RedisTls | null;
  readonly sentinelLogin: RedisLogin | null;
  /** Every change stream that will be read. */
  readonly streams: readonly string[];
  readonly log: Logger;
}

/** Makes a link that is not connected yet; {@link RedisLink.check} connects it. */
export function createRedisLink({ address, tls, sentinelLogin, streams, log }: RedisLinkOptions): RedisLink {
  const finder = createMastersFinder({ address, tls, sentinelLogin });
  const access = { login: address.login, database: address.mode === "cluster" ? 0 : address.database, tls };
  const together = finder.together ? [streams] : streams.map((stream) => [stream]);
  let masters: Masters | null = null;
  let closed = false;
  /** For commands, by the name of the server. */
  const clients = new Map<string, Promise<RedisClient>>();
  /** For reads that wait, by the first stream of the read. */
  const readers = new Map<string, RedisClient>();
  /** Set exactly while the masters are being asked for again. */
  let finding: Promise<Masters> | null = null;

  function known(): Masters {
    if (masters === null || closed) throw new Error("not connected");
    return masters;
  }

  function clientOf(name: string): Promise<RedisClient> {
    const endpoint = parseEndpoint(name);
    if (endpoint === null || !known().isMember(endpoint)) throw new Error(`${name} is no server of this installation`); // fails closed
    const open = clients.get(name) ?? openRedis(endpoint, access);
    if (clients.get(name) === undefined) {
      clients.set(name, open);
      open
        .then((client) => void (clients.get(name) === open || client.close()))
        .catch(() => clients.get(name) === open && clients.delete(name));
    }
    return open;
  }

  function masterOf(key: string): Promise<RedisClient> {
    return clientOf(endpointName(known().of(key)));
  }

  async function readerOf(stream: string): Promise<RedisClient> {
    const endpoint = known().of(stream);
    const before = readers.get(stream);
    if (before !== undefined && endpointName(before.endpoint) === endpointName(endpoint)) return before;
    before?.close();
    const reader = await openRedis(endpoint, access);
    if (closed) reader.close();
    readers.set(stream, reader);
    return reader;
  }

  function disconnect(): void {
    masters = null;
    for (const client of clients.values()) client.then((open) => open.close()).catch(() => {});
    for (const reader of readers.values()) reader.close();
    clients.clear();
    readers.clear();
  }

  async function connect(): Promise<void> {
    disconnect();
    masters = await finder.find();
    const names = new Set(streams.map((stream) => endpointName(known().of(stream))));
    await Promise.all([...names].map(async (name) => assertMaster(await clientOf(name))));
    await Promise.all(together.map(async ([first]) => (first === undefined ? null : readerOf(first))));
  }

  function findAgain(): Promise<Masters> {
    finding ??= finder
      .find()
      .then((found) => {
        masters = found;
        return found;
      })
      .finally(() => {
        finding = null;
      });
    return finding;
  }

  /** Runs `work` on the master of `key`; where a redirection says that the slot is elsewhere, asks the cluster and not the redirection. */
  async function redirected(
    key: string,
    direct: (client: RedisClient) => Promise<unknown>,
    asking: (client: RedisClient) => Promise<unknown>,
  ) {
    for (let attempt = 0; ; attempt += 1) {
      try {
        return await direct(await masterOf(key));
      } catch (error) {
        const [kind = "", , target = ""] = (error as Error).message.split(" ");
        if (!["MOVED", "ASK", "TRYAGAIN"].includes(kind) || attempt >= MAX_REDIRECTIONS) throw error;
        if (finder.together) throw new Error(`the server is a node of a Redis Cluster; write redis-cluster:// in the URL (${kind})`);
        if (kind === "TRYAGAIN") await pause(TRY_AGAIN_MS);
        else if (kind === "ASK") return await followAsk(target, asking);
        else await followMoved(target);
      }
    }
  }

  async function followAsk(target: string, asking: (client: RedisClient) => Promise<unknown>): Promise<unknown> {
    const endpoint = parseEndpoint(target);
    if (endpoint === null || !(known().isMember(endpoint) || (await findAgain()).isMember(endpoint))) throw foreign(target);
    return asking(await clientOf(endpointName(endpoint)));
  }

  async function followMoved(target: string): Promise<void> {
    const endpoint = parseEndpoint(target);
    const found = await findAgain();
    if (endpoint === null || !found.isMember(endpoint)) throw foreign(target);
  }

  function foreign(target: string): Error {
    log.warn({ redis: address.shown, target: target.slice(0, 80) }, "redirected to a server that is not of the cluster; not followed");
    return new Error(`redirected to ${target.slice(0, 80)}, which is no server of the cluster`);
  }

  return {
    address: address.shown,
    together,
    async check() {
      await within(CHECK_TIMEOUT_MS, connect());
    },
    confirm: () => finder.confirm(known()),
    run(script, keys, args) {
      return redirected(
        keys[0] ?? "",
        (client) => client.run(script, keys, args),
        (client) => client.callAsking("EVAL", SCRIPTS[script], keys.length, ...keys, ...args),
      );
    },
    async read(cursors, blockMs) {
      const streams = ["STREAMS", ...cursors.keys(), ...cursors.values()];
      const args = ["COUNT", ENTRIES_AT_ONCE, ...(blockMs > 0 ? ["BLOCK", blockMs] : []), ...streams];
      const [first = ""] = cursors.keys();
      const reply = await redirected(
        first,
        async () => (await readerOf(first)).call("XREAD", ...args),
        (client) => client.callAsking("XREAD", "COUNT", ENTRIES_AT_ONCE, ...streams), // no waiting on a connection that others share
      );
      return readEntries(reply);
    },
    async ask(command, ...args) {
      return (await masterOf(streams[0] ?? "")).call(command, ...args);
    },
    drop: disconnect,
    close() {
      closed = true;
      disconnect();
    },
  };
}

/** Raises an Error when the server is a replica. A user that may not ask is believed. */
async function assertMaster(client: RedisClient): Promise<void> {
  const reply = await client.call("ROLE").catch((error: Error) => {
    if (/NOPERM|unknown command/i.test(error.message)) return null;
    throw error;
  });
  if (!Array.isArray(reply) || reply[0] === "master") return;
  throw new Error(`${endpointName(client.endpoint)} is a replica, not a master`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Reads `[[stream, [[id, [name, value, …]], …]], …]` or null. */
function readEntries(reply: unknown): StreamEntry[] {
  const streams = (reply ?? []) as [string, [string, string[]][]][]; // the shape XREAD documents for RESP2
  return streams.flatMap(([stream, entries]) => entries.map(([id, flat]) => ({ stream, id, fields: pairs(flat) })));
}

function pairs(flat: readonly string[]): Map<string, string> {
  const map = new Map<string, string>();
  for (let at = 0; at + 1 < flat.length; at += 2) map.set(flat[at] ?? "", flat[at + 1] ?? "");
  return map;
}
