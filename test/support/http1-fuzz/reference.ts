// What a stream of requests means, and what an answer means, by `reference-head.ts` and `reference-body.ts`.
import { isIPv4, isIPv6, SocketAddress } from "node:net";
import { LIMITS } from "../../../sidecar/http1/strictness.ts";
import { plainAddress } from "../../../sidecar/transport/address.ts";
import { type Body, type Framing, readBody } from "./reference-body.ts";
import { type Field, type Flaws, type FramingSaid, type Head, readFraming, readHead, valuesOf } from "./reference-head.ts";

/** A request whose head breaks no row. */
export interface ReferenceRequest {
  readonly method: string;
  readonly target: string;
  /** Where it goes: the authority of the target, else Host, else empty. */
  readonly authority: string;
  /** The target in origin form; `*` for the server itself, empty for CONNECT. */
  readonly path: string;
  readonly isHttp10: boolean;
  readonly fields: readonly Field[];
  readonly body: Body;
  /** False when the connection ends after its answer. */
  readonly keepsAlive: boolean;
  /** Index after its last byte. */
  readonly end: number;
}

/** A connection's requests, in order. */
export interface ReferenceRequests {
  readonly requests: readonly ReferenceRequest[];
  /**
   * What is behind the last one: `idle` nothing, `begun` a part of a head, `body` its own body that is not whole, `flawed` a head or body that breaks `flaws`,
   * `closed` whatever it is, nobody reads it.
   */
  readonly rest: "idle" | "begun" | "body" | "flawed" | "closed";
  /** Rows that are broken, exactly when `rest` is `flawed`; of the last request's body when that is not whole, else of a head behind it. */
  readonly flaws: Flaws;
}

/** Reads a client's bytes (latin1). */
export function readRequests(text: string): ReferenceRequests {
  const requests: ReferenceRequest[] = [];
  const none: Flaws = new Set();
  let at = 0;
  while (at < text.length) {
    if (text.startsWith("\r\n", at)) return { requests, rest: "flawed", flaws: new Set(["blank_line_before_request"]) };
    const head = readHead(text, at);
    if (head === null) return { requests, rest: "begun", flaws: none };
    const request = judgeRequest(text, head);
    if (head.flaws.size > 0 || request === null) return { requests, rest: "flawed", flaws: head.flaws };
    requests.push(request);
    if (request.body.flaws.size > 0) return { requests, rest: "flawed", flaws: request.body.flaws };
    if (!request.body.isWhole) return { requests, rest: "body", flaws: none };
    if (!request.keepsAlive) return { requests, rest: "closed", flaws: none };
    at = request.end;
  }
  return { requests, rest: "idle", flaws: none };
}

/**
 * The first request of `text` as soon as its head is whole; null before, and when it is flawed. Without the bounds on a head: one that was just within them has
 * become larger by what a hop adds.
 */
export function readOneRequest(text: string): ReferenceRequest | null {
  const head = readHead(text, 0);
  if (head === null) return null;
  head.flaws.delete("too_many_fields");
  head.flaws.delete("head_too_large");
  return judgeRequest(text, head);
}

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]";
const ANY_LINE = new RegExp(`^(${TOKEN}+) ([\\x21-\\x7e]+) (HTTP/[0-9]\\.[0-9])$`);
const LONG_TARGET = new RegExp(`^${TOKEN}+ [\\x21-\\x7e]{${LIMITS.targetBytes + 1}}`);

function judgeRequest(text: string, head: Head): ReferenceRequest | null {
  const { flaws, fields } = head;
  const line = ANY_LINE.exec(head.line);
  if (LONG_TARGET.test(head.line)) flaws.add("target_too_long");
  if (line === null) {
    for (const rule of ["request_line_malformed", "method_invalid", "target_invalid", "http_0_9", "version_malformed"] as const)
      flaws.add(rule);
    // A line without end is given up before anybody knows what else is wrong with it.
    if (head.line.length > LIMITS.targetBytes) flaws.add("target_too_long");
    if (/^[\r\n]/.test(head.line)) flaws.add("blank_line_before_request");
    return null;
  }
  const [, method, target, version] = line as unknown as [string, string, string, string];
  if (method.length > LIMITS.methodBytes) flaws.add("method_invalid");
  const isHttp10 = version === "HTTP/1.0";
  if (!isHttp10 && version !== "HTTP/1.1") flaws.add("version_unknown");
  if (target.includes("#")) flaws.add("target_fragment");
  const said = readFraming(fields, isHttp10, flaws);
  const route = readTarget(method, target, readHost(fields, isHttp10, flaws), said, flaws);
  if (flaws.size > 0) return null;
  const kind = said.isChunked ? "chunked" : said.length === null ? "none" : "length";
  const body = readBody(text, head.end, { kind, length: said.length ?? 0 }, false);
  return { method, target, ...route, isHttp10, fields, body, keepsAlive: keepsAlive(said, isHttp10), end: body.end };
}

function readHost(fields: readonly Field[], isHttp10: boolean, flaws: Flaws): string | null {
  const hosts = valuesOf(fields, "host");
  if (hosts.length > 1) flaws.add("host_repeated");
  if (hosts.length === 0 && !isHttp10) flaws.add("host_missing");
  for (const host of hosts) if (!isAuthority(host)) flaws.add("host_invalid");
  return hosts[0] ?? null;
}

