// The signature base of HTTP Message Signatures (RFC 9421 2.5), for any covered components. The profile prints its base by itself, faster
// (`profile.ts`); this is the plain form that it must equal, and what the RFC's own examples are checked with.
import { type BareItem, formatInnerList, formatItem, type Item, type Parameters } from "./structured-fields.ts";

/** A request or a response to be signed. */
export type SignedMessage = SignedRequest | SignedResponse;

/** A request. */
export interface SignedRequest {
  readonly kind: "request";
  readonly method: string;
  readonly scheme: "http" | "https";
  /** As in `Host` or `:authority`. */
  readonly authority: string;
  /** Origin-form: path and query. */
  readonly target: string;
  /** Flat raw list. */
  readonly headers: readonly string[];
}

/** A response. */
export interface SignedResponse {
  readonly kind: "response";
  readonly status: number;
  readonly headers: readonly string[];
}

/** A covered component: a lower-case field name or a derived one (`@…`). */
export interface Component {
  readonly name: string;
  readonly parameters: Parameters;
}

/** A component without parameters. */
export function component(name: string, parameters: Parameters = []): Component {
  return { name, parameters };
}

/** What is signed, and what `Signature-Input` says of it. */
export interface SignatureBase {
  /** The bytes to sign, ASCII. */
  readonly base: string;
  /** The inner list with its parameters: the value of the label in `Signature-Input`. */
  readonly signatureParams: string;
}

/**
 * Builds the base.
 * @throws RangeError when a component is covered twice, is unknown, is missing from the message, or would break into two lines.
 */
export function signatureBase(message: SignedMessage, components: readonly Component[], parameters: Parameters): SignatureBase {
  const lines: string[] = [];
  const seen = new Set<string>();
  const items: Item[] = [];
  for (const { name, parameters: own } of components) {
    const item = { value: name, parameters: own };
    const identifier = formatItem(item);
    if (seen.has(identifier)) throw new RangeError(`covered twice: ${identifier}`);
    seen.add(identifier);
    const value = name.startsWith("@") ? derivedValue(message, name, own) : fieldValue(message.headers, name, own);
    if (value.includes("\n")) throw new RangeError(`a line break in ${identifier}`);
    items.push(item);
    lines.push(`${identifier}: ${value}`);
  }
  const signatureParams = formatInnerList(items, parameters);
  lines.push(`"@signature-params": ${signatureParams}`);
  return { base: lines.join("\n"), signatureParams };
}

/** `@authority` (RFC 9421 2.2.3): lower case, without the scheme's default port. */
export function canonicalAuthority(authority: string, scheme: "http" | "https"): string {
  const lower = authority.toLowerCase();
  const defaultPort = scheme === "http" ? ":80" : ":443";
  return lower.endsWith(defaultPort) ? lower.slice(0, -defaultPort.length) : lower;
}

/** All values of a field, trimmed and joined (RFC 9421 2.1). */
function fieldValue(headers: readonly string[], name: string, parameters: Parameters): string {
  if (parameters.length > 0) throw new RangeError(`parameters of the field ${name} are not supported`);
  const values: string[] = [];
  for (let index = 0; index + 1 < headers.length; index += 2) {
    if ((headers[index] as string).toLowerCase() === name) values.push((headers[index + 1] as string).trim());
  }
  if (values.length === 0) throw new RangeError(`the message has no field ${name}`);
  return values.join(", ");
}

function derivedValue(message: SignedMessage, name: string, parameters: Parameters): string {
  if (message.kind === "response") {
    if (name === "@status") return String(message.status);
    throw new RangeError(`a response has no ${name}`);
  }
  const { method, scheme, target } = message;
  const authority = canonicalAuthority(message.authority, scheme);
  const queryAt = target.indexOf("?");
  const path = (queryAt < 0 ? target : target.slice(0, queryAt)) || "/";
  const query = queryAt < 0 ? "?" : target.slice(queryAt);
  switch (name) {
    case "@method":
      return method;
    case "@scheme":
      return scheme;
    case "@authority":
      return authority;
    case "@target-uri":
      return `${scheme}://${authority}${target}`;
    case "@request-target":
      return target;
    case "@path":
      return path;
    case "@query":
      return query;
    case "@query-param":
      return queryParameter(query, parameters);
    default:
      throw new RangeError(`unknown component ${name}`);
  }
}

/** `@query-param` (RFC 9421 2.2.8): the one value of that name, percent-encoded again. */
function queryParameter(query: string, parameters: Parameters): string {
  const name: BareItem | undefined = parameters.find(([key]) => key === "name")?.[1];
  const values = new URLSearchParams(query).getAll(typeof name === "string" ? decodeURIComponent(name) : "");
  if (values.length !== 1) throw new RangeError(`the query has ${values.length} values of that name, one is needed`);
  return encodeURIComponent(values[0] ?? "");
}
