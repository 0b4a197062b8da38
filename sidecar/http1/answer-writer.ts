// Writes answers to a client, those of upstreams and the sidecar's own: in the framing they came in where the client can read it, else in another (chunked
// for a body that would end with its connection, none for an HTTP/1.0 client). Decides from that whether the connection lives on.
//
// HOT PATH: per answer one head, per chunk one copy into the outgoing buffer.
import type { Refusal } from "../exchange.ts";
import type { HttpHandler } from "../engine.ts";
import { answerFor } from "../rescue.ts";
import { putBytes, putText } from "../transport/outgoing.ts";
import type { Wire } from "../transport/wire.ts";
import type { AnswerReader } from "./answer-reader.ts";
import type { BodyReader } from "./body-reader.ts";
import type { OnData } from "./chunked.ts";
import { BODY } from "./framing.ts";
import { type HopFields, answerHead, ownAnswerHead, trailerSection } from "./write-head.ts";

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
  interim(answer: AnswerReader): void {
    if (this.#isHttp10) return;
    putText(this.#wire, answerHead(answer.status, answer.reason, this.#handler.trailers(answer.headers), NO_HOP_FIELDS));
  }

  /** The head of an upstream's answer; `fields` are those that the stage list lets pass. */
  head(answer: AnswerReader, fields: readonly string[], body: BodyReader): void {
    this.isBegun = true;
    const endsUnframed = body.kind === BODY.untilClose;
    this.#isChunking = endsUnframed && !this.#isHttp10;
    if (this.#isHttp10 && (endsUnframed || body.kind === BODY.chunked)) this.isPersistent = false;
    if (this.#isHttp10 && body.kind === BODY.chunked) this.onContent = this.#putContent;
    const saysChunked = answer.framing.isChunked && !this.#isHttp10; // also of a HEAD, whose answer has the fields of a GET's
    const saysLength = answer.status >= 200 && answer.status !== 204;
    putText(
      this.#wire,
      answerHead(answer.status, answer.reason, fields, {
        kind: this.#isChunking || saysChunked ? BODY.chunked : BODY.none,
        length: saysLength ? answer.framing.length : -1,
        upgradeTo: "",
        connection: this.#connection(),
      }),
    );
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
  end(body: BodyReader): void {
    if (this.#isChunking) putText(this.#wire, "0\r\n\r\n");
    else if (body.kind === BODY.chunked && this.onContent === null)
      putText(this.#wire, trailerSection(this.#handler.trailers(body.trailers)));
  }

  /** The connection becomes a tunnel: a 101, or a 2xx to a CONNECT. */
  switched(answer: AnswerReader, fields: readonly string[], upgradeTo: string): void {
    this.isBegun = true;
    putText(this.#wire, answerHead(answer.status, answer.reason, fields, { ...NO_HOP_FIELDS, upgradeTo }));
  }

  /** An answer of the sidecar's own. Returns its status. */
  refusal(refusal: Refusal, extra: readonly string[], options: { readonly grpc: boolean; readonly told: boolean }): number {
    this.isBegun = true;
    const { status, headers, body } = answerFor(refusal, extra, options);
    const head = ownAnswerHead(status, headers, { kind: BODY.none, length: body.length, upgradeTo: "", connection: this.#connection() });
    putText(this.#wire, this.#method === "HEAD" ? head : head + body);
    return status;
  }

  #connection(): HopFields["connection"] {
    if (!this.isPersistent) return "close";
    return this.#isHttp10 ? "keep-alive" : "";
  }
}

const NO_HOP_FIELDS: HopFields = { kind: BODY.none, length: -1, upgradeTo: "", connection: "" };
