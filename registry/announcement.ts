// Reads one heartbeat into a lease: every field checked and bounded, whatever a peer sent. The identity is never read from it, it is given.
import { inspect } from "node:util";
import { RegistryError } from "../core/errors.ts";
import type { SpiffeId } from "../core/spiffe.ts";
import { parseSpiffeId } from "../core/spiffe.ts";
import { canonicalAddress } from "./address.ts";
import type { Lease, LeasePort, Load } from "./lease.ts";
import { PORT_PROTOCOLS, WIRE_PROTOCOLS } from "../core/wire/port-protocol.ts";
import { INSTANCE_STATES, isDnsLabel, WIRE_STATES } from "./lease.ts";

/** Bounds of one announcement; beyond any of them it is refused as `bad_request`. */
export const LEASE_LIMITS = {
  instanceIdLength: 128,
  services: 32,
  addresses: 8,
  ports: 64,
  textLength: 64,
  messageCertificateBytes: 4096,
  trustedRoots: 16,
} as const;

const INSTANCE_ID = /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$/;
const ROOT_ID = /^(?:[0-9a-f]{16})?$/;
const PRINTABLE = /^[\x20-\x7e]*$/;

/** One checked heartbeat. */
export interface Announcement {
  readonly lease: Lease;
  readonly load: Load;
  /** True: remove the lease now. */
  readonly leaving: boolean;
}

/**
 * Checks one heartbeat, from the wire (enums by their wire names, bytes as Buffer) or from JSON (short names, base64).
 * Raises `RegistryError("bad_request")` that names the field, the value and the bound.
 */
export function parseAnnouncement(message: unknown, identity: SpiffeId): Announcement {
  const fields = readRecord("heartbeat", message);
  const ports = readList("ports", fields["ports"], LEASE_LIMITS.ports).map(readPort);
  if (new Set(ports.map((port) => port.number)).size !== ports.length) throw bad("ports", "the same number twice");
  const addresses = readList("addresses", fields["addresses"], LEASE_LIMITS.addresses).map(readAddress);
  if (addresses.length === 0) throw bad("addresses", "at least one is needed");
  const services = readList("services", fields["services"], LEASE_LIMITS.services).map((name) => readLabel("services", name));
  const certificate = readBytes("messageCertificate", fields["messageCertificate"], LEASE_LIMITS.messageCertificateBytes);
  const roots = readList("trustedRoots", fields["trustedRoots"], LEASE_LIMITS.trustedRoots).map((id) => readRootId("trustedRoots", id));
  return {
    lease: Object.freeze({
      instanceId: readInstanceId(fields["instanceId"]),
      identity,
      epoch: readInteger("epoch", fields["epoch"], 0, Number.MAX_SAFE_INTEGER),
      services: [...new Set(services)].sort(),
      addresses: [...new Set(addresses)],
      ports,
      inboundPort: readInteger("inboundPort", fields["inboundPort"] ?? 0, 0, 65535),
      version: readText("version", fields["version"]),
      channel: readText("channel", fields["channel"]),
      certExpiresAtMs: readInteger("certExpiresAtMs", fields["certExpiresAtMs"] ?? 0, 0, Number.MAX_SAFE_INTEGER),
      state: readChoice("state", fields["state"] ?? "starting", INSTANCE_STATES, WIRE_STATES),
      messageCertificate: certificate.length === 0 ? null : certificate,
      issuedByRoot: readRootId("issuedByRoot", fields["issuedByRoot"]),
      trustedRoots: [...new Set(roots.filter((id) => id !== ""))].sort(),
    }),
    load: readLoad(fields["load"]),
    leaving: fields["leaving"] === true,
  };
}

/** Reads {@link formatLease}'s text, with every check of an announcement. Raises `RegistryError("bad_request")`, `CertError("malformed")` or SyntaxError. */
export function parseLease(text: string): Lease {
  const fields = readRecord("lease", JSON.parse(text) as unknown);
  return parseAnnouncement(fields, parseSpiffeId(readText("identity", fields["identity"], 2048))).lease;
}

function bad(field: string, problem: string): RegistryError {
  return new RegistryError("bad_request", `${field}: ${problem}`, { fields: { field } });
}

function shown(value: unknown): string {
  return inspect(value, { depth: 1, maxStringLength: 60, maxArrayLength: 3, breakLength: Number.POSITIVE_INFINITY }).slice(0, 80);
}

