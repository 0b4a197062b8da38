// Heads between the protocols (RFC 9113 section 8.3.1, RFC 9110 section 7.6): that of an HTTP/1.1 request as a header section, and that of an HTTP/2 answer as
// lines. Nothing is repaired on the way: names are tokens and values without controls when they get here, as the readers of both sides refuse what is not
// (`strictness.ts`, `http2/hpack/header-entry.ts`), so that no field of one protocol can be two of the other.
import { STATUS_CODES } from "node:http";
import { FIELD } from "../../core/field-kind.ts";
import type { Exchange } from "../exchange.ts";
import { fieldLines, type HeadEdit, isLeftOut } from "../fields.ts";
import type { HeadWriter } from "../http2/head-writer.ts";
import type { HeaderList } from "../http2/header-list.ts";
import type { HeaderEntry } from "../http2/hpack/header-entry.ts";
import { contentLengthOf, MALFORMED_LENGTH } from "../http2/request-head.ts";
import { putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import type { AnswerHead } from "./answer-head.ts";
import type { AnswerHop } from "./answer-reader.ts";
import { BODY, type BodyKind } from "./framing.ts";
import type { RequestReader } from "./request-reader.ts";

/** Of a connection, or said by a pseudo-header field; Content-Length is written anew. The stages leave nothing in TE but `trailers`. */
const NOT_OF_HTTP2 = FIELD.connection | FIELD.hopByHop | FIELD.host | FIELD.transferEncoding | FIELD.upgrade | FIELD.contentLength;

/** Most octets of the pseudo-header fields and the Content-Length beyond their values. */
const OWN_FIELDS_BYTES = 320;

/** Writes the head of a request on a stream. `expects` is false when the client's Expect was met here already. */
export function putRequestHead(
  heads: HeadWriter,
  request: RequestReader,
  exchange: Exchange,
  stream: { readonly id: number; readonly isEnd: boolean; readonly expects: boolean },
): void {
  const { edit, method, path } = exchange;
  // An HTTP/1.0 client need not name a host; the app's side must be told one.
  const authority = exchange.authority === "" ? exchange.endpointAddress : exchange.authority;
  heads.begin(request.fields, edit, OWN_FIELDS_BYTES + method.length + path.length + authority.length);
  heads.repeated(":method", method);
  heads.repeated(":scheme", "http");
  heads.repeated(":authority", authority);
  heads.once(":path", path);
  if (request.framing.length !== -1) heads.once("content-length", String(request.framing.length));
  heads.fields(request.fields, edit, stream.expects ? NOT_OF_HTTP2 : NOT_OF_HTTP2 | FIELD.expect);
  heads.end(stream.id, stream.isEnd);
}

/** The head of an answer that came on a stream. */
export class Http2AnswerHead implements AnswerHead {
  readonly status: number;
  readonly fields: HeaderList;
  readonly framing: { readonly length: number; readonly isChunked: false; readonly isPlain: boolean };
  readonly bodyKind: BodyKind;
  /** What the stream is still to bring, octets; -1 where it does not say. */
  readonly expectedBytes: number;
  /** True when what it says of its content can't be. */
  readonly isFlawed: boolean;

  /** `head` is well-formed and has a `:status`. `isEnd`: the stream ends with it. */
  constructor(head: HeaderList, method: string, isEnd: boolean) {
    const { value } = head.status as HeaderEntry; // an answer without one is refused before
    this.status = Number(value);
    this.fields = head;
    // Whatever the length of these says, there is nothing behind it (RFC 9110 section 6.4.1).
    const isBodiless = method === "HEAD" || this.status < 200 || this.status === 204 || this.status === 304;
    const told = contentLengthOf(head);
    this.isFlawed = told === MALFORMED_LENGTH || (isEnd && told > 0 && !isBodiless);
    // Where nothing can say that nothing follows, the length does.
    const length = told === -1 && isEnd && !isBodiless ? 0 : told;
    this.framing = { length, isChunked: false, isPlain: length === -1 };
    this.expectedBytes = isBodiless ? 0 : told;
    this.bodyKind = isBodiless || length === 0 ? BODY.none : length === -1 ? BODY.untilClose : BODY.length;
  }

  put(wire: Wire, edit: HeadEdit, hop: AnswerHop): void {
    const { fields, status } = this;
    let text = `HTTP/1.1 ${status} ${STATUS_CODES[status] ?? ""}\r\n`;
    for (let index = 0; index < fields.count; index += 1) {
      if ((fields.kind(index) & hop.strip) === 0 && !isLeftOut(fields, index, edit))
        text += `${fields.name(index)}: ${fields.value(index)}\r\n`;
    }
    text += hop.lines + fieldLines(edit.added);
    if (edit.standing !== null) text += fieldLines(edit.standing.flat);
    putText(wire, `${text}\r\n`);
  }
}