function readTarget(
  method: string,
  target: string,
  host: string | null,
  said: FramingSaid,
  flaws: Flaws,
): { readonly authority: string; readonly path: string } {
  if (method === "CONNECT") {
    if (target.includes("@")) flaws.add("target_userinfo");
    if (!isAuthority(target) || !/:[0-9]+$/.test(target)) flaws.add("target_form");
    if (said.length !== null || said.isChunked) flaws.add("connect_with_content");
    return { authority: target, path: "" };
  }
  if (target.startsWith("/") || (target === "*" && method === "OPTIONS")) return { authority: host ?? "", path: target };
  const absolute = /^(https?):\/\/([^/?]*)(.*)$/i.exec(target);
  if (absolute === null) {
    flaws.add("target_form");
    return { authority: "", path: "" };
  }
  const [, scheme, authority, rest] = absolute as unknown as [string, string, string, string];
  if (authority.includes("@")) flaws.add("target_userinfo");
  if (!isAuthority(authority)) flaws.add("target_form");
  if (host !== null && withPort(host, scheme) !== withPort(authority, scheme)) flaws.add("host_disagrees");
  const path = rest === "" ? (method === "OPTIONS" ? "*" : "/") : rest.startsWith("/") ? rest : `/${rest}`;
  return { authority, path };
}

/** The one form of an authority in which two spellings of it are equal. */
function withPort(authority: string, scheme: string): string {
  const [, host = "", port] = /^(.*?)(?::([0-9]+))?$/.exec(authority.toLowerCase()) as unknown as [string, string, string | undefined];
  const bracketed = /^\[(.*)\]$/.exec(host)?.[1] ?? "";
  const known = isIPv6(bracketed)
    ? plainAddress(new SocketAddress({ address: bracketed, family: "ipv6" }).address)
    : host.replace(/\.$/, "");
  return `${known} ${port === undefined ? (scheme.toLowerCase() === "https" ? 443 : 80) : Number(port)}`;
}

const NAME = /^[A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63})*$/;
/** What is an IPv4 address to resolvers, and must then be one in full. */
const NUMBERS = /^(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+))*$/i;

function isAuthority(text: string): boolean {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9._-]+))(?::([0-9]+))?$/.exec(text);
  if (match === null) return false;
  const [, bracketed, named, port] = match;
  if (port !== undefined && (Number(port) < 1 || Number(port) > 65_535)) return false;
  if (bracketed !== undefined) return isIPv6(bracketed);
  const name = (named ?? "").replace(/\.$/, "");
  return NAME.test(name) && name.length <= 253 && (!NUMBERS.test(name) || isIPv4(name));
}

function keepsAlive(said: FramingSaid, isHttp10: boolean): boolean {
  if (said.connection.includes("close")) return false;
  return !isHttp10 || said.connection.includes("keep-alive");
}

/** What an app said, or a client heard, for one request. */
export interface ReferenceAnswer {
  /** Statuses of the interim answers before it. */
  readonly interim: readonly number[];
  /** Null when no final head came, or it is flawed. */
  readonly head: {
    readonly status: number;
    readonly fields: readonly Field[];
    readonly framing: Framing["kind"];
    readonly keepsAlive: boolean;
  } | null;
  /** Null without a head. */
  readonly body: Body | null;
  /** Rows that are broken by a head, or by the body behind a good one. */
  readonly flaws: Flaws;
  /** Index after its last byte, or after what was read of it. */
  readonly end: number;
}

/** Reads the answer to a request of `method` from the start of `text`. `isEnded`: no further byte will come. */
export function readAnswer(text: string, method: string, isEnded: boolean): ReferenceAnswer {
  const interim: number[] = [];
  let at = 0;
  for (;;) {
    const head = readHead(text, at);
    if (head === null) return { interim, head: null, body: null, flaws: new Set(), end: at };
    const status = judgeStatus(head);
    const isHttp10 = head.line.startsWith("HTTP/1.0 ");
    const said = readFraming(head.fields, isHttp10, head.flaws);
    const isBodiless = status < 200 || status === 204;
    if (isBodiless && (said.isChunked || (said.length ?? 0) > 0)) head.flaws.add("bodiless_with_content");
    if (status === 101) head.flaws.add("switching_not_asked");
    if (head.end > LIMITS.headBytes && interim.length > 0) head.flaws.add("head_too_large");
    if (head.flaws.size > 0) return { interim, head: null, body: null, flaws: head.flaws, end: at };
    if (status < 200) {
      interim.push(status);
      at = head.end;
      continue;
    }
    const framing = framingOfAnswer(method, status, said);
    const body = readBody(text, head.end, framing, isEnded);
    const persists = keepsAlive(said, isHttp10) && framing.kind !== "close";
    return {
      interim,
      head: { status, fields: head.fields, framing: framing.kind, keepsAlive: persists },
      body,
      flaws: body.flaws,
      end: body.end,
    };
  }
}

function judgeStatus(head: Head): number {
  const match = /^HTTP\/1\.[01] ([0-9]{3})(?: [\t\x20-\x7e\x80-\xff]*)?$/.exec(head.line);
  const status = Number(match?.[1] ?? 0);
  if (match !== null && status >= 100 && status <= 599) return status;
  for (const rule of ["status_line_malformed", "status_invalid", "version_unknown"] as const) head.flaws.add(rule);
  return 0;
}

function framingOfAnswer(method: string, status: number, said: FramingSaid): Framing {
  const length = said.length ?? 0;
  if (method === "HEAD" || status === 204 || status === 304 || (method === "CONNECT" && status < 300)) return { kind: "none", length };
  if (said.isChunked) return { kind: "chunked", length };
  return { kind: said.length === null ? "close" : "length", length };
}
