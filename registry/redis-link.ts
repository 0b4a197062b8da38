// Two connections to Redis, one for commands and one that waits for changes, and the scripts by name. It owns reconnecting and timeouts; what the
// scripts mean is the store's. ioredis is loaded here and nowhere else, only in cluster mode (design 13.4).
import type { Redis } from "ioredis";
import { RegistryError } from "../core/errors.ts";
import type { Logger } from "../core/log.ts";
import type { Secret } from "../core/secret.ts";
import type { RedisEndpoint } from "./redis-connector.ts";
import { redisConnector } from "./redis-connector.ts";
import { REMOVE_SCRIPT, RENEW_SCRIPT, SNAPSHOT_SCRIPT, SWEEP_SCRIPT } from "./redis-scripts.ts";

const CONNECT_TIMEOUT_MS = 3000;
const COMMAND_TIMEOUT_MS = 2000;
const START_TIMEOUT_MS = 8000;
const RECONNECT_LEAST_MS = 50;
const RECONNECT_MOST_MS = 1000;
const ENTRIES_AT_ONCE = 500;

/** The scripts, by the name they are called. */
export type ScriptName = "renew" | "remove" | "sweep" | "snapshot";

/** One entry of a change stream. Values are unchecked. */
export interface StreamEntry {
  readonly stream: string;
  readonly id: string;
  readonly fields: ReadonlyMap<string, string>;
}

/** A live link. Every call rejects quickly while Redis is away; the link reconnects by itself. */
export interface RedisLink {
  /** `redis://host:port/db`, without any secret. */
  readonly address: string;
  /** Resolves when both connections answer; rejects when one does not. */
  check(): Promise<void>;
  run(script: ScriptName, keys: readonly string[], args: readonly (string | number)[]): Promise<unknown>;
  /** Entries after each stream's id; waits up to `blockMs` for the first, and answers none after that. */
  read(cursors: ReadonlyMap<string, string>, blockMs: number): Promise<readonly StreamEntry[]>;
  close(): Promise<void>;
}

/** Settings of {@link connectRedis}. */
export interface RedisLinkOptions {
  /** `redis://[user:password@]host[:port][/db]` or `rediss://…` for TLS. */
  readonly url: Secret;
  /** Roots (PEM) that the server's certificate is checked with; default: the system's. Only for `rediss://`. */
  readonly caPem?: string | undefined;
  readonly random: () => number;
  readonly log: Logger;
}

/** What defineCommand adds to a client, one method per script. */
type WithScripts = Redis & Record<`remora_${ScriptName}`, (...args: (string | number)[]) => Promise<unknown>>;

const SCRIPTS: Readonly<Record<ScriptName, string>> = {
  renew: RENEW_SCRIPT,
  remove: REMOVE_SCRIPT,
  sweep: SWEEP_SCRIPT,
  snapshot: SNAPSHOT_SCRIPT,
};

/** Connects and asks for a PING. Raises `RegistryError("unavailable")` that names the address and what is wrong, never the password. */
export async function connectRedis({ url, caPem, random, log }: RedisLinkOptions): Promise<RedisLink> {
  const { address, endpoint } = readUrl(url, caPem);
  const { Redis: Client, AbstractConnector: Base } = await import("ioredis");
  let started = false;
  let lastError = "no answer";
  const options = {
    lazyConnect: true,
    protocol: 2 as const,
    enableOfflineQueue: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectionName: "remora-registry",
    retryStrategy: (attempt: number) => (started ? reconnectDelayMs(attempt, random) : null),
    Connector: redisConnector(Base, endpoint),
    ...(endpoint.tls === null ? {} : { tls: {} }),
    scripts: Object.fromEntries(Object.entries(SCRIPTS).map(([name, lua]) => [`remora_${name}`, { lua, numberOfKeys: 4 }])),
  };
  const commands = new Client(url.reveal(), options) as WithScripts; // the constructor defined `scripts` on it
  const reader = new Client(url.reveal(), { ...options, connectionName: "remora-registry-changes" });
  for (const client of [commands, reader]) {
    client.on("error", (error: Error) => {
      if (error.message !== lastError) log.debug({ address, problem: error.message }, "redis connection");
      lastError = error.message;
    });
  }

  async function open(): Promise<void> {
    await Promise.all([commands.connect(), reader.connect()]);
    await Promise.all([commands.ping(), reader.ping()]);
  }

  try {
    await within(START_TIMEOUT_MS, open());
  } catch (cause) {
    commands.disconnect();
    reader.disconnect();
    const own = (cause as Error).message;
    const problem = own === "" || own.startsWith("Connection is closed") ? lastError : own;
    throw new RegistryError("unavailable", `Redis at ${address} is needed in cluster mode and cannot be used: ${problem}`, {
      cause,
      fields: { address },
    });
  }
  started = true;

  return {
    address,
    async check() {
      try {
        await Promise.all([commands.ping(), reader.ping()]);
      } catch (error) {
        throw inPlainWords(error, lastError);
      }
    },
    async run(script, keys, args) {
      try {
        return await commands[`remora_${script}`](...keys, ...args);
      } catch (error) {
        throw inPlainWords(error, lastError);
      }
    },
    async read(cursors, blockMs) {
      try {
        return readEntries(
          await reader.call("XREAD", "COUNT", ENTRIES_AT_ONCE, "BLOCK", blockMs, "STREAMS", ...cursors.keys(), ...cursors.values()),
        );
      } catch (error) {
        throw inPlainWords(error, lastError);
      }
    },
    async close() {
      commands.disconnect();
      reader.disconnect();
    },
  };
}

function readUrl(url: Secret, caPem: string | undefined): { readonly address: string; readonly endpoint: RedisEndpoint } {
  const parsed = URL.canParse(url.reveal()) ? new URL(url.reveal()) : null;
  if (parsed === null || !["redis:", "rediss:"].includes(parsed.protocol) || parsed.hostname === "") {
    const got = parsed === null ? "something that is no URL" : parsed.protocol;
    throw new RegistryError("bad_request", `the Redis URL must be redis://HOST[:PORT][/DB] or rediss://HOST[:PORT][/DB], got ${got}`);
  }
  const port = parsed.port === "" ? 6379 : Number(parsed.port);
  const address = `${parsed.protocol}//${parsed.hostname}:${port}${parsed.pathname === "" ? "/0" : parsed.pathname}`;
  const tls = parsed.protocol === "rediss:" ? { caPem } : null;
  return { address, endpoint: { host: parsed.hostname.replace(/^\[|\]$/g, ""), port, tls } };
}

function reconnectDelayMs(attempt: number, random: () => number): number {
  const ceiling = Math.min(RECONNECT_MOST_MS, RECONNECT_LEAST_MS * 2 ** Math.min(attempt, 10));
  return Math.ceil(ceiling * (0.5 + random() / 2));
}

async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${ms} ms`)), ms);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** ioredis reports a lost connection in the words of its own options. */
function inPlainWords(error: unknown, lastError: string): Error {
  const message = error instanceof Error ? error.message : String(error);
  const lost = /max retries per request|isn't writeable|Connection is closed/.test(message);
  return new Error(lost ? `connection lost (${lastError})` : message, { cause: error });
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