function readRecord(field: string, value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw bad(field, `an object is expected, got ${shown(value)}`);
  return value as Readonly<Record<string, unknown>>; // an object that is not an array; each field is checked where it is read
}

function readList(field: string, value: unknown, most: number): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw bad(field, `a list is expected, got ${shown(value)}`);
  if (value.length > most) throw bad(field, `${value.length} entries, at most ${most} are allowed`);
  return value;
}

function readInteger(field: string, value: unknown, least: number, most: number): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < least || value > most) {
    throw bad(field, `a whole number from ${least} to ${most} is expected, got ${shown(value)}`);
  }
  return value;
}

function readText(field: string, value: unknown, most: number = LEASE_LIMITS.textLength): string {
  const text = value ?? "";
  if (typeof text !== "string" || text.length > most || !PRINTABLE.test(text)) {
    throw bad(field, `printable text of at most ${most} characters is expected, got ${shown(value)}`);
  }
  return text;
}

function readLabel(field: string, value: unknown): string {
  if (typeof value !== "string" || !isDnsLabel(value))
    throw bad(field, `a DNS label (a-z, 0-9, inner hyphens, at most 63) is expected, got ${shown(value)}`);
  return value;
}

function readInstanceId(value: unknown): string {
  if (typeof value !== "string" || value.length > LEASE_LIMITS.instanceIdLength || !INSTANCE_ID.test(value)) {
    throw bad("instanceId", `1 to ${LEASE_LIMITS.instanceIdLength} letters, digits and inner . _ - are expected, got ${shown(value)}`);
  }
  return value;
}

function readAddress(value: unknown): string {
  const address = typeof value === "string" ? canonicalAddress(value) : null;
  if (address === null) throw bad("addresses", `an IP address is expected, got ${shown(value)}`);
  if (address === "0.0.0.0" || address === "::") throw bad("addresses", `${address} is no address of an instance`);
  return address;
}

function readPort(value: unknown): LeasePort {
  const fields = readRecord("ports", value);
  const name = readText("ports.name", fields["name"], 63);
  return {
    number: readInteger("ports.number", fields["number"], 1, 65535),
    protocol: readChoice("ports.protocol", fields["protocol"] ?? "detect", PORT_PROTOCOLS, WIRE_PROTOCOLS),
    name: name === "" ? "" : readLabel("ports.name", name),
  };
}

function readChoice<Name extends string>(field: string, value: unknown, names: readonly Name[], wireNames: readonly string[]): Name {
  const found = typeof value === "string" ? (names[wireNames.indexOf(value)] ?? names.find((name) => name === value)) : undefined;
  if (found === undefined) throw bad(field, `one of ${names.join(", ")} is expected, got ${shown(value)}`);
  return found;
}

function readBytes(field: string, value: unknown, most: number): Buffer {
  if (value === undefined || value === null) return Buffer.alloc(0);
  if (typeof value === "string" && value.length > most * 2) throw bad(field, `at most ${most} bytes are allowed`);
  const bytes = typeof value === "string" ? Buffer.from(value, "base64") : value;
  if (!Buffer.isBuffer(bytes)) throw bad(field, "bytes are expected");
  if (bytes.length > most) throw bad(field, `${bytes.length} bytes, at most ${most} are allowed`);
  return bytes;
}

/** Bytes from the wire, hex from JSON; what is not sent is "". */
function readRootId(field: string, value: unknown): string {
  const text = value === undefined || value === null ? "" : Buffer.isBuffer(value) ? value.toString("hex") : value;
  if (typeof text !== "string" || !ROOT_ID.test(text)) throw bad(field, `8 bytes or 16 hex digits are expected, got ${shown(value)}`);
  return text;
}

/** Checks a load. Raises `RegistryError("bad_request")`. */
export function readLoad(value: unknown): Load {
  const fields = value === undefined || value === null ? {} : readRecord("load", value);
  const read = (name: string, most: number) => {
    const number = fields[name] ?? 0;
    if (typeof number !== "number" || !(number >= 0 && number <= most))
      throw bad(`load.${name}`, `a number from 0 to ${most} is expected, got ${shown(number)}`);
    return number;
  };
  return {
    inFlight: read("inFlight", 2 ** 32),
    rps: read("rps", 1e9),
    p99Ms: read("p99Ms", 1e9),
    errorRatio: read("errorRatio", 1),
    requests: read("requests", Number.MAX_SAFE_INTEGER),
    errors: read("errors", Number.MAX_SAFE_INTEGER),
    refused: read("refused", Number.MAX_SAFE_INTEGER),
  };
}
