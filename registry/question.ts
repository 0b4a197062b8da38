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
  /** One instance of a service by its own name below it, as the pods of a StatefulSet have: `web-0.web.shop`. */
  | { readonly kind: "member"; readonly namespace: string; readonly name: string; readonly hostname: string; readonly port: number }
  /** A canonical address; a service's virtual one or an instance's. */
  | { readonly kind: "address"; readonly address: string; readonly port: number }
  /** A well-formed host name that can be no service of this mesh. */
  | { readonly kind: "foreign" };

/**
 * Reads "orders", "orders.ns", "orders.ns.svc" or "orders.ns.svc.<cluster domain>"; a bare name is in the caller's `namespace`. With one more name in
 * front of the last three, one instance is meant: "web-0.web.ns". Other host names are `foreign`. Raises `RegistryError("bad_request")` for what is no host name or no port.
 */
export function serviceQuestion(text: unknown, port: unknown, namespace: string, clusterDomain: string): Question {
  if (typeof text !== "string" || text.length === 0 || text.length > MAX_NAME_LENGTH) {
    throw new RegistryError("bad_request", `a service name of 1 to ${MAX_NAME_LENGTH} characters is expected`);
  }
  const checkedPort = readPort(port, 0);
  const host = text.toLowerCase().replace(/\.$/, "");
  const labels = host.split(".");
  if (!labels.every(isDnsLabel)) throw new RegistryError("bad_request", `no service name: ${JSON.stringify(text.slice(0, 80))}`);
  const [first = "", second = namespace, third = ""] = labels;
  if (isDomainOfServices(labels.slice(2), clusterDomain)) return { kind: "service", namespace: second, name: first, port: checkedPort };
  if (isDomainOfServices(labels.slice(3), clusterDomain))
    return { kind: "member", namespace: third, name: second, hostname: first, port: checkedPort };
  return { kind: "foreign" };
}

function isDomainOfServices(labels: readonly string[], clusterDomain: string): boolean {
  const domain = labels.join(".");
  return domain === "" || domain === "svc" || domain === `svc.${clusterDomain}`;
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
    case "member":
      return `member ${question.namespace}/${question.name}/${question.hostname} ${question.port}`;
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
