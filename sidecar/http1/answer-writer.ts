// Writes answers to a client, those of upstreams and the sidecar's own: in the framing they came in where the client can read it, else in another (chunked
// for a body that would end with its connection, none for an HTTP/1.0 client). Decides from that whether the connection lives on.
//
// HOT PATH: per answer one head, per chunk one copy into the outgoing buffer.
import { FIELD } from "../../core/field-kind.ts";
import type { Refusal } from "../exchange.ts";
import type { HeadEdit } from "../fields.ts";
import type { HttpHandler } from "../engine.ts";
import { answerFor } from "../rescue.ts";
import { putBytes, putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import type { AnswerBody, AnswerHead } from "./answer-head.ts";
import { ANSWER_FRAMING, type AnswerHop, type AnswerReader } from "./answer-reader.ts";
import type { OnData } from "./chunked.ts";
import { BODY } from "./framing.ts";
import { connectionLine, ownAnswerHead, trailerSection } from "./write-head.ts";

/** Writes one connection's answers, one after the other. */
export class AnswerWriter {
  /** True from an answer's first byte on: it can only be completed or cut off. */
  isBegun = false;
  /** True while the connection is to carry another request. */
  isPersistent = true;
  /** Where content goes whose chunk framing the client can't read; null where bytes are written as they came. */
  onContent: OnData | null = null;
  readonly #wire: Wire;
  readonly #handler: HttpHandler;
  #method = "";
  #isHttp10 = false;
  /** True while the body gets chunk framing here. */
  #isChunking = false;

  constructor(wire: Wire, handler: HttpHandler) {
    this.#wire = wire;
    this.#handler = handler;
  }

  /** Prepares for the answer to a request. */
  begin(method: string, isHttp10: boolean, isPersistent: boolean): void {
    this.isBegun = false;
    this.isPersistent = isPersistent;
    this.onContent = null;
    this.#method = method;
    this.#isHttp10 = isHttp10;
    this.#isChunking = false;
  }

  /** A 1xx answer before the last; HTTP/1.0 has none (RFC 9110 section 15.2). */
  interim(answer: AnswerHead): void {
    if (!this.#isHttp10) answer.put(this.#wire, INTERIM_EDIT, AS_IT_CAME);
  }

  /** The head of an upstream's answer, edited by the stage list. */
  head(answer: AnswerHead, edit: HeadEdit, body: AnswerBody): void {
    this.isBegun = true;
    const endsUnframed = body.kind === BODY.untilClose;
    this.#isChunking = endsUnframed && !this.#isHttp10;
    if (this.#isHttp10 && (endsUnframed || body.kind === BODY.chunked)) this.isPersistent = false;
    if (this.#isHttp10 && body.kind === BODY.chunked) this.onContent = this.#putContent;
    answer.put(this.#wire, edit, this.#hop(answer));
  }

  #hop(answer: AnswerHead): AnswerHop {
    const { framing, status } = answer;
    const connection = this.isPersistent ? (this.#isHttp10 ? "keep-alive" : "") : "close";
    const hasWrongFraming = this.#isHttp10 && framing.isChunked;
    const hasUselessLength = status < 200 || status === 204; // a length of 0, which these must not have (RFC 9110 section 8.6)
    if (framing.isPlain && !this.#isChunking && !hasWrongFraming && !hasUselessLength)
      return connection === "" ? AS_IT_CAME : HOP_BY_CONNECTION[connection];
    let lines = connectionLine(connection);
    if (this.#isChunking || (framing.isChunked && !hasWrongFraming)) lines += "transfer-encoding: chunked\r\n";
    else if (framing.length !== -1 && !hasUselessLength) lines += `content-length: ${framing.length}\r\n`;
    return { strip: ANSWER_FRAMING, lines };
  }

  /** Bytes of an upstream's body, as they came. */
  bytes(bytes: Buffer, start: number, end: number): void {
    if (!this.#isChunking) return putBytes(this.#wire, bytes, start, end);
    if (end === start) return;
    putText(this.#wire, `${(end - start).toString(16)}\r\n`);
    putBytes(this.#wire, bytes, start, end);
    putText(this.#wire, "\r\n");
  }

  readonly #putContent = (bytes: Buffer, start: number, end: number): void => putBytes(this.#wire, bytes, start, end);

  /** The end of an upstream's body. */
  end(body: AnswerBody): void {
    if (this.#isChunking) putText(this.#wire, `0\r\n${this.#trailerSection(body)}`);
    else if (body.kind === BODY.chunked && this.onContent === null) putText(this.#wire, this.#trailerSection(body));
  }

  #trailerSection({ trailers }: AnswerBody): string {
    return trailers.length === 0 ? NO_TRAILERS : trailerSection(this.#handler.trailers(trailers));
  }

  /** The connection becomes a tunnel: by a 101 to `upgradeTo`, or by a 2xx to a CONNECT. */
  switched(answer: AnswerReader, edit: HeadEdit, upgradeTo: string): void {
    this.isBegun = true;
    const lines = upgradeTo === "" ? "" : `connection: upgrade\r\nupgrade: ${upgradeTo}\r\n`;
    answer.put(this.#wire, edit, { strip: ANSWER_FRAMING | FIELD.upgrade, lines });
  }

  /** An answer of the sidecar's own. Returns its status. */
  refusal(refusal: Refusal, options: { readonly grpc: boolean; readonly told: boolean }): number {
    this.isBegun = true;
    const { status, headers, body } = answerFor(refusal, options);
    const connection = this.isPersistent ? (this.#isHttp10 ? "keep-alive" : "") : "close";
    const head = ownAnswerHead(status, headers, body.length, connection);
    putText(this.#wire, this.#method === "HEAD" ? head : head + body);
    return status;
  }
}

/** The trailer section of most bodies. */
const NO_TRAILERS = trailerSection([]);
const AS_IT_CAME: AnswerHop = { strip: 0, lines: "" };
const HOP_BY_CONNECTION: Readonly<Record<"close" | "keep-alive", AnswerHop>> = {
  close: { strip: 0, lines: connectionLine("close") },
  "keep-alive": { strip: 0, lines: connectionLine("keep-alive") },
};
/** What of a 1xx answer is between two neighbours, or the mesh's word. */
const INTERIM_EDIT: HeadEdit = {
  strip: FIELD.connection | FIELD.hopByHop | FIELD.te | FIELD.mesh | FIELD.identity | FIELD.upgrade | ANSWER_FRAMING,
  nominated: null,
  added: [],
  standing: null,
};
