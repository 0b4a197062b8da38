// Where a message's body ends and whether its connection goes on (RFC 9112 sections 6 and 9): read from the fields that say so, once per head. Requests
// and answers share it.
//
// HOT PATH: looks only at fields of its kinds.
import { FIELD } from "../../core/field-kind.ts";
import { sameName } from "../../core/field-name.ts";
import type { HeadFields } from "./head-fields.ts";
import { contentLength, listContains } from "./scan.ts";
import type { StrictnessRule } from "./strictness.ts";

/** How a body is framed. */
export const BODY = {
  none: 0,
  length: 1,
  chunked: 2,
  /** An answer that ends with its connection. */
  untilClose: 3,
} as const;

/** One of {@link BODY}. */
export type BodyKind = (typeof BODY)[keyof typeof BODY];

const FRAMING_KINDS =
  FIELD.connection | FIELD.hopByHop | FIELD.host | FIELD.contentLength | FIELD.transferEncoding | FIELD.upgrade | FIELD.expect;

/** What the framing and connection fields of one head said. One object per reader, read again for each head. */
export class FramingFields {
  /** The value of Content-Length, or -1 without one. */
  length = -1;
  isChunked = false;
  /** True when Content-Length and Transfer-Encoding may be forwarded as they came: no leading zeros, `chunked` in lower case, no odd blanks. */
  isPlain = true;
  /** Connection options (RFC 9110 section 7.6.1). */
  close = false;
  keepAlive = false;
  upgrade = false;
  /** The value of Host or null; requests only. */
  host: string | null = null;
  /** The value of Upgrade, empty without one. */
  upgradeTo = "";
  expectContinue = false;
  /** Seconds of `Keep-Alive: timeout=`, or -1. */
  keepAliveSeconds = -1;
  /** The text of the last Host: mostly that of the next one, too. */
  #lastHost = "";

  /** True for requests: Host routes them. In an answer it is a field like any other. */
  readonly #routes: boolean;

  constructor(routes: boolean) {
    this.#routes = routes;
  }

  /** Reads the fields of one head; returns the first flaw, or null. `isHttp10`: what came later than HTTP/1.0 is a flaw. */
  read(fields: HeadFields, isHttp10: boolean): StrictnessRule | null {
    this.length = -1;
    this.isChunked = false;
    this.isPlain = true;
    this.close = false;
    this.keepAlive = false;
    this.upgrade = false;
    this.host = null;
    this.upgradeTo = "";
    this.expectContinue = false;
    this.keepAliveSeconds = -1;
    if ((fields.kinds & FRAMING_KINDS) === 0) return null;
    for (let index = 0; index < fields.count; index += 1) {
      const kind = fields.kind(index);
      if ((kind & FRAMING_KINDS) === 0) continue;
      const flaw = this.#readField(kind, fields, index);
      if (flaw !== null) return flaw;
    }
    if (!this.isChunked) return null;
    if (isHttp10) return "transfer_encoding_in_http_1_0";
    return this.length === -1 ? null : "content_length_and_transfer_encoding";
  }

  /** The usual values are told by their bytes; only what is not gets a text. */
  #readField(kind: number, fields: HeadFields, index: number): StrictnessRule | null {
    switch (kind) {
      case FIELD.host:
        if (this.host !== null) return this.#routes ? "host_repeated" : null;
        if (!fields.valueIs(index, this.#lastHost)) this.#lastHost = fields.value(index);
        this.host = this.#lastHost;
        return null;
      case FIELD.contentLength:
        return this.#readLength(fields, index);
      case FIELD.connection:
        if (fields.valueIs(index, "keep-alive")) this.keepAlive = true;
        else if (fields.valueIs(index, "close")) this.close = true;
        else this.#readConnection(fields.value(index));
        return null;
      default:
        // llhttp takes `chunked` with a tab behind it for another coding.
        if (kind === FIELD.transferEncoding && !fields.isTight(index)) this.isPlain = false;
        return this.#readRareField(kind, fields.value(index), fields.name(index));
    }
  }

  #readRareField(kind: number, value: string, name: string): StrictnessRule | null {
    switch (kind) {
      case FIELD.transferEncoding:
        if (this.isChunked) return "transfer_encoding_repeated";
        if (!sameName(value, "chunked")) return "transfer_encoding_not_chunked";
        this.isChunked = true;
        if (value !== "chunked") this.isPlain = false;
        return null;
      case FIELD.upgrade:
        this.upgradeTo = this.upgradeTo === "" ? value : `${this.upgradeTo}, ${value}`;
        return null;
      case FIELD.expect:
        this.expectContinue ||= sameName(value, "100-continue");
        return null;
      default:
        if (name.length === "keep-alive".length) this.#readKeepAlive(value); // of the hop-by-hop fields
        return null;
    }
  }

  #readLength(fields: HeadFields, index: number): StrictnessRule | null {
    if (!fields.isTight(index)) this.isPlain = false;
    const usual = this.length === -1 ? fields.usualNumber(index) : -1;
    if (usual !== -1) {
      this.length = usual;
      return null;
    }
    const value = fields.value(index);
    if (this.length !== -1 || value.includes(",")) return "content_length_repeated";
    this.length = contentLength(value);
    if (value.startsWith("0")) this.isPlain = false;
    return this.length === -1 ? "content_length_invalid" : null;
  }

  #readConnection(value: string): void {
    if (sameName(value, "keep-alive")) this.keepAlive = true;
    else if (sameName(value, "close")) this.close = true;
    else {
      this.keepAlive ||= listContains(value, "keep-alive");
      this.close ||= listContains(value, "close");
      this.upgrade ||= listContains(value, "upgrade");
    }
  }

  #readKeepAlive(value: string): void {
    const seconds = /(?:^|[,\s])timeout=(\d{1,6})(?:$|[,\s])/i.exec(value)?.[1];
    if (seconds !== undefined) this.keepAliveSeconds = Number(seconds);
  }
}
