// The app's ports and protocols as text: `8080=http1,9090=grpc,6379=tcp`.
import { readPort } from "../core/port.ts";
import { PORT_PROTOCOLS, type PortProtocol, portProtocol } from "../core/wire/port-protocol.ts";

/** One port of the app. */
export interface AppPort {
  readonly number: number;
  readonly protocol: PortProtocol;
  readonly name: string;
}

/** Reads `PORT[=PROTOCOL],…`; empty text is no port. Throws RangeError that names the item. */
export function parseAppPorts(text: string): readonly AppPort[] {
  return itemsOf(text).map((item) => {
    const [port = "", word = "detect"] = item.split("=");
    const protocol = portProtocol(word);
    if (protocol === null) throw new RangeError(`"${word}" is none of ${PORT_PROTOCOLS.join(", ")}`);
    return { number: parsePort(port), protocol, name: "" };
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
