// The address of a Redis as an operator writes it: one server, Sentinels that know which server is the master, or nodes of a Redis Cluster. It only
// reads text; who is connected to, and how, is for others.
import { RegistryError } from "../../core/errors.ts";

const FORM = /^(rediss?)(?:-(sentinel|cluster))?:\/\/([^/?#]*)(?:\/([^?#]*))?$/;
const HOST = /^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+)(?::(\d{1,5}))?$/;
const MAX_HOSTS = 64;
const SERVER_PORT = 6379;
const SENTINEL_PORT = 26379;

/** Where one server listens. */
export interface Endpoint {
  /** A name or an IP literal without brackets. */
  readonly host: string;
  readonly port: number;
}

/** A user and a password; a null user is Redis's `default`. */
export interface RedisLogin {
  readonly user: string | null;
  readonly password: string;
}

interface Common {
  readonly tls: boolean;
  readonly login: RedisLogin | null;
  /** The same without user and password, for messages. */
  readonly shown: string;
}

/** A parsed address. */
export type RedisAddress =
  | (Common & { readonly mode: "single"; readonly endpoint: Endpoint; readonly database: number })
  | (Common & { readonly mode: "sentinel"; readonly sentinels: readonly Endpoint[]; readonly master: string; readonly database: number })
  | (Common & { readonly mode: "cluster"; readonly nodes: readonly Endpoint[] });

/**
 * Reads `redis://[USER:PASSWORD@]HOST[:PORT][/DB]`, `redis-sentinel://…HOST,HOST/MASTER[/DB]` or `redis-cluster://…HOST,HOST`; `rediss` instead of
 * `redis` is TLS. Reserved characters of a user or password are percent-encoded. Raises `RegistryError("bad_request")`, never with the password in it.
 */
export function parseRedisAddress(url: string): RedisAddress {
  const form = FORM.exec(url.trim());
  if (form === null) {
    throw bad(`must be ${FORMS}, got ${/^[a-z][a-z0-9+.-]*:\/\//.exec(url)?.[0] ?? "something that is no URL"}`);
  }
  const [, scheme = "", mode = "single", authority = "", path = ""] = form;
  const at = authority.lastIndexOf("@");
  const endpoints = readHosts(authority.slice(at + 1), mode === "sentinel" ? SENTINEL_PORT : SERVER_PORT);
  const login = at < 0 ? null : readLogin(authority.slice(0, at));
  const tls = scheme === "rediss";
  const head = `${scheme}${mode === "single" ? "" : `-${mode}`}://${endpoints.map(endpointName).join(",")}`;
  if (mode === "cluster") {
    if (path !== "" && path !== "0") throw bad(`asks for database ${path}, but a Redis Cluster has only database 0`);
    return { mode, tls, login, nodes: endpoints, shown: head };
  }
  if (mode === "sentinel") {
    const [master = "", database, extra] = path.split("/");
    if (master === "" || extra !== undefined)
      throw bad("needs the name of the master after the Sentinels: redis-sentinel://HOST,HOST/MASTER[/DB]");
    const name = decode("the name of the master", master);
    return { mode, tls, login, sentinels: endpoints, master: name, database: readDatabase(database ?? ""), shown: `${head}/${name}` };
  }
  const [endpoint] = endpoints;
  if (endpoint === undefined || endpoints.length > 1) {
    throw bad("names several servers: write redis-cluster:// for nodes of a cluster, redis-sentinel:// for Sentinels");
  }
  const database = readDatabase(path);
  return { mode: "single", tls, login, endpoint, database, shown: `${head}/${database}` };
}

const FORMS = "redis://HOST[:PORT][/DB], redis-sentinel://HOST,HOST/MASTER or redis-cluster://HOST,HOST (rediss for TLS)";

/** `host:port`, IPv6 in brackets: one text per server. */
export function endpointName({ host, port }: Endpoint): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}

/** Reads {@link endpointName}'s text as Redis writes it in a redirection (IPv6 without brackets); null when it is none. */
export function parseEndpoint(text: string): Endpoint | null {
  const at = text.lastIndexOf(":");
  const port = Number(text.slice(at + 1));
  const host = text.slice(0, at).replace(/^\[|\]$/g, "");
  return at > 0 && Number.isInteger(port) && port > 0 && port < 65536 ? { host, port } : null;
}

function readHosts(text: string, defaultPort: number): Endpoint[] {
  const hosts = text.split(",").map((one) => one.trim());
  if (hosts.length > MAX_HOSTS) throw bad(`names ${hosts.length} servers, at most ${MAX_HOSTS} are allowed`);
  return hosts.map((one) => {
    const [, host, port] = HOST.exec(one) ?? [];
    if (host === undefined) throw bad(`must be ${FORMS}; a host is a name or an IP address (IPv6 in brackets)`);
    if (port !== undefined && (Number(port) === 0 || Number(port) > 65535)) throw bad(`has a port from 1 to 65535, got ${port}`);
    return { host: host.replace(/^\[|\]$/g, ""), port: port === undefined ? defaultPort : Number(port) };
  });
}

function readLogin(text: string): RedisLogin | null {
  const colon = text.indexOf(":");
  const user = decode("the user", colon < 0 ? text : text.slice(0, colon));
  const password = colon < 0 ? "" : decode("the password", text.slice(colon + 1));
  if (password === "" && user !== "") throw bad("has a user without a password; a password alone is written :PASSWORD@");
  return password === "" ? null : { user: user === "" ? null : user, password };
}

function readDatabase(text: string): number {
  if (text === "") return 0;
  if (!/^\d{1,5}$/.test(text)) throw bad("has a database that is no number");
  return Number(text);
}

function decode(what: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    throw bad(`has a % in ${what} that encodes nothing; write %25`);
  }
}

function bad(problem: string): RegistryError {
  return new RegistryError("bad_request", `the Redis URL ${problem}`);
}
