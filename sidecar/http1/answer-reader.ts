// Reads the heads of answers (RFC 9112 sections 4 and 6) and says how the body that follows is framed.
//
// HOT PATH: as in `request-reader.ts`.
import { BODY, type BodyKind, FramingFields } from "./framing.ts";
import { CHARACTERS, CR, IN_VALUE, LF, readFields, SP } from "./scan.ts";
import type { StrictnessRule } from "./strictness.ts";

const HTTP_1_1 = "HTTP/1.1 ";
const HTTP_1_0 = "HTTP/1.0 ";

/** The head of one answer. Valid until the next `read`. */
export class AnswerReader {
  status = 0;
  reason = "";
  headers: string[] = [];
  isHttp10 = false;
  readonly framing = new FramingFields();

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

  /** Reads text[0..end), a whole head with its empty line. Returns the first flaw, or null. */
  read(text: string, end: number): StrictnessRule | null {
    this.isHttp10 = false;
    if (!text.startsWith(HTTP_1_1)) {
      if (!text.startsWith(HTTP_1_0)) return /^HTTP\/\d\.\d /.test(text) ? "version_unknown" : "status_line_malformed";
      this.isHttp10 = true;
    }
    const status = digit(text, 9) * 100 + digit(text, 10) * 10 + digit(text, 11);
    if (!(status >= 100 && status <= 599)) return "status_invalid";
    this.status = status;
    let index = 12;
    let code = text.charCodeAt(index);
    // The space before an empty reason is often left out; nothing depends on it.
    if (code === SP) code = text.charCodeAt(++index);
    else if (code !== CR) return code === LF ? "bare_lf" : "status_invalid";
    const reasonAt = index;
    while ((CHARACTERS[code] as number) & IN_VALUE) code = text.charCodeAt(++index);
    if (code !== CR) return code === LF ? "bare_lf" : "status_line_malformed";
    if (text.charCodeAt(index + 1) !== LF) return "bare_cr";
    this.reason = text.slice(reasonAt, index);
    this.headers = [];
    const flaw = readFields(text, index + 2, end - 2, this.headers) ?? this.framing.read(this.headers, this.isHttp10);
    if (flaw !== null) return flaw;
    const isBodiless = status < 200 || status === 204;
    return isBodiless && (this.framing.isChunked || this.framing.length > 0) ? "bodiless_with_content" : null;
  }
}

/** The digit at `index`; NaN when there is none. */
function digit(text: string, index: number): number {
  const value = text.charCodeAt(index) - 0x30;
  return value >= 0 && value <= 9 ? value : Number.NaN;
}
