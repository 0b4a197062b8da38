// Reads request heads (RFC 9112 sections 2, 3 and 6): the line, the four forms of a target, Host, and the framing; and keeps the head for as long as its
// exchange lasts. Readers are lent to connections: an idle connection has none.
//
// HOT PATH: one pass over the bytes. The path becomes a text only when somebody asks for it.
import type { RequestHead } from "../exchange.ts";
import type { HeadEdit } from "../fields.ts";
import { parseAuthority } from "../transport/address.ts";
import { putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import { FIELD } from "../../core/field-kind.ts";
import { BODY, type BodyKind, FramingFields } from "./framing.ts";
import { HeadFields } from "./head-fields.ts";
import { HeadStore, hasEndOfHead } from "./head-store.ts";
import { absoluteTarget, connectTarget } from "./request-target.ts";
import { CHARACTERS, CR, flawOfUnfinished, IN_TARGET, IN_TOKEN, LF, SP } from "./scan.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

const VERSION = Buffer.from("HTTP/1.", "latin1");
const GET = Buffer.from("GET", "latin1");
const PUT = Buffer.from("PUT", "latin1");
const POST = Buffer.from("POST", "latin1");
const HEAD = Buffer.from("HEAD", "latin1");
const WELL_FORMED_VERSION = /^HTTP\/\d\.\d\r\n/;
const OFFERS_HTTP2 = /(?:^|[,\s])h2c(?:$|[,\s])/i;
const DIGIT_0 = 0x30;
const DIGIT_1 = 0x31;
const HASH = 0x23;
const PERCENT = 0x25;
const DOT = 0x2e;
const SLASH = 0x2f;
const QUESTION = 0x3f;
const BACKSLASH = 0x5c;
const ASTERISK = 0x2a;

/** How a request leaves. */
export interface RequestHop {
  /** Target in the form it leaves in; null to leave it as it came. */
  readonly target: string | null;
  /** Host where it is not the one that came; null to leave that. */
  readonly host: string | null;
  /** Protocol to switch to; empty for none. */
  readonly upgradeTo: string;
  /** False when the client's Expect was met here already. */
  readonly expects: boolean;
}

/** The head of one request. */
export class RequestReader implements RequestHead {
  method = "";
  authority = "";
  isPlainPath = false;
  isHttp10 = false;
  readonly fields = new HeadFields();
  readonly framing = new FramingFields(true);
  /** What was wrong, set exactly when {@link read} returned -1. */
  flaw: StrictnessRule | null = null;
  #maxBytes: number = LIMITS.headBytes;
  readonly #store = new HeadStore();
  #path: string | null = null;
  #targetAt = 0;
  #targetEnd = 0;
  /** True when the line can be forwarded as it came: HTTP/1.1 and a target in origin or asterisk form. */
  #isLinePlain = false;
  /** A Host that was examined before; null for none. */
  #knownHost: string | null = null;

  /** Reads heads of a mesh peer, whose sidecar may have added to them, or of anybody else. */
  set isFromMesh(isFromMesh: boolean) {
    this.#maxBytes = isFromMesh ? LIMITS.headBytes + LIMITS.addedBytes : LIMITS.headBytes;
    this.fields.maxFields = isFromMesh ? LIMITS.fields + LIMITS.addedFields : LIMITS.fields;
  }

  /** Worth keeping for another request. */
  get isReusable(): boolean {
    return !this.#store.isLarge;
  }

  /** Forgets the head. */
  clear(): void {
    this.#store.length = 0;
    this.#path = null;
    this.fields.clear();
  }

  get path(): string {
    this.#path ??= this.#store.bytes.toString("latin1", this.#targetAt, this.#targetEnd);
    return this.#path;
  }

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

  /** Takes bytes[start..end). Returns the index behind the head when it is whole, `end + 1` when more must come, -1 with `flaw` when it can't become one. */
  read(bytes: Buffer, start: number, end: number): number {
    if (this.#store.length > 0) return this.#readOn(bytes, start, end);
    const next = this.#readHead(bytes, start, end);
    if (next === -1) return -1;
    if (next > end) return this.#wait(bytes, start, end);
    this.#store.add(bytes, start, next);
    this.fields.moveTo(this.#store.bytes, start);
    this.#targetAt -= start;
    this.#targetEnd -= start;
    return next;
  }

  /** Goes on with a head that came in parts: read again as a whole when its end has come, and not for each part. */
  #readOn(bytes: Buffer, start: number, end: number): number {
    const store = this.#store;
    const had = store.length;
    store.add(bytes, start, end);
    if (!hasEndOfHead(store, had)) return this.#checkUnfinished(had, end);
    const next = this.#readHead(store.bytes, 0, store.length);
    if (next === -1 || next > store.length) return -1;
    store.length = next;
    return start + next - had;
  }

  #wait(bytes: Buffer, start: number, end: number): number {
    this.#store.add(bytes, start, end);
    return this.#checkUnfinished(0, end);
  }

  #checkUnfinished(from: number, end: number): number {
    const { bytes, length } = this.#store;
    this.flaw = flawOfUnfinishedLine(bytes, length) ?? flawOfUnfinished(bytes, 0, from, length, this.#maxBytes);
    return this.flaw === null ? end + 1 : -1;
  }

  #readHead(bytes: Buffer, start: number, end: number): number {
    const fieldsAt = this.#readLine(bytes, start, end);
    if (fieldsAt === -1 || fieldsAt > end) return fieldsAt;
    const next = this.fields.read(bytes, fieldsAt, end);
    if (next === -1) this.flaw = this.fields.flaw;
    if (next === -1 || next > end) return next;
    if (next - start > this.#maxBytes) return this.#fail("head_too_large");
    const flaw = this.framing.read(this.fields, this.isHttp10) ?? this.#readTarget(bytes);
    return flaw === null ? next : this.#fail(flaw);
  }

  #readLine(bytes: Buffer, start: number, end: number): number {
    let at = start;
    while (at < end && ((CHARACTERS[bytes[at] as number] as number) & IN_TOKEN) !== 0) at += 1;
    if (at - start > LIMITS.methodBytes) return this.#fail("method_invalid");
    if (at === end) return end + 1;
    if (bytes[at] !== SP || at === start) return this.#failMethod(bytes, start, at, end);
    this.method = methodOf(bytes, start, at);
    at = this.#scanTarget(bytes, at + 1, end);
    if (at - this.#targetAt > LIMITS.targetBytes) return this.#fail("target_too_long");
    if (at === end) return end + 1;
    if (bytes[at] !== SP) return this.#failTarget(bytes, at, end);
    if (at === this.#targetAt) return this.#fail("request_line_malformed");
    return this.#readVersion(bytes, at + 1, end);
  }

  /** Finds the end of the target, and sees whether its path can be anything but canonical. */
  #scanTarget(bytes: Buffer, targetAt: number, end: number): number {
    let at = targetAt;
    let previous = 0;
    let isPlain = true;
    let inQuery = false;
    for (; at < end; at += 1) {
      const byte = bytes[at] as number;
      if (((CHARACTERS[byte] as number) & IN_TARGET) === 0) break;
      if (byte > SLASH) {
        if (byte === QUESTION) inQuery = true;
        else if (byte === BACKSLASH && !inQuery) isPlain = false;
      } else if (byte === HASH || (!inQuery && (byte === PERCENT || (previous === SLASH && byte >= DOT)))) isPlain = false;
      previous = byte;
    }
    this.#targetAt = targetAt;
    this.#targetEnd = at;
    this.isPlainPath = isPlain;
    return at;
  }

  #readVersion(bytes: Buffer, at: number, end: number): number {
    const next = at + VERSION.length + 3;
    if (next > end) return this.#failShortVersion(bytes, at, end);
    const minor = bytes[at + VERSION.length];
    const isKnown = minor === DIGIT_1 || minor === DIGIT_0;
    if (!isKnown || !startsWith(bytes, at, VERSION) || bytes[next - 2] !== CR || bytes[next - 1] !== LF)
      return this.#failVersion(bytes, at, end);
    this.isHttp10 = minor === DIGIT_0;
    return next;
  }

  /** Tells the four forms of a target apart (RFC 9112 section 3.2). */
  #readTarget(bytes: Buffer): StrictnessRule | null {
    const { host } = this.framing;
    if (!this.isPlainPath && bytes.subarray(this.#targetAt, this.#targetEnd).includes(HASH)) return "target_fragment";
    if (host === null && !this.isHttp10) return "host_missing";
    if (host !== null && host !== this.#knownHost) {
      if (parseAuthority(host) === null) return "host_invalid";
      this.#knownHost = host;
    }
    this.authority = host ?? "";
    this.#path = null;
    const first = bytes[this.#targetAt];
    const isAsterisk = first === ASTERISK && this.#targetEnd === this.#targetAt + 1;
    this.#isLinePlain = !this.isHttp10;
    if (this.method !== "CONNECT" && (first === SLASH || (isAsterisk && this.method === "OPTIONS"))) return null;
    this.#isLinePlain = false;
    this.isPlainPath = false;
    const isConnect = this.method === "CONNECT";
    const text = bytes.toString("latin1", this.#targetAt, this.#targetEnd);
    const target = isConnect ? connectTarget(text) : absoluteTarget(text, host, this.method);
    if (typeof target === "string") return target;
    if (isConnect && (this.framing.isChunked || this.framing.length !== -1)) return "connect_with_content";
    this.authority = target.authority;
    this.#path = target.path;
    return null;
  }

  /** Writes the head as it leaves: as bytes where nothing is to be changed. The empty line is part of it. */
  put(wire: Wire, edit: HeadEdit, hop: RequestHop): void {
    let strip = hop.upgradeTo === "" ? FIELD.upgrade : 0;
    let added = "";
    if (!hop.expects) strip |= FIELD.expect;
    if (hop.host !== null || this.authority !== this.framing.host) {
      strip |= FIELD.host;
      added = `host: ${hop.host ?? this.authority}\r\n`;
    }
    if (!this.framing.isPlain) {
      strip |= FIELD.contentLength | FIELD.transferEncoding;
      added += this.framing.isChunked ? "transfer-encoding: chunked\r\n" : `content-length: ${this.framing.length}\r\n`;
    }
    if (hop.upgradeTo !== "") added += "connection: upgrade\r\n";
    const isLineKept = this.#isLinePlain && hop.target === null;
    if (!isLineKept) putText(wire, `${this.method} ${hop.target ?? this.path} HTTP/1.1\r\n`);
    this.fields.put(wire, isLineKept ? 0 : this.fields.startsAt, edit, strip, added);
  }

  #fail(flaw: StrictnessRule): -1 {
    this.flaw = flaw;
    return -1;
  }

  #failMethod(bytes: Buffer, start: number, at: number, end: number): number {
    const byte = bytes[at];
    if (byte === CR && at + 1 === end) return end + 1;
    if (at === start && (byte === LF || (byte === CR && bytes[at + 1] === LF))) return this.#fail("blank_line_before_request");
    if (byte === LF) return this.#fail("bare_lf");
    if (byte === CR) return this.#fail(bytes[at + 1] === LF ? "request_line_malformed" : "bare_cr");
    return this.#fail("method_invalid");
  }

  #failTarget(bytes: Buffer, at: number, end: number): number {
    const byte = bytes[at];
    if (byte === LF) return this.#fail("bare_lf");
    if (byte !== CR) return this.#fail("target_invalid");
    if (at + 1 === end) return end + 1;
    if (bytes[at + 1] !== LF) return this.#fail("bare_cr");
    return this.#fail(at === this.#targetAt ? "request_line_malformed" : "http_0_9");
  }

  /** Fewer bytes than a version and a line end have: more may come, unless the line is over. */
  #failShortVersion(bytes: Buffer, at: number, end: number): number {
    return bytes.subarray(at, end).includes(LF) ? this.#failVersion(bytes, at, end) : end + 1;
  }

  #failVersion(bytes: Buffer, at: number, end: number): -1 | number {
    const lineEnd = bytes.indexOf(LF, at);
    if (lineEnd === -1 || lineEnd >= end) return end + 1;
    const rest = bytes.toString("latin1", at, lineEnd + 1);
    if (WELL_FORMED_VERSION.test(rest)) return this.#fail("version_unknown");
    if (/^HTTP\/\d\.\d\n/.test(rest)) return this.#fail("bare_lf");
    return this.#fail(rest.includes(" ") ? "request_line_malformed" : "version_malformed");
  }
}

