// What a passage stands between: the engine that it takes its upstreams from, and the client connection that it is of.
import type { ServedConnection, Upstream } from "../engine.ts";
import type { ConnectionContext } from "../exchange.ts";
import type { UpstreamPool as Http2Pool } from "../http2/upstream-pool.ts";
import type { Wire } from "../transport/wire.ts";
import type { Http1Timeouts, StallWatch } from "./patience.ts";
import type { UpstreamPool } from "./upstream-pool.ts";

/** What a passage needs of the engine. */
export interface PassageEngine {
  readonly timeouts: Http1Timeouts;
  poolFor(upstream: Upstream): UpstreamPool;
  /** For an upstream that speaks HTTP/2. */
  http2PoolFor(upstream: Upstream): Http2Pool;
  /** True when the connection is to end after its current answer. */
  isLeaving(context: ConnectionContext): boolean;
}

/** The client connection that a passage is of. */
export interface PassageOwner {
  readonly wire: Wire;
  readonly served: ServedConnection;
  readonly watch: StallWatch;
  /** True while the client has sent more behind its request than is kept: it is not read, and not heard when it leaves. */
  readonly isOverfull: boolean;
  /** The exchange is finished and its answer written; `isPersistent`: another request may follow. */
  onPassed(isPersistent: boolean): void;
  /** The exchange broke off in the middle of its answer: nothing but a reset can say so. */
  onBroken(): void;
  /** The upstream ended its side of a tunnel, and after it the whole connection. */
  onTunnelOver(): void;
  /** The passage can take bytes again that it had refused. Ends an event that was not the client's. */
  onMoved(): void;
  /** The exchange keeps its head for longer than the connection does. */
  keepHead(): void;
}
