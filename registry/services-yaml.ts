// The text of a services file (design 8), read strictly: unknown keys are mistakes, and all mistakes are told at once.
import { parse as parseYaml } from "yaml";
import { ConfigError } from "../core/errors.ts";
import { canonicalAddress, parseAddressRange } from "./address.ts";
import { portProtocol } from "../core/wire/port-protocol.ts";
import { isDnsLabel } from "./lease.ts";
import type { AnnounceGrant, Members, ServiceEntry, ServicePort } from "./service-source.ts";
import { serviceIdOf } from "./service-source.ts";

const MAX_SERVICES = 10_000;
const LABELS = ["service", "service-account", "version", "channel"];
const ACCOUNT = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\/[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

/** What a services file says. */
export interface ServicesFile {
  readonly services: readonly ServiceEntry[];
  readonly grants: readonly AnnounceGrant[];
}

/** Reads the YAML text. Raises `ConfigError("invalid_value")` that lists every mistake with its place. */
export function parseServicesFile(text: string): ServicesFile {
  const mistakes: string[] = [];
  const document = readYaml(text);
  const top = readMap(document, "file", ["services", "announce"], mistakes);
  const services = readList(top.get("services"), "services", mistakes).map((value, at) => readService(value, `services[${at}]`, mistakes));
  const grants = readList(top.get("announce"), "announce", mistakes).map((value, at) => readGrant(value, `announce[${at}]`, mistakes));
  if (services.length > MAX_SERVICES) mistakes.push(`services: ${services.length} entries, at most ${MAX_SERVICES} are allowed`);
  refuseDuplicates(services, mistakes);
  if (mistakes.length > 0) throw new ConfigError("invalid_value", `services file:\n  ${mistakes.join("\n  ")}`);
  return { services, grants };
}

function refuseDuplicates(services: readonly ServiceEntry[], mistakes: string[]): void {
  const names = new Set<string>();
  const addresses = new Map<string, string>();
  for (const entry of services) {
    const id = serviceIdOf(entry);
    if (names.has(id)) mistakes.push(`services: ${id} is there twice`);
    names.add(id);
    for (const address of entry.virtualAddresses) {
      const owner = addresses.get(address);
      if (owner !== undefined) mistakes.push(`services: virtual address ${address} belongs to ${owner} and to ${id}`);
      addresses.set(address, id);
    }
  }
}

function readYaml(text: string): unknown {
  try {
    return parseYaml(text, { maxAliasCount: 0, mapAsMap: true }) as unknown;
  } catch (cause) {
    throw new ConfigError("invalid_value", `services file is no YAML: ${(cause as Error).message}`, { cause });
  }
}

function readService(value: unknown, place: string, mistakes: string[]): ServiceEntry {
  const fields = readMap(value, place, ["name", "namespace", "virtualAddresses", "ports", "instances"], mistakes);
  const namespace = readName(fields.get("namespace") ?? "default", `${place}.namespace`, mistakes);
  const addresses = readList(fields.get("virtualAddresses"), `${place}.virtualAddresses`, mistakes).map((text, at) => {
    const address = typeof text === "string" ? canonicalAddress(text) : null;
    if (address === null) mistakes.push(`${place}.virtualAddresses[${at}]: ${shown(text)} is no IP address`);
    return address ?? "";
  });
  const ports = readList(fields.get("ports"), `${place}.ports`, mistakes).map((port, at) =>
    readPort(port, `${place}.ports[${at}]`, mistakes),
  );
  if (new Set(ports.map((port) => port.port)).size !== ports.length) mistakes.push(`${place}.ports: the same port twice`);
  return {
    name: readName(fields.get("name"), `${place}.name`, mistakes),
    namespace,
    virtualAddresses: addresses,
    headless: false,
    ports,
    members: readMembers(fields.get("instances"), namespace, `${place}.instances`, mistakes),
  };
}

function readPort(value: unknown, place: string, mistakes: string[]): ServicePort {
  const fields = readMap(value, place, ["port", "targetPort", "protocol", "name"], mistakes);
  const port = readPortNumber(fields.get("port"), `${place}.port`, mistakes);
  const target = fields.get("targetPort") ?? port;
  const protocol = portProtocol(String(fields.get("protocol") ?? "detect"));
  if (protocol === null) mistakes.push(`${place}.protocol: ${shown(fields.get("protocol"))} is none of detect, http1, http2, grpc, tcp`);
  return {
    port,
    targetPort:
      typeof target === "string"
        ? readName(target, `${place}.targetPort`, mistakes)
        : readPortNumber(target, `${place}.targetPort`, mistakes),
    protocol: protocol ?? "detect",
    name: fields.has("name") ? readName(fields.get("name"), `${place}.name`, mistakes) : "",
  };
}

function readMembers(value: unknown, namespace: string, place: string, mistakes: string[]): Members {
  if (value === undefined || value === null) return { kind: "announced" };
  const fields = readMap(value, place, ["serviceAccounts", "labels"], mistakes);
  if (fields.has("serviceAccounts") === fields.has("labels"))
    mistakes.push(`${place}: exactly one of serviceAccounts and labels is needed`);
  if (fields.has("labels")) {
    const labels = readMap(fields.get("labels"), `${place}.labels`, LABELS, mistakes);
    if (labels.size === 0) mistakes.push(`${place}.labels: at least one is needed`);
    return { kind: "labels", labels: new Map([...labels].map(([label, wanted]) => [label, String(wanted)])) };
  }
  const accounts = readList(fields.get("serviceAccounts"), `${place}.serviceAccounts`, mistakes).map((account, at) =>
    readAccount(account, namespace, `${place}.serviceAccounts[${at}]`, mistakes),
  );
  return { kind: "accounts", accounts };
}

function readGrant(value: unknown, place: string, mistakes: string[]): AnnounceGrant {
  const fields = readMap(value, place, ["identity", "services", "addresses"], mistakes);
  const ranges = readList(fields.get("addresses"), `${place}.addresses`, mistakes).map((text, at) => {
    const range = typeof text === "string" ? parseAddressRange(text) : null;
    if (range === null) mistakes.push(`${place}.addresses[${at}]: ${shown(text)} is neither an IP address nor a range like 10.0.0.0/8`);
    return range ?? (() => false);
  });
  return {
    account: readAccount(fields.get("identity"), "default", `${place}.identity`, mistakes),
    services: readList(fields.get("services"), `${place}.services`, mistakes).map((name, at) =>
      readName(name, `${place}.services[${at}]`, mistakes),
    ),
    mayUse: (address) => ranges.some((contains) => contains(address)),
  };
}

/** `name` in `namespace`, or `namespace/name`. */
function readAccount(value: unknown, namespace: string, place: string, mistakes: string[]): string {
  const text = typeof value === "string" ? value : "";
  const account = text.includes("/") ? text : `${namespace}/${text}`;
  if (!ACCOUNT.test(account)) mistakes.push(`${place}: ${shown(value)} is no SERVICE-ACCOUNT or NAMESPACE/SERVICE-ACCOUNT`);
  return account;
}

function readName(value: unknown, place: string, mistakes: string[]): string {
  if (typeof value === "string" && isDnsLabel(value)) return value;
  mistakes.push(`${place}: ${shown(value)} is no DNS label (a-z, 0-9, inner hyphens, at most 63)`);
  return "";
}

function readPortNumber(value: unknown, place: string, mistakes: string[]): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 1 && value <= 65535) return value;
  mistakes.push(`${place}: ${shown(value)} is no port from 1 to 65535`);
  return 0;
}

function readList(value: unknown, place: string, mistakes: string[]): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (Array.isArray(value)) return value;
  mistakes.push(`${place}: a list is expected, got ${shown(value)}`);
  return [];
}

/** A YAML map with known keys only. A Map, never an object: its keys are the file's. */
function readMap(value: unknown, place: string, known: readonly string[], mistakes: string[]): ReadonlyMap<string, unknown> {
  if (value === undefined || value === null) return new Map();
  if (!(value instanceof Map)) {
    mistakes.push(`${place}: a map is expected, got ${shown(value)}`);
    return new Map();
  }
  for (const key of value.keys() as Iterable<unknown>) {
    if (!known.includes(String(key))) mistakes.push(`${place}: ${shown(key)} is unknown; known are ${known.join(", ")}`);
  }
  return value as ReadonlyMap<string, unknown>; // unknown keys, of whatever type, are mistakes already
}

function shown(value: unknown): string {
  return (JSON.stringify(value) ?? "nothing").slice(0, 80);
}