function startsWith(bytes: Buffer, at: number, text: Buffer): boolean {
  for (let index = 0; index < text.length; index += 1) if (bytes[at + index] !== text[index]) return false;
  return true;
}

/** What is wrong already with a request line that has not ended. */
function flawOfUnfinishedLine(bytes: Buffer, length: number): StrictnessRule | null {
  if (length >= 2 && bytes[0] === CR && bytes[1] === LF) return "blank_line_before_request";
  const isTooLong = length > LIMITS.methodBytes + LIMITS.targetBytes + 16 && !bytes.subarray(0, length).includes(LF);
  return isTooLong ? "target_too_long" : null;
}

/** The usual methods, as texts that exist already. */
function methodOf(bytes: Buffer, start: number, end: number): string {
  switch (end - start) {
    case 3:
      return startsWith(bytes, start, GET) ? "GET" : startsWith(bytes, start, PUT) ? "PUT" : textOf(bytes, start, end);
    case 4:
      return startsWith(bytes, start, POST) ? "POST" : startsWith(bytes, start, HEAD) ? "HEAD" : textOf(bytes, start, end);
    default:
      return textOf(bytes, start, end);
  }
}

function textOf(bytes: Buffer, start: number, end: number): string {
  return bytes.toString("latin1", start, end);
}
