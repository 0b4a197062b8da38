// Reads the heads of answers (RFC 9112 sections 4 and 6) and says how the body that follows is framed. A head is dealt with in the event in which its end
// comes, so it is copied only when it comes in parts.
//
// HOT PATH: as in `request-reader.ts`.
import { FIELD } from "../../core/field-kind.ts";
import type { HeadEdit } from "../fields.ts";
import { putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import { BODY, type BodyKind, FramingFields } from "./framing.ts";
import { HeadFields } from "./head-fields.ts";
import { HeadStore, hasEndOfHead } from "./head-store.ts";
import { CR, endOfValue, flawOfUnfinished, LF, SP } from "./scan.ts";
import { LIMITS, type StrictnessRule } from "./strictness.ts";

const VERSION = Buffer.from("HTTP/1.", "latin1");
/** Bytes up to and with the status code: `HTTP/1.1 200`. */
const UP_TO_STATUS = 12;
const DIGIT_0 = 0x30;
const DIGIT_1 = 0x31;

/** How an answer leaves. */
export interface AnswerHop {
  /** Kinds of framing fields that do not leave as they came, and the lines that stand for them. */
  readonly strip: number;
  readonly lines: string;
}

/** The head of one answer. Valid during the event in which it was read. */
export class AnswerReader {
  status = 0;
  isHttp10 = false;
  readonly fields = new HeadFields();
  readonly framing = new FramingFields(false);
  /** What was wrong, set exactly when {@link read} returned -1. */
  flaw: StrictnessRule | null = null;
  #maxBytes: number = LIMITS.headBytes;
  /** A head that comes in parts; null until there is one. */
  #store: HeadStore | null = null;
  #bytes: Buffer = VERSION;
  #lineAt = 0;
  #reasonAt = 0;
  #reasonEnd = 0;

  /** Reads heads of a mesh peer, whose sidecar may have added to them, or of anybody else. */
  set isFromMesh(isFromMesh: boolean) {
    this.#maxBytes = isFromMesh ? LIMITS.headBytes + LIMITS.addedBytes : LIMITS.headBytes;
    this.fields.maxFields = isFromMesh ? LIMITS.fields + LIMITS.addedFields : LIMITS.fields;
  }

  /** Forgets a part of a head. */
  clear(): void {
    this.#store = null;
  }

  /** Interim, or without content by its status or its request's method (RFC 9112 section 6.3). */
  bodyKind(method: string): BodyKind {
    if (method === "HEAD" || this.status < 200 || this.status === 204 || this.status === 304) return BODY.none;
    if (method === "CONNECT" && this.status < 300) return BODY.none;
    if (this.framing.isChunked) return BODY.chunked;
    if (this.framing.length === -1) return BODY.untilClose;
    return this.framing.length === 0 ? BODY.none : BODY.length;
  }

  /** True when the upstream keeps the connection for another request. */
  get isPersistent(): boolean {
    return this.isHttp10 ? this.framing.keepAlive && !this.framing.close : !this.framing.close;
  }

  /** Takes bytes[start..end). Returns the index behind the head when it is whole, `end + 1` when more must come, -1 with `flaw` when it can't become one. */
  read(bytes: Buffer, start: number, end: number): number {
    if (this.#store !== null) return this.#readOn(this.#store, bytes, start, end);
    const next = this.#readHead(bytes, start, end);
    if (next <= end) return next;
    this.#store = new HeadStore();
    this.#store.add(bytes, start, end);
    return this.#checkUnfinished(this.#store, 0, end);
  }

  #readOn(store: HeadStore, bytes: Buffer, start: number, end: number): number {
    const had = store.length;
    store.add(bytes, start, end);
    if (!hasEndOfHead(store, had)) return this.#checkUnfinished(store, had, end);
    const next = this.#readHead(store.bytes, 0, store.length);
    this.#store = null;
    return next === -1 || next > store.length ? -1 : start + next - had;
  }

  #checkUnfinished(store: HeadStore, from: number, end: number): number {
    this.flaw = flawOfUnfinished(store.bytes, 0, from, store.length, this.#maxBytes);
    return this.flaw === null ? end + 1 : -1;
  }

  #readHead(bytes: Buffer, start: number, end: number): number {
    this.#bytes = bytes;
    this.#lineAt = start;
    const fieldsAt = this.#readLine(bytes, start, end);
    if (fieldsAt === -1 || fieldsAt > end) return fieldsAt;
    const next = this.fields.read(bytes, fieldsAt, end);
    if (next === -1) this.flaw = this.fields.flaw;
    if (next === -1 || next > end) return next;
    if (next - start > this.#maxBytes) return this.#fail("head_too_large");
    const flaw = this.framing.read(this.fields, this.isHttp10) ?? this.#flawOfContent();
    return flaw === null ? next : this.#fail(flaw);
  }

  #flawOfContent(): StrictnessRule | null {
    const isBodiless = this.status < 200 || this.status === 204;
    return isBodiless && (this.framing.isChunked || this.framing.length > 0) ? "bodiless_with_content" : null;
  }

  #readLine(bytes: Buffer, start: number, end: number): number {
    if (end - start <= UP_TO_STATUS) return this.#readShort(bytes, start, end);
    if (!beginsWithVersion(bytes, start, end))
      return this.#fail(/^HTTP\/\d\.\d /.test(textOf(bytes, start)) ? "version_unknown" : "status_line_malformed");
    this.isHttp10 = bytes[start + VERSION.length] === DIGIT_0;
    const status = digit(bytes, start + 9) * 100 + digit(bytes, start + 10) * 10 + digit(bytes, start + 11);
    if (!(status >= 100 && status <= 599)) return this.#fail("status_invalid");
    this.status = status;
    let at = start + UP_TO_STATUS;
    // The space before an empty reason is often left out; nothing depends on it.
    if (bytes[at] === SP) at += 1;
    else if (bytes[at] !== CR) return this.#fail(bytes[at] === LF ? "bare_lf" : "status_invalid");
    this.#reasonAt = at;
    at = endOfValue(bytes, at, end);
    this.#reasonEnd = at;
    if (at === end || (bytes[at] === CR && at + 1 === end)) return end + 1;
    if (bytes[at] !== CR) return this.#fail(bytes[at] === LF ? "bare_lf" : "status_line_malformed");
    return bytes[at + 1] === LF ? at + 2 : this.#fail("bare_cr");
  }

  /** Fewer bytes than a status line has: more may come, unless it is none already. */
  #readShort(bytes: Buffer, start: number, end: number): number {
    const isOver = bytes.subarray(start, end).includes(LF);
    return isOver || !beginsWithVersion(bytes, start, end) ? this.#fail("status_line_malformed") : end + 1;
  }

  /** Writes the head as it leaves: as bytes where nothing is to be changed. The empty line is part of it. */
  put(wire: Wire, edit: HeadEdit, hop: AnswerHop): void {
    if (this.isHttp10) putText(wire, `HTTP/1.1 ${this.status} ${this.#bytes.toString("latin1", this.#reasonAt, this.#reasonEnd)}\r\n`);
    this.fields.put(wire, this.isHttp10 ? this.fields.startsAt : this.#lineAt, edit, hop.strip, hop.lines);
  }

  #fail(flaw: StrictnessRule): -1 {
    this.flaw = flaw;
    return -1;
  }
}

/** Kinds of the fields that frame an answer. */
export const ANSWER_FRAMING = FIELD.contentLength | FIELD.transferEncoding;

/** True while bytes[start..end) can be the beginning of an HTTP/1.0 or HTTP/1.1 status line. */
function beginsWithVersion(bytes: Buffer, start: number, end: number): boolean {
  const compared = Math.min(end - start, VERSION.length);
  for (let index = 0; index < compared; index += 1) if (bytes[start + index] !== VERSION[index]) return false;
  if (end - start <= VERSION.length) return true;
  const minor = bytes[start + VERSION.length];
  if (minor !== DIGIT_1 && minor !== DIGIT_0) return false;
  return end - start <= VERSION.length + 1 || bytes[start + VERSION.length + 1] === SP;
}

function textOf(bytes: Buffer, start: number): string {
  return bytes.toString("latin1", start, start + UP_TO_STATUS);
}

/** The digit at `at`; NaN when there is none. */
function digit(bytes: Buffer, at: number): number {
  const value = (bytes[at] as number) - DIGIT_0;
  return value >= 0 && value <= 9 ? value : Number.NaN;
}
