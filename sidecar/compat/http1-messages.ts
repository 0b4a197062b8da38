// Heads of HTTP/1.1 between node:http and the stages: what was read as the stages see it, what they decided as http-proxy sends it, and what node:http lets pass but two
// readers could understand in two ways.
import { type IncomingMessage, validateHeaderName, validateHeaderValue } from "node:http";
import { type Exchange, type Refusal, type RequestHead, refuse } from "../exchange.ts";
import { editedFields, FlatFields } from "../fields.ts";
import { headerObject } from "./flat-headers.ts";

const ABSOLUTE_FORM = /^https?:\/\/([^/?#]+)(.*)$/i;

/** Method, authority and path of a request; an absolute-form target wins over Host (RFC 9112 section 3.2.2). */
export function headOf(request: IncomingMessage): RequestHead {
  const target = request.url ?? "/";
  const absolute = ABSOLUTE_FORM.exec(target);
  const method = request.method ?? "GET";
  const fields = new FlatFields(request.rawHeaders);
  if (absolute === null) return { method, authority: request.headers.host ?? "", path: target, isPlainPath: false, fields };
  const [, authority, rest] = absolute as unknown as [string, string, string];
  return { method, authority, path: rest.startsWith("/") ? rest : `/${rest}`, isPlainPath: false, fields };
}

/** What http-proxy sends on. The framing is as the request came: hygiene has taken `transfer-encoding` off. */
export function outgoingHeaders(request: IncomingMessage, exchange: Exchange): Record<string, string | string[]> {
  const headers = headerObject(editedFields(exchange.head.fields, exchange.edit));
  // An HTTP/1.0 client need not name a host; the app's side is HTTP/1.1 and must be told one.
  headers.host = exchange.authority === "" ? exchange.endpointAddress : exchange.authority;
  // Both were between the client and us: the one is answered, and what is not switched is not offered on.
  delete headers["expect"];
  delete headers["upgrade"];
  delete headers["trailer"]; // node:http throws at it, into nobody's hands, where the body is not chunked; trailers need no announcement
  if (request.headers["transfer-encoding"] !== undefined) headers["transfer-encoding"] = "chunked";
  return headers;
}

/** True for a request that may be sent twice. */
export function isBodiless(request: IncomingMessage): boolean {
  const { method } = request;
  const safe = method === "GET" || method === "HEAD" || method === "OPTIONS" || method === "TRACE";
  return safe && !hasBody(request);
}

/** True when a body is announced. */
export function hasBody({ headers }: IncomingMessage): boolean {
  return headers["transfer-encoding"] !== undefined || (headers["content-length"] ?? "0") !== "0";
}

/** The refusal of an authority that hides the real host and leaks passwords. */
export const USERINFO = refuse("bad_request", "userinfo in the authority (RFC 9110 section 4.2.4)");

/** What node:http lets pass and two readers could understand in two ways; null when there is none. Details never quote what may be a password. */
export function flawOf(request: IncomingMessage): Refusal | null {
  let hosts = 0;
  for (let index = 0; index < request.rawHeaders.length; index += 2) {
    if ((request.rawHeaders[index] as string).toLowerCase() === "host") hosts += 1;
  }
  if (hosts > 1) return refuse("bad_request", "more than one Host (RFC 9112 section 3.2)");
  const coding = request.headers["transfer-encoding"];
  if (coding !== undefined && coding.toLowerCase() !== "chunked") return refuse("bad_request", "a transfer coding other than chunked");
  const authority = ABSOLUTE_FORM.exec(request.url ?? "")?.[1] ?? "";
  return authority.includes("@") || request.headers.host?.includes("@") ? USERINFO : null;
}

/** True when node:http can send the head of this answer on: its client reads more than its server writes. */
export function isSendable(answered: IncomingMessage): boolean {
  if ((answered.statusCode ?? 0) < 200 || !isSendableField("reason-phrase", answered.statusMessage ?? "")) return false;
  return sendableOnly(answered.rawHeaders).length === answered.rawHeaders.length;
}

/** The fields of a flat list that node:http would write. */
export function sendableOnly(fields: readonly string[]): string[] {
  const sendable: string[] = [];
  for (let index = 0; index < fields.length; index += 2) {
    const name = fields[index] as string;
    const value = fields[index + 1] as string;
    if (isSendableField(name, value)) sendable.push(name, value);
  }
  return sendable;
}

function isSendableField(name: string, value: string): boolean {
  try {
    validateHeaderName(name);
    validateHeaderValue(name, value);
    return true;
  } catch {
    return false;
  }
}
