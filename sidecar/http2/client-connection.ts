// One HTTP/2 connection of a client of the sidecar: each stream that it opens becomes a passage. How streams are opened, and how the connection ends, is of every
// connection that is served.
import { FIELD } from "../../core/field-kind.ts";
import type { ServedConnection } from "../engine.ts";
import { refuse } from "../exchange.ts";
import { firstOfKind } from "../fields.ts";
import { FLOOD } from "./flood-guard.ts";
import { H2_ERROR, SETTING } from "./frames.ts";
import { type HeaderList, MAX_HEADER_LIST_BYTES } from "./header-list.ts";
import { answerRefusal } from "./local-answer.ts";
import { Passage, type PassageEngine } from "./passage.ts";
import { contentLengthOf, Http2RequestHead } from "./request-head.ts";
import { MAX_CONCURRENT_STREAMS, ServerConnection, type ServerEngine } from "./server-connection.ts";
import type { Stream } from "./stream.ts";

/** A stream that is reset this soon was opened for nothing, ms. */
const RAPID_MS = 50;

/** What a client's connection needs of its engine. */
export interface ClientEngine extends PassageEngine, ServerEngine {
  readonly timeouts: PassageEngine["timeouts"];
  /** Monotonic ms, exact. */
  monoMs(): number;
  forget(connection: ClientConnection): void;
}

/** Serves one client. */
export class ClientConnection extends ServerConnection {
  readonly served: ServedConnection;
  readonly #engine: ClientEngine;
  protected override readonly settings = SETTINGS;
  protected override readonly signOfLife = SIGN_OF_LIFE;
  /** Passages that hold a body which did not end with the bytes its head came with. */
  readonly #holding: Passage[] = [];

  constructor(served: ServedConnection, engine: ClientEngine, atWork: { readonly size: number } | null = null) {
    super(served.stream, engine, atWork);
    this.served = served;
    this.#engine = engine;
  }

  protected override onTaken(): void {
    while (this.#holding.length > 0) (this.#holding.pop() as Passage).holdOn();
  }

  /** The body did not come with the head: ask again when all bytes of this read are taken. */
  holdLater(passage: Passage): void {
    this.#holding.push(passage);
  }

  protected override begin(stream: Stream, list: HeaderList, isEnd: boolean): void {
    const length = (list.kinds & FIELD.contentLength) === 0 ? -1 : contentLengthOf(list);
    stream.expectedBytes = length;
    if (isEnd && length > 0) return this.failStream(stream, H2_ERROR.protocolError, "content-length without content");
    const passage = new Passage(this, stream, this.#engine);
    stream.taker = passage;
    passage.begin(new Http2RequestHead(list));
  }

  /** A request that never became an exchange. */
  protected override onLargeHead(stream: Stream, head: HeaderList): void {
    const { context, handler } = this.served;
    const refusal = refuse("header_too_large", "the head of a request has too many fields or octets");
    if (!this.guard.spend(FLOOD.largeHead)) return this.flooded(FLOOD.largeHead);
    handler.malformed(context, refusal);
    const grpc = firstOfKind(head, FIELD.contentType)?.startsWith("application/grpc") === true;
    answerRefusal(stream, refusal, { grpc, told: context.peer.told, isHead: false });
  }

  protected override onPeerReset(stream: Stream): void {
    const { taker } = stream;
    if (!(taker instanceof Passage) || !taker.isYoungerThan(RAPID_MS)) return;
    if (!this.guard.spend(FLOOD.rapidReset)) this.flooded(FLOOD.rapidReset);
  }

  protected override onFlaw(code: number, detail: string, flood: string | null): void {
    const { context, handler } = this.served;
    const shown = flood === null ? `HTTP/2 error ${code}: ${detail}` : `HTTP/2 flood of ${flood}: ${detail}`;
    handler.malformed(context, refuse(flood === null ? "bad_request" : "overloaded", shown));
    if (flood !== null) handler.flooded(context, flood);
  }

  protected override onStreamFlaw(stream: Stream, code: number, detail: string): void {
    const { context, handler } = this.served;
    handler.malformed(context, refuse("bad_request", `stream ${stream.id}, HTTP/2 error ${code}: ${detail}`));
  }

  protected override checkStream(stream: Stream, nowMonoMs: number, discardMs: number): void {
    if (stream.taker instanceof Passage) stream.taker.check(nowMonoMs);
    else if (nowMonoMs - stream.movedMonoMs >= discardMs) stream.reset(H2_ERROR.noError);
  }
}

const SIGN_OF_LIFE = { silentMs: 60_000, pongMs: 20_000 } as const;

const SETTINGS = [
  [SETTING.maxConcurrentStreams, MAX_CONCURRENT_STREAMS],
  [SETTING.maxHeaderListSize, MAX_HEADER_LIST_BYTES],
  [SETTING.enableConnectProtocol, 1],
] as const;
