// The text in which destinations are remembered. Whatever is not exactly that is refused as a whole: half a memory is worse than none.
import type { SpiffeId } from "../../core/spiffe.ts";
import { parseSpiffeId } from "../../core/spiffe.ts";
import { type PortProtocol, portProtocol } from "../../core/wire/port-protocol.ts";
import type { Destination, DestinationView, Endpoint } from "./discovery.ts";
import { destinationKey } from "./discovery.ts";
import { isAskable } from "./wire-endpoint.ts";

const FORMAT = 1;

/** One destination to remember. */
export interface Remembered {
  readonly destination: Destination;
  readonly view: DestinationView;
}

/** The file's text. */
export function formatSnapshot(identity: SpiffeId, remembered: Iterable<Remembered>): string {
  const destinations = [...remembered].map(({ destination, view }) => ({
    destination,
    service: view.service,
    protocol: view.protocol,
    version: view.version,
    endpoints: view.endpoints.map((endpoint) => ({
      ...endpoint,
      messageCertificate: endpoint.messageCertificate?.toString("base64") ?? null,
    })),
  }));
  return JSON.stringify({ format: FORMAT, identity, destinations });
}

/** Reads {@link formatSnapshot}'s text. Throws when it is not exactly that. */
export function parseSnapshot(text: string, identity: SpiffeId): readonly Remembered[] {
  const file = record(JSON.parse(text));
  if (file["format"] !== FORMAT) throw new Error(`format ${FORMAT} is expected, got ${String(file["format"])}`);
  if (file["identity"] !== identity) throw new Error(`written by ${String(file["identity"])}, this is ${identity}`);
  return list(file["destinations"]).map(readRemembered);
}

function readRemembered(value: unknown): Remembered {
  const fields = record(value);
  const destination = readDestination(fields["destination"]);
  const view: DestinationView = {
    key: destinationKey(destination),
    service: string(fields["service"]),
    protocol: protocol(fields["protocol"]),
    version: number(fields["version"]),
    endpoints: Object.freeze(list(fields["endpoints"]).map(readEndpoint)),
  };
  return { destination, view };
}

function readDestination(value: unknown): Destination {
  const fields = record(value);
  const port = number(fields["port"]);
  const destination: Destination =
    fields["kind"] === "address"
      ? { kind: "address", address: string(fields["address"]), port }
      : { kind: "service", name: string(fields["name"]), port };
  if (!isAskable(destination)) throw new Error("a destination that is none");
  return destination;
}

function readEndpoint(value: unknown): Endpoint {
  const fields = record(value);
  const certificate = fields["messageCertificate"];
  return Object.freeze({
    id: string(fields["id"]),
    instanceId: string(fields["instanceId"]),
    identity: parseSpiffeId(string(fields["identity"])),
    address: string(fields["address"]),
    port: number(fields["port"]),
    inboundPort: number(fields["inboundPort"]),
    protocol: protocol(fields["protocol"]),
    messageCertificate: certificate === null ? null : Buffer.from(string(certificate), "base64"),
    version: string(fields["version"]),
    state: "ready",
  });
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== "object" || value === null) throw new Error("an object is expected");
  return value as Readonly<Record<string, unknown>>; // each field is checked where it is read
}

function list(value: unknown): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error("a list is expected");
  return value;
}

function string(value: unknown): string {
  if (typeof value !== "string") throw new Error("a text is expected");
  return value;
}

function number(value: unknown): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) throw new Error("a whole number is expected");
  return value;
}

function protocol(value: unknown): PortProtocol {
  const found = portProtocol(value);
  if (found === null) throw new Error(`no protocol: ${String(value)}`);
  return found;
}
