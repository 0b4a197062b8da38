// What the sidecar asks of the app in the kubelet's place, read from the JSON that the injector hands over. Owns the form of one ask; which asks there are,
// and what their answers mean, is app-probe-list.ts and app-hook-list.ts.
import { ConfigError } from "../../core/errors.ts";

/** Headers as they were given; a name that comes twice has a list. */
export type AskHeaders = Readonly<Record<string, string | readonly string[]>>;

/** One question; the port is a number by now. */
export type Ask =
  | { readonly kind: "http"; readonly port: number; readonly path: string; readonly secure: boolean; readonly headers: AskHeaders }
  | { readonly kind: "tcp"; readonly port: number }
  | { readonly kind: "grpc"; readonly port: number; readonly service: string };

/** Makes the error for what is wrong with one entry. */
export type Mistake = (sentence: string) => ConfigError;

/** Fields of a parsed JSON object. */
export type Fields = Readonly<Record<string, unknown>>;

const CONTAINER = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;
const SHOWN_LENGTH = 100;

/** One entry of a variable: `CONTAINER/KIND` and its fields. */
export interface AskEntry<Kind extends string> {
  readonly container: string;
  readonly kind: Kind;
  readonly fields: Fields;
  readonly mistake: Mistake;
}

/** Reads an object of entries under `CONTAINER/KIND`. Throws `ConfigError("invalid_value")` naming the variable and the entry that is wrong. */
export function parseEntries<Kind extends string>(variable: string, json: string, kinds: readonly Kind[]): readonly AskEntry<Kind>[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new ConfigError("invalid_value", `${variable} is not JSON`, { cause });
  }
  if (!isObject(value)) throw new ConfigError("invalid_value", `${variable} must be an object`);
  return Object.entries(value).map(([name, entry]) => {
    const shown = name.slice(0, SHOWN_LENGTH);
    const mistake: Mistake = (sentence) =>
      new ConfigError("invalid_value", `${variable}: ${JSON.stringify(shown)}: ${sentence}`, { fields: { probe: shown } });
    const [container = "", word = "", ...rest] = name.split("/");
    const kind = kinds.find((known) => known === word);
    if (!CONTAINER.test(container) || kind === undefined || rest.length > 0) {
      throw mistake(
        `the name must be ${kinds
          .map((known) => `CONTAINER/${known}`)
          .join(", ")
          .replace(/, ([^,]*)$/, " or $1")}`,
      );
    }
    if (!isObject(entry)) throw mistake("an object is expected");
    return { container, kind, fields: entry, mistake };
  });
}

/** Reads the question of one entry. Exactly one of httpGet, tcpSocket and grpc is there. */
export function parseAsk({ httpGet, tcpSocket, grpc }: Fields, mistake: Mistake): Ask {
  if (isObject(httpGet)) return parseHttpAsk(httpGet, mistake);
  if (isObject(tcpSocket)) return { kind: "tcp", port: parsePort(tcpSocket, mistake) };
  if (isObject(grpc))
    return { kind: "grpc", port: parsePort(grpc, mistake), service: typeof grpc["service"] === "string" ? grpc["service"] : "" };
  throw mistake("one of httpGet, tcpSocket and grpc is expected");
}

function parseHttpAsk(httpGet: Fields, mistake: Mistake): Extract<Ask, { kind: "http" }> {
  const path = typeof httpGet["path"] === "string" ? httpGet["path"] : "/";
  return {
    kind: "http",
    port: parsePort(httpGet, mistake),
    path: path.startsWith("/") ? path : `/${path}`,
    secure: String(httpGet["scheme"] ?? "HTTP").toUpperCase() === "HTTPS",
    headers: parseHeaders(httpGet["httpHeaders"], mistake),
  };
}

function parsePort({ port }: Fields, mistake: Mistake): number {
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535)
    throw mistake("port must be a number from 1 to 65535");
  return port;
}

function parseHeaders(list: unknown, mistake: Mistake): AskHeaders {
  if (list === undefined || list === null) return {};
  if (!Array.isArray(list)) throw mistake("httpHeaders must be a list");
  const headers: Record<string, string | string[]> = Object.create(null);
  for (const item of list) {
    if (!isObject(item) || typeof item["name"] !== "string" || typeof item["value"] !== "string")
      throw mistake("a header needs name and value");
    const name = item["name"].toLowerCase();
    const before = headers[name];
    headers[name] = before === undefined ? item["value"] : [...(Array.isArray(before) ? before : [before]), item["value"]];
  }
  return { ...headers };
}

/** True for what JSON calls an object. */
export function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
