// The kinds of values that annotations hold. Each says in words what it allows, reads a text, and throws nothing: a value outside is null, and the
// caller says which annotation it was. The values are handed on as text, so the grammar here is what keeps a bad one from crashing a sidecar later.
import { DURATION_FORM, parseDurationMs } from "../../core/duration.ts";
import { PERCENTAGE_FORM, parsePercentage } from "../../core/percentage.ts";
import { CALLER_FORMS, formatAccessList, parseAccessList } from "../../core/policy/access-list.ts";
import { readCidr } from "../../core/cidr.ts";
import { readPort } from "../../core/port.ts";
import { parseRateLimits } from "../../core/policy/rate-limit-rules.ts";
import { parseRoutes } from "../../core/policy/route-rules.ts";
import { PORT_PROTOCOLS, type PortProtocol, portProtocol } from "../../core/wire/port-protocol.ts";

/** One kind of value. */
export interface AnnotationType<T> {
  /** A word or two for the kind of value, with its unit. */
  readonly kind: string;
  /** Completes "allowed: …". */
  readonly allowed: string;
  /** The value, or null when `text` is not one. `text` is trimmed and not empty. */
  parse(text: string): T | null;
}

/** Most entries in any list: each is a rule or a lookup somewhere. */
const MAX_ITEMS = 256;

const LABEL = "[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?";
const DNS_LABEL = new RegExp(`^${LABEL}$`);
// REGISTRY[:PORT]/PATH[:TAG][@sha256:HEX], the reference grammar of the OCI distribution specification, without its rarer separators.
const IMAGE =
  /^(?:[A-Za-z0-9.-]+(?::[0-9]{1,5})?\/)?[a-z0-9]+(?:[._/-][a-z0-9]+|__[a-z0-9]+)*(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[a-f0-9]{64})?$/;
const CPU = /^(?:[1-9][0-9]{0,6}m|(?:[1-9][0-9]{0,3})(?:\.[0-9]{1,3})?|0\.(?:[0-9]{1,2})?[1-9])$/;
const MEMORY = /^[1-9][0-9]{0,15}(?:Ki|Mi|Gi|Ti|k|M|G|T)?$/;

/** One of a closed set of words. */
export function choice<const Word extends string>(words: readonly Word[]): AnnotationType<Word> {
  return { kind: words.join("|"), allowed: words.join(", "), parse: (text) => words.find((word) => word === text) ?? null };
}

/** `true` or `false`. */
export const flag: AnnotationType<boolean> = {
  kind: "true or false",
  allowed: "true, false",
  parse: (text) => (text === "true" ? true : text === "false" ? false : null),
};

/** A whole number within bounds, both included. */
export function integer(min: number, max: number): AnnotationType<number> {
  const parse = (text: string) => (/^[0-9]{1,15}$/.test(text) && Number(text) >= min && Number(text) <= max ? Number(text) : null);
  return { kind: "whole number", allowed: `a whole number from ${min} to ${max}`, parse };
}

/** A time with its unit. Handed on as text. */
export const duration: AnnotationType<string> = {
  kind: "time (ms, s, m, h, d)",
  allowed: DURATION_FORM,
  parse: (text) => (succeeds(() => parseDurationMs(text)) ? text : null),
};

/** A time with its unit within bounds, both included and written the same way. Handed on as text. */
export function durationWithin(min: string, max: string): AnnotationType<string> {
  const isWithin = (text: string) => isDurationWithin(text, parseDurationMs(min), parseDurationMs(max));
  return { kind: duration.kind, allowed: `${DURATION_FORM}, from ${min} to ${max}`, parse: (text) => (isWithin(text) ? text : null) };
}

/** A share. Handed on as text. */
export const percentage: AnnotationType<string> = {
  kind: "share (%)",
  allowed: PERCENTAGE_FORM,
  parse: (text) => (succeeds(() => parsePercentage(text)) ? text : null),
};

/** A list of port numbers. */
export const portList: AnnotationType<readonly number[]> = {
  kind: "ports",
  allowed: `up to ${MAX_ITEMS} ports (1 to 65535), separated by commas`,
  parse: (text) => listOf(text, readPort),
};

