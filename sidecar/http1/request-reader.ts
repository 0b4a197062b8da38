// Reads request heads (RFC 9112 sections 2, 3 and 6): the line, the four forms of a target, Host, and the framing. One object per connection, read again
// for each head; the list of fields is made anew, as the exchange keeps it.
//
// HOT PATH: one pass over the line, one over the fields (`scan.ts`), one over the list (`framing.ts`). A Host that is the same as in the connection's
// last request is not examined again.
import type { RequestHead } from "../exchange.ts";
import { parseAuthority } from "../transport/address.ts";
import { BODY, type BodyKind, FramingFields } from "./framing.ts";
import { CHARACTERS, CR, IN_TARGET, IN_TOKEN, LF, readFields, SP } from "./scan.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

const HTTP_1_1 = "HTTP/1.1\r\n";
const HTTP_1_0 = "HTTP/1.0\r\n";
const WELL_FORMED_VERSION = /^HTTP\/\d\.\d\r\n/;
const OFFERS_HTTP2 = /(?:^|[,\s])h2c(?:$|[,\s])/i;
const HASH = 0x23;
const SLASH = 0x2f;
const DEFAULT_PORT = 80;

/** The head of one request. Valid until the next `read`. */
export class RequestReader implements RequestHead {
  method = "";
  authority = "";
  path = "";
  headers: string[] = [];
  isHttp10 = false;
  readonly framing = new FramingFields();
  #knownHost = "";

  get bodyKind(): BodyKind {
    if (this.framing.isChunked) return BODY.chunked;
    return this.framing.length > 0 ? BODY.length : BODY.none;
  }

  /** True when the client keeps the connection for another request (RFC 9112 section 9.3). */
  get isPersistent(): boolean {
    return this.isHttp10 ? this.framing.keepAlive && !this.framing.close : !this.framing.close;
  }

  /** The protocols that it offers to switch to; empty for none. HTTP/2 (RFC 7540's h2c) is ignored, as RFC 9113 section 3.1 asks. */
  get upgradeTo(): string {
    const { upgrade, upgradeTo } = this.framing;
    return upgrade && upgradeTo !== "" && !this.isHttp10 && !OFFERS_HTTP2.test(upgradeTo) ? upgradeTo : "";
  }

  /** True when repeating the request changes nothing (RFC 9110 section 9.2.2). */
  get isIdempotent(): boolean {
    switch (this.method) {
      case "GET":
      case "HEAD":
      case "OPTIONS":
      case "TRACE":
      case "PUT":
      case "DELETE":
        return true;
      default:
        return false;
    }
  }

  /** Reads text[0..end), a whole head with its empty line. Returns the first flaw, or null. */
  read(text: string, end: number): StrictnessRule | null {
    let index = 0;
    while ((CHARACTERS[text.charCodeAt(index)] as number) & IN_TOKEN) index += 1;
    if (text.charCodeAt(index) !== SP || index === 0 || index > LIMITS.methodBytes) return flawOfMethod(text, index);
    this.method = text.slice(0, index);
    const targetAt = index + 1;
    index = targetAt;
    let hasFragment = false;
    for (let code = text.charCodeAt(index); (CHARACTERS[code] as number) & IN_TARGET; code = text.charCodeAt(++index)) {
      if (code === HASH) hasFragment = true;
    }
    if (index - targetAt > LIMITS.targetBytes) return "target_too_long";
    if (text.charCodeAt(index) !== SP) return flawOfTarget(text, targetAt, index);
    if (index === targetAt) return "request_line_malformed";
    const versionAt = index + 1;
    this.isHttp10 = false;
    if (!text.startsWith(HTTP_1_1, versionAt)) {
      if (!text.startsWith(HTTP_1_0, versionAt)) return flawOfVersion(text, versionAt);
      this.isHttp10 = true;
    }
    if (hasFragment) return "target_fragment";
    this.headers = [];
    const flaw = readFields(text, versionAt + HTTP_1_1.length, end - 2, this.headers) ?? this.framing.read(this.headers, this.isHttp10);
    return flaw ?? this.#readTarget(text.slice(targetAt, index));
  }

