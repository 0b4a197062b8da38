// What a request's header section says (RFC 9113 sections 8.3.1 and 8.5, RFC 8441 section 4): the checks that it is a request at all, and the head as the stages see it.
import { FIELD } from "../../core/field-kind.ts";
import type { RequestHead } from "../exchange.ts";
import { firstOfKind } from "../fields.ts";
import { contentLength } from "../http1/scan.ts";
import { parseAuthority } from "../transport/address.ts";
import type { HeaderList } from "./header-list.ts";

/** The head of a request of HTTP/2. */
export class Http2RequestHead implements RequestHead {
  readonly method: string;
  readonly authority: string;
  readonly path: string;
  readonly isPlainPath: boolean;
  readonly fields: HeaderList;

  /** `list` has passed {@link flawOfRequest}. */
  constructor(list: HeaderList) {
    this.fields = list;
    this.method = (list.method as { value: string }).value; // looked at by `flawOfRequest`
    this.path = list.path === null ? "" : list.path.value;
    this.authority = list.authority === null ? (firstOfKind(list, FIELD.host) ?? "") : list.authority.value;
    this.isPlainPath = isPlainPath(this.path);
  }
}

/** What is wrong with a request's header section; null when nothing is. */
export function flawOfRequest(list: HeaderList): string | null {
  if (list.flaw !== null) return list.flaw;
  const { method, path, scheme } = list;
  if (method === null) return "no :method";
  if (list.status !== null) return ":status in a request";
  if (!isToken(method.value)) return "the :method is no token";
  const isTunnel = method.value === "CONNECT" && list.protocol === null;
  if (isTunnel) {
    if (path !== null || scheme !== null) return "CONNECT with a :path or :scheme";
    if (list.authority === null) return "CONNECT without an :authority";
  } else {
    if (scheme === null || path === null) return "no :scheme or :path";
    if (list.protocol !== null && method.value !== "CONNECT") return ":protocol without CONNECT";
    const flaw = flawOfPath(path.value, method.value);
    if (flaw !== null) return flaw;
  }
  return flawOfAuthority(list) ?? flawOfLength(list);
}

function flawOfPath(path: string, method: string): string | null {
  if (path === "*" && method === "OPTIONS") return null;
  if (path.charCodeAt(0) !== SLASH) return "the :path does not begin with /";
  for (let at = 0; at < path.length; at += 1) {
    const code = path.charCodeAt(at);
    if (code <= SP || code >= DEL || code === HASH) return "the :path has characters that no path has";
  }
  return null;
}

/** One of `:authority` and Host is there, both say the same (RFC 9113 section 8.3.1), and nothing of a user (RFC 9110 section 4.2.4). */
function flawOfAuthority(list: HeaderList): string | null {
  const { authority } = list;
  if (authority !== null && !isAuthority(authority.value)) return "the :authority is none, or has userinfo";
  if ((list.kinds & FIELD.host) === 0) return authority === null ? "no :authority" : null;
  let host: string | null = authority?.value ?? null;
  for (let index = 0; index < list.count; index += 1) {
    if (list.kind(index) !== FIELD.host) continue;
    const value = list.value(index);
    if (!isAuthority(value)) return "host is none, or has userinfo";
    if (host !== null && !isSameAuthority(host, value)) return "host and :authority disagree";
    host = value;
  }
  return null;
}

/** Only characters that a host and its port have (RFC 3986 section 3.2): no app and no proxy behind us can read anything else into it. */
function isAuthority(text: string): boolean {
  for (let at = 0; at < text.length; at += 1) if (AUTHORITY_CODES[text.charCodeAt(at)] !== 1) return false;
  return text !== "";
}

const AUTHORITY_CODES = new Uint8Array(256);
for (const character of "!$%&'()*+,-.:;=[]_~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
  AUTHORITY_CODES[character.charCodeAt(0)] = 1;

function isSameAuthority(a: string, b: string): boolean {
  if (a === b) return true;
  const [one, other] = [parseAuthority(a), parseAuthority(b)];
  return one !== null && other !== null && one.host === other.host && one.port === other.port;
}

function flawOfLength(list: HeaderList): string | null {
  return contentLengthOf(list) === MALFORMED_LENGTH ? "a malformed content-length" : null;
}

/** Of {@link contentLengthOf}: none, and none that can be. */
export const NO_LENGTH = -1;
export const MALFORMED_LENGTH = -2;

/** What Content-Length says: octets, {@link NO_LENGTH} or {@link MALFORMED_LENGTH}. Several are refused even when they agree (RFC 9110 section 8.6). */
export function contentLengthOf(list: HeaderList): number {
  if ((list.kinds & FIELD.contentLength) === 0) return NO_LENGTH;
  let length = NO_LENGTH;
  for (let index = 0; index < list.count; index += 1) {
    if (list.kind(index) !== FIELD.contentLength) continue;
    const found = contentLength(list.value(index));
    if (found === -1 || length !== NO_LENGTH) return MALFORMED_LENGTH;
    length = found;
  }
  return length;
}

const SP = 0x20;
const HASH = 0x23;
const PERCENT = 0x25;
const DOT = 0x2e;
const SLASH = 0x2f;
const QUESTION = 0x3f;
const BACKSLASH = 0x5c;
const DEL = 0x7f;

/** True when a path has nothing in it that its canonical form could have otherwise: no escapes, no dot segments, no double slashes before the query. */
function isPlainPath(path: string): boolean {
  let previous = 0;
  for (let at = 0; at < path.length; at += 1) {
    const code = path.charCodeAt(at);
    if (code === QUESTION) return true;
    if (code === PERCENT || code === BACKSLASH) return false;
    if (previous === SLASH && (code === SLASH || code === DOT)) return false;
    previous = code;
  }
  return path !== "" && path !== "*";
}

function isToken(method: string): boolean {
  if (method === "POST" || method === "GET") return true;
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(method);
}
