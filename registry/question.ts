// What a sidecar asks for (design 8), read into one canonical question: the same destination asked in two spellings, or by two callers, is one
// question with one answer.
import { RegistryError } from "../core/errors.ts";
import { canonicalAddress } from "./address.ts";
import { isDnsLabel } from "./lease.ts";

const MAX_NAME_LENGTH = 255;

/** A destination with nothing left to interpret. */
export type Question =
  /** `port` 0: the service's only or first port. */
  | { readonly kind: "service"; readonly namespace: string; readonly name: string; readonly port: number }
  /** A canonical address; a service's virtual one or an instance's. */
  | { readonly kind: "address"; readonly address: string; readonly port: number }
  /** A well-formed host name that can be no service of this mesh. */
  | { readonly kind: "foreign" };

/**
 * Reads "orders", "orders.ns", "orders.ns.svc" or "orders.ns.svc.<cluster domain>"; a bare name is in the caller's `namespace`.
 * Other host names are `foreign`. Raises `RegistryError("bad_request")` for what is no host name or no port.
 */
export function serviceQuestion(text: unknown, port: unknown, namespace: string, clusterDomain: string): Question {
  if (typeof text !== "string" || text.length === 0 || text.length > MAX_NAME_LENGTH) {
    throw new RegistryError("bad_request", `a service name of 1 to ${MAX_NAME_LENGTH} characters is expected`);
  }
  const checkedPort = readPort(port, 0);
  const host = text.toLowerCase().replace(/\.$/, "");
  const labels = host.split(".");
  if (!labels.every(isDnsLabel)) throw new RegistryError("bad_request", `no service name: ${JSON.stringify(text.slice(0, 80))}`);
  const [name = "", given = namespace, ...rest] = labels;
  const domain = rest.join(".");
  const isOurs = domain === "" || domain === "svc" || domain === `svc.${clusterDomain}`;
  return isOurs ? { kind: "service", namespace: given, name, port: checkedPort } : { kind: "foreign" };
}

/** Reads an address and a port. Raises `RegistryError("bad_request")`. */
export function addressQuestion(text: unknown, port: unknown): Question {
  const address = typeof text === "string" ? canonicalAddress(text) : null;
  if (address === null) throw new RegistryError("bad_request", "an IP address is expected");
  return { kind: "address", address, port: readPort(port, 1) };
}

/** Equal for equal questions only. */
export function questionKey(question: Question): string {
  switch (question.kind) {
    case "service":
      return `service ${question.namespace}/${question.name} ${question.port}`;
    case "address":
      return `address ${question.address} ${question.port}`;
    case "foreign":
      return "foreign";
  }
}

function readPort(value: unknown, least: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= least && value <= 65535) return value;
  throw new RegistryError("bad_request", `a port from ${least} to 65535 is expected, got ${String(value).slice(0, 20)}`);
}
