// REMORA_PROBES: the app's own probes as the injector hands them over, as JSON. Owns their form; running them is app-probes.ts.
import { ConfigError } from "../../core/errors.ts";

const KINDS: readonly string[] = ["liveness", "readiness", "startup"];
const MAX_TIMEOUT_S = 3600;

/** What a probe asks; the port is a number by now. */
export type Ask =
  | {
      readonly kind: "http";
      readonly port: number;
      readonly path: string;
      readonly secure: boolean;
      readonly headers: Readonly<Record<string, string>>;
    }
  | { readonly kind: "tcp"; readonly port: number }
  | { readonly kind: "grpc"; readonly port: number; readonly service: string };

/** One probe of one container. */
export interface AppProbe {
  /** `<container>/<kind>` */
  readonly name: string;
  readonly ask: Ask;
  readonly timeoutMs: number;
}

/** Reads the list. Throws `ConfigError("invalid_value")` naming the entry that is wrong. */
export function parseAppProbes(json: string): readonly AppProbe[] {
  let value: unknown;
  try {
    value = JSON.parse(json);
  } catch (cause) {
    throw new ConfigError("invalid_value", "REMORA_PROBES is not JSON", { cause });
  }
  if (!isObject(value)) throw new ConfigError("invalid_value", "REMORA_PROBES must be an object");
  return Object.entries(value).map(([name, entry]) => parseAppProbe(name, entry));
}

function parseAppProbe(name: string, entry: unknown): AppProbe {
  const [container = "", kind = "", ...rest] = name.split("/");
  if (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(container) || !KINDS.includes(kind) || rest.length > 0) {
    throw mistake(name, "the name must be CONTAINER/liveness, CONTAINER/readiness or CONTAINER/startup");
  }
  if (!isObject(entry)) throw mistake(name, "an object is expected");
  const timeoutSeconds = entry["timeoutSeconds"] ?? 1;
  if (typeof timeoutSeconds !== "number" || !(timeoutSeconds > 0 && timeoutSeconds <= MAX_TIMEOUT_S)) {
    throw mistake(name, `timeoutSeconds must be above 0 and at most ${MAX_TIMEOUT_S}`);
  }
  return { name, ask: parseAsk(name, entry), timeoutMs: timeoutSeconds * 1000 };
}

function parseAsk(name: string, entry: Fields): Ask {
  const { httpGet, tcpSocket, grpc } = entry;
  if (isObject(httpGet)) {
    const path = typeof httpGet["path"] === "string" ? httpGet["path"] : "/";
    const secure = String(httpGet["scheme"] ?? "HTTP").toUpperCase() === "HTTPS";
    const kind = "http" as const;
    return {
      kind,
      port: parsePort(name, httpGet),
      path: path.startsWith("/") ? path : `/${path}`,
      secure,
      headers: parseHeaders(name, httpGet["httpHeaders"]),
    };
  }
  if (isObject(tcpSocket)) return { kind: "tcp", port: parsePort(name, tcpSocket) };
  if (isObject(grpc))
    return { kind: "grpc", port: parsePort(name, grpc), service: typeof grpc["service"] === "string" ? grpc["service"] : "" };
  throw mistake(name, "one of httpGet, tcpSocket and grpc is expected");
}

function parsePort(name: string, { port }: Fields): number {
  if (typeof port !== "number" || !Number.isInteger(port) || port < 1 || port > 65535)
    throw mistake(name, "port must be a number from 1 to 65535");
  return port;
}

function parseHeaders(name: string, list: unknown): Readonly<Record<string, string>> {
  if (list === undefined || list === null) return {};
  if (!Array.isArray(list)) throw mistake(name, "httpHeaders must be a list");
  const entries = list.map((item: unknown) => {
    if (!isObject(item) || typeof item["name"] !== "string" || typeof item["value"] !== "string")
      throw mistake(name, "a header needs name and value");
    return [item["name"].toLowerCase(), item["value"]] as const;
  });
  return Object.fromEntries(entries);
}

type Fields = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Fields {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function mistake(name: string, sentence: string): ConfigError {
  return new ConfigError("invalid_value", `REMORA_PROBES: ${JSON.stringify(name.slice(0, 100))}: ${sentence}`, {
    fields: { probe: name.slice(0, 100) },
  });
}