/** Ports with the protocol spoken there; a bare port means that it is detected. */
export const portProtocols: AnnotationType<ReadonlyMap<number, PortProtocol>> = {
  kind: "ports with protocols",
  allowed: `PORT or PORT=PROTOCOL with PROTOCOL one of ${PORT_PROTOCOLS.join(", ")}, separated by commas, such as 8080=http1,9090=grpc`,
  parse(text) {
    const entries = listOf(text, parsePortProtocol);
    if (entries === null) return null;
    const ports = new Map(entries);
    return ports.size === entries.length ? ports : null; // a port named twice contradicts itself
  },
};

/** Networks, v4 and v6. Handed on as text. */
export const cidrList: AnnotationType<string> = {
  kind: "networks",
  allowed: `up to ${MAX_ITEMS} networks, separated by commas, such as 10.0.0.0/8,fd00::/8`,
  parse: (text) => listOf(text, (item) => ("problem" in readCidr(item) ? null : item))?.join(",") ?? null,
};

/** Who may call. Handed on as text. */
export const accessList: AnnotationType<string> = {
  kind: "callers",
  allowed: `* alone, or a list of ${CALLER_FORMS}, separated by commas`,
  parse(text) {
    const list = attempt(() => parseAccessList(text));
    if (list === null || (list !== "everyone" && list.length > MAX_ITEMS)) return null;
    return formatAccessList(list);
  },
};

/** Rate limit rules (design 10). Handed on as text. */
export const rateLimits: AnnotationType<string> = {
  kind: "rates (per s, m, h, d)",
  allowed:
    "COUNT/UNIT with burst=, per=identity|ip|all, path=, method=, shadow; rules separated by semicolons, such as 100/s burst=200 per=identity; 20/s per=ip",
  parse: (text) => (succeeds(() => parseRateLimits(text)) ? onOneLine(text) : null),
};

/** Routes (design 4). Handed on as text. */
export const routes: AnnotationType<string> = {
  kind: "routes (ms, s, m, h, d)",
  allowed:
    "service=, path=, method=, timeout=, answer-timeout=, idle-timeout=, retry=undelivered|idempotent, attempts=1..10; routes separated by semicolons, such as service=orders path=/shop.Orders/ timeout=2s retry=idempotent; service=pay/* timeout=1s",
  parse: (text) => (succeeds(() => parseRoutes(text)) ? onOneLine(text) : null),
};

/** A container image reference. */
export const image: AnnotationType<string> = {
  kind: "image",
  allowed: "an image reference such as NAME:TAG or NAME@sha256:DIGEST",
  parse: (text) => (text.length <= 512 && IMAGE.test(text) ? text : null),
};

/** An amount of CPU. */
export const cpu: AnnotationType<string> = {
  kind: "CPU (cores, m)",
  allowed: "an amount of CPU above zero, such as 100m or 0.5",
  parse: (text) => (CPU.test(text) ? text : null),
};

/** An amount of memory, in bytes or with a unit. */
export const memory: AnnotationType<string> = {
  kind: "memory (bytes, Ki, Mi, Gi)",
  allowed: "an amount of memory above zero, such as 64Mi",
  parse: (text) => (MEMORY.test(text) ? text : null),
};

/** A DNS label. */
export const label: AnnotationType<string> = {
  kind: "name",
  allowed: "a name of at most 63 lower case letters, digits and hyphens",
  parse: (text) => (DNS_LABEL.test(text) ? text : null),
};

/** What `parse` gives; null where it throws. */
function attempt<T>(parse: () => T): T | null {
  try {
    return parse();
  } catch {
    return null;
  }
}

function succeeds(parse: () => unknown): boolean {
  return attempt(() => [parse()]) !== null;
}

function listOf<T>(text: string, parse: (item: string) => T | null): readonly T[] | null {
  const items = text.split(",");
  if (items.length > MAX_ITEMS) return null;
  const values: T[] = [];
  for (const item of items) {
    const value = parse(item.trim());
    if (value === null) return null;
    values.push(value);
  }
  return values;
}

function parsePortProtocol(text: string): readonly [number, PortProtocol] | null {
  const [port = "", word, ...rest] = text.split("=");
  const number = readPort(port);
  const protocol = word === undefined ? "detect" : portProtocol(word);
  return number === null || protocol === null || rest.length > 0 ? null : [number, protocol];
}

/** The sidecar's settings refuse line breaks. */
function onOneLine(text: string): string {
  return text.replace(/\s+/g, " ");
}

function isDurationWithin(text: string, minMs: number, maxMs: number): boolean {
  return succeeds(() => {
    const ms = parseDurationMs(text);
    if (ms < minMs || ms > maxMs) throw new RangeError(text);
  });
}
