// The called side of a trunk: an HTTP/2 connection of a mesh peer whose streams are connections of HTTP/1.1, opened by an extended CONNECT (RFC 8441) for the protocol
// `http/1.1`. Each is served as one that was accepted by itself; how long they may take is looked after there.
import type { ServedConnection } from "../engine.ts";
import { NO_EDIT, NO_FIELDS } from "../fields.ts";
import type { Wire, WireOwner } from "../transport/wire.ts";
import { ClientConnection, type ClientEngine } from "./client-connection.ts";
import { FLOOD } from "./flood-guard.ts";
import { H2_ERROR } from "./frames.ts";
import type { HeaderList } from "./header-list.ts";
import type { Stream } from "./stream.ts";
import { type Carried, StreamWire } from "./stream-wire.ts";

/** What its streams ask for (RFC 8441 section 4). */
export const CARRIED_PROTOCOL = "http/1.1";

/** Serves HTTP/1.1 on a wire. */
export type ServeCarried = (served: ServedConnection, wireFor: (owner: WireOwner) => Wire) => Carried;

/** A trunk that a peer has opened. */
export class Trunk extends ClientConnection {
  readonly #atWork: { size: number };
  readonly #serveCarried: ServeCarried;

  constructor(served: ServedConnection, engine: ClientEngine, serveCarried: ServeCarried) {
    const atWork = { size: 0 };
    super(served, engine, atWork);
    this.#atWork = atWork;
    this.#serveCarried = serveCarried;
  }

  protected override begin(stream: Stream, head: HeaderList, isEnd: boolean): void {
    if (head.protocol?.value !== CARRIED_PROTOCOL || isEnd)
      return this.failStream(stream, H2_ERROR.protocolError, `a stream that does not ask for ${CARRIED_PROTOCOL}`);
    stream.sendAnswer("200", NO_FIELDS, NO_EDIT, false);
    const carried = this.#serveCarried(this.served, (owner) => {
      const wire = new StreamWire(owner, this.#atWork);
      wire.carry(stream);
      return wire;
    });
    if (stream.taker instanceof StreamWire) stream.taker.carried = carried;
  }

  /** Only now, so that no request that was on its way meets a connection which was just closed for being idle. */
  protected override onLeft(): void {
    for (const { taker } of this.streams.all()) if (taker instanceof StreamWire) taker.carried?.drain();
  }

  /** Opening a connection costs more than opening a stream of HTTP/2. A sidecar leaves a trunk on which it has reset a fifth of what is allowed at once. */
  protected override onPeerReset(): void {
    if (!this.guard.spend(FLOOD.rapidReset)) this.flooded(FLOOD.rapidReset);
  }

  /** What nobody listens to any more ends in its own time; the rest is watched as connections of HTTP/1.1 are. */
  protected override checkStream(stream: Stream, nowMonoMs: number, discardMs: number): void {
    if (stream.taker === null && nowMonoMs - stream.movedMonoMs >= discardMs) stream.reset(H2_ERROR.noError);
  }
}