  /** Tells the four forms of a target apart (RFC 9112 section 3.2). */
  #readTarget(target: string): StrictnessRule | null {
    const { host } = this.framing;
    if (host === null && !this.isHttp10) return "host_missing";
    if (host !== null && host !== this.#knownHost) {
      if (parseAuthority(host) === null) return "host_invalid";
      this.#knownHost = host;
    }
    if (this.method === "CONNECT") return this.#readConnect(target);
    if (target.charCodeAt(0) === SLASH) {
      this.authority = host ?? "";
      this.path = target;
      return null;
    }
    if (target === "*" && this.method === "OPTIONS") {
      this.authority = host ?? "";
      this.path = target;
      return null;
    }
    return this.#readAbsolute(target, host);
  }

  /** `host:port`, both needed (RFC 9110 section 9.3.6). */
  #readConnect(target: string): StrictnessRule | null {
    if (target.includes("@")) return "target_userinfo";
    const asked = parseAuthority(target);
    if (asked === null || asked.port === 0) return "target_form";
    if (this.framing.isChunked || this.framing.length !== -1) return "connect_with_content";
    this.authority = target;
    this.path = "";
    return null;
  }

  /** `http://authority/path`: its authority stands for Host, and must be the same (RFC 9112 section 3.2.2). */
  #readAbsolute(target: string, host: string | null): StrictnessRule | null {
    const scheme = target.slice(0, 8).toLowerCase();
    const from = scheme.startsWith("http://") ? 7 : scheme === "https://" ? 8 : 0;
    if (from === 0) return "target_form";
    let to = from;
    while (to < target.length && target[to] !== "/" && target[to] !== "?") to += 1;
    const authority = target.slice(from, to);
    if (authority.includes("@")) return "target_userinfo";
    const asked = parseAuthority(authority);
    if (asked === null) return "target_form";
    if (host !== null) {
      const named = parseAuthority(host);
      const defaultPort = from === 7 ? DEFAULT_PORT : 443;
      if (named === null || named.host !== asked.host || (named.port || defaultPort) !== (asked.port || defaultPort))
        return "host_disagrees";
    }
    this.authority = authority;
    const rest = target.slice(to);
    // RFC 9112 section 3.2.4: the server itself is asked for by `*`.
    if (rest === "") this.path = this.method === "OPTIONS" ? "*" : "/";
    else this.path = rest.startsWith("/") ? rest : `/${rest}`;
    return null;
  }
}

function flawOfMethod(text: string, index: number): StrictnessRule {
  const code = text.charCodeAt(index);
  if (index === 0 && (code === LF || code === CR)) return "blank_line_before_request";
  if (index > LIMITS.methodBytes) return "method_invalid";
  if (code === LF) return "bare_lf";
  if (code === CR) return "request_line_malformed";
  return "method_invalid";
}

function flawOfTarget(text: string, targetAt: number, index: number): StrictnessRule {
  const code = text.charCodeAt(index);
  if (code === LF) return "bare_lf";
  if (code !== CR) return "target_invalid";
  if (text.charCodeAt(index + 1) !== LF) return "bare_cr";
  return index === targetAt ? "request_line_malformed" : "http_0_9";
}

function flawOfVersion(text: string, versionAt: number): StrictnessRule {
  const lineEnd = text.indexOf("\n", versionAt);
  const rest = text.slice(versionAt, lineEnd + 1);
  if (WELL_FORMED_VERSION.test(rest)) return "version_unknown";
  if (/^HTTP\/\d\.\d\n/.test(rest)) return "bare_lf";
  return rest.includes(" ") ? "request_line_malformed" : "version_malformed";
}
