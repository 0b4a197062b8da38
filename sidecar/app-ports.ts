// The app's ports and protocols as text: `8080=http1,9090=grpc,6379=tcp`.
import { readPort } from "../core/port.ts";
import type { PortProtocol } from "./discovery/discovery.ts";

const PROTOCOLS: readonly PortProtocol[] = ["detect", "http1", "http2", "grpc", "tcp"];

/** One port of the app. */
export interface AppPort {
  readonly number: number;
  readonly protocol: PortProtocol;
  readonly name: string;
}

/** Reads `PORT[=PROTOCOL],…`; empty text is no port. Throws RangeError that names the item. */
export function parseAppPorts(text: string): readonly AppPort[] {
  return itemsOf(text).map((item) => {
    const [port = "", protocol = "detect"] = item.split("=");
    const known = (PROTOCOLS as readonly string[]).includes(protocol);
    if (!known) throw new RangeError(`"${protocol}" is none of ${PROTOCOLS.join(", ")}`);
    return { number: parsePort(port), protocol: protocol as PortProtocol, name: "" };
  });
}

/** Writes what {@link parseAppPorts} reads. */
export function formatAppPorts(ports: readonly AppPort[]): string {
  return ports.map(({ number, protocol }) => `${number}=${protocol}`).join(",");
}

/** Reads `PORT,…`. Throws RangeError that names the item. */
export function parsePortSet(text: string): ReadonlySet<number> {
  return new Set(itemsOf(text).map(parsePort));
}

function itemsOf(text: string): string[] {
  return text
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
}

function parsePort(text: string): number {
  const number = readPort(text);
  if (number === null) throw new RangeError(`"${text}" is not a port from 1 to 65535`);
  return number;
}
