// Where a message's body ends (RFC 9112 section 6): read from the fields that say so, once per head. Requests and answers share it.
import { sameName } from "../../core/field-name.ts";
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

/** What the framing and connection fields of one head said. One object per connection and direction, read again for each head. */
export class FramingFields {
  /** The value of Content-Length, or -1 without one. */
  length = -1;
  isChunked = false;
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

  /** Reads the fields of one head; returns the first flaw, or null. `isHttp10`: what came later than HTTP/1.0 is a flaw. */
  read(fields: readonly string[], isHttp10: boolean): StrictnessRule | null {
    this.length = -1;
    this.isChunked = false;
    this.close = false;
    this.keepAlive = false;
    this.upgrade = false;
    this.host = null;
    this.upgradeTo = "";
    this.expectContinue = false;
    this.keepAliveSeconds = -1;
    let codings = 0;
    for (let index = 0; index < fields.length; index += 2) {
      const name = fields[index] as string;
      const value = fields[index + 1] as string;
      switch (name.length) {
        case 4:
          if (!sameName(name, "host")) break;
          if (this.host !== null) return "host_repeated";
          this.host = value;
          break;
        case 6:
          if (sameName(name, "expect")) this.expectContinue ||= sameName(value, "100-continue");
          break;
        case 7:
          if (sameName(name, "upgrade")) this.upgradeTo = this.upgradeTo === "" ? value : `${this.upgradeTo}, ${value}`;
          break;
        case 10:
          if (sameName(name, "connection")) this.#readConnection(value);
          else if (sameName(name, "keep-alive")) this.#readKeepAlive(value);
          break;
        case 14:
          if (!sameName(name, "content-length")) break;
          if (this.length !== -1 || value.includes(",")) return "content_length_repeated";
          this.length = contentLength(value);
          if (this.length === -1) return "content_length_invalid";
          break;
        case 17:
          if (!sameName(name, "transfer-encoding")) break;
          codings += 1;
          if (codings > 1) return "transfer_encoding_repeated";
          if (!sameName(value, "chunked")) return "transfer_encoding_not_chunked";
          this.isChunked = true;
          break;
      }
    }
    if (codings > 0 && isHttp10) return "transfer_encoding_in_http_1_0";
    if (codings > 0 && this.length !== -1) return "content_length_and_transfer_encoding";
    return null;
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
