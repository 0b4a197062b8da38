// One connection to one server: it opens once, rejects quickly when the server is away, and does not come back by itself, because what comes back
// at an address may not be the master any more. ioredis is loaded here and nowhere else, only in cluster mode (design 13.4). No redirection is
// followed here: MOVED and ASK are errors like any other.
import type { Redis } from "ioredis";
import type { Endpoint, RedisLogin } from "./address.ts";
import { endpointName } from "./address.ts";
import type { RedisTls } from "./connector.ts";
import { redisConnector } from "./connector.ts";
import type { ScriptName } from "./scripts.ts";
import { SCRIPTS } from "./scripts.ts";

const CONNECT_TIMEOUT_MS = 3000;
const COMMAND_TIMEOUT_MS = 2000;
const KEYS_OF_A_SCRIPT = 4;

type Argument = string | number;

/** How every server of one installation is reached. */
export interface RedisAccess {
  readonly login: RedisLogin | null;
  readonly database: number;
  /** Null: plain TCP. */
  readonly tls: RedisTls | null;
}

/** An open connection. Every call rejects within 2 s with an Error in plain words, without any secret. */
export interface RedisClient {
  readonly endpoint: Endpoint;
  call(command: string, ...args: readonly Argument[]): Promise<unknown>;
  run(script: ScriptName, keys: readonly string[], args: readonly Argument[]): Promise<unknown>;
  /** Runs a command for a slot that is on its way to this server (ASK). */
  callAsking(command: string, ...args: readonly Argument[]): Promise<unknown>;
  close(): void;
}

/** What defineCommand adds to a client, one method per script. */
type WithScripts = Redis & Record<`remora_${ScriptName}`, (...args: Argument[]) => Promise<unknown>>;

/** Connects and logs in. Rejects with what is wrong: the address in `message`, never the password. */
export async function openRedis(endpoint: Endpoint, { login, database, tls }: RedisAccess): Promise<RedisClient> {
  const { Redis: Client, AbstractConnector: Base } = await import("ioredis");
  let lastError = "no answer";
  const client = new Client({
    lazyConnect: true,
    protocol: 2,
    enableOfflineQueue: false,
    enableReadyCheck: false,
    autoResendUnfulfilledCommands: false,
    maxRetriesPerRequest: 0,
    connectTimeout: CONNECT_TIMEOUT_MS,
    commandTimeout: COMMAND_TIMEOUT_MS,
    connectionName: "remora-registry",
    disableClientInfo: true,
    retryStrategy: () => null,
    Connector: redisConnector(Base, endpoint, tls),
    db: database,
    ...(login === null ? {} : { password: login.password, ...(login.user === null ? {} : { username: login.user }) }),
    ...(tls === null ? {} : { tls: {} }),
    scripts: Object.fromEntries(Object.entries(SCRIPTS).map(([name, lua]) => [`remora_${name}`, { lua, numberOfKeys: KEYS_OF_A_SCRIPT }])),
  }) as WithScripts; // the constructor defined `scripts` on it
  client.on("error", (error: Error) => {
    lastError = error.message;
  });

  async function inPlainWords(work: Promise<unknown>): Promise<unknown> {
    try {
      return await work;
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error);
      // ioredis reports a lost connection in the words of its own options.
      const lost = message === "" || /max retries per request|isn't writeable|Connection is closed/.test(message);
      throw new Error(lost ? `connection to ${endpointName(endpoint)} lost (${lastError})` : message, { cause: error });
    }
  }

  try {
    await inPlainWords(client.connect());
    await inPlainWords(client.ping());
  } catch (error) {
    client.disconnect();
    throw error;
  }
  return {
    endpoint,
    call: (command, ...args) => inPlainWords(client.call(command, ...args)),
    run: (script, keys, args) => inPlainWords(client[`remora_${script}`](...keys, ...args)),
    callAsking(command, ...args) {
      client.asking().catch(() => {}); // written before the command, on the same connection; the command says what is wrong
      return inPlainWords(client.call(command, ...args));
    },
    close: () => client.disconnect(),
  };
}
