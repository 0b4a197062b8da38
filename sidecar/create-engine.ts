// Chooses what moves HTTP bytes (design 1, "engine"): `splice`, the default, or `compat`, the reference it is tested against. What is not chosen is not
// loaded: http-proxy and its like cost memory.
import type { Clock } from "../core/clock.ts";
import type { Engine, EngineHalf, EngineName } from "./engine.ts";
import type { Http1Timeouts } from "./http1/patience.ts";
import { SpliceHttp1 } from "./http1/splice-http1.ts";
import { SpliceHttp2 } from "./http2/splice-http2.ts";

/** Times, ms; what is left out has the default of `http1/patience.ts`. `compat` keeps to `headMs` and has its own for the rest. */
export type EngineTimeouts = Partial<Http1Timeouts>;

/** Makes an engine. */
export async function createEngine(name: EngineName, clock: Clock, timeouts: EngineTimeouts = {}): Promise<Engine> {
  const [http1, http2] = name === "splice" ? createSplice(clock, timeouts) : await createCompat(clock, timeouts);
  return {
    knowsTrunks: name === "splice",
    serve(connection) {
      if (connection.context.protocol === "http2" || connection.isTrunk === true) http2.serve(connection);
      else http1.serve(connection);
    },
    drain(direction) {
      http1.drain(direction);
      http2.drain(direction);
    },
    retire(context) {
      http1.retire(context);
      http2.retire(context);
    },
    close() {
      http1.close();
      http2.close();
    },
  };
}

function createSplice(clock: Clock, timeouts: EngineTimeouts): [EngineHalf, EngineHalf] {
  const http1: SpliceHttp1 = new SpliceHttp1(
    clock,
    { poolFor: (upstream) => http2.poolFor(upstream), trunks: (upstream, onLeaving) => http2.trunks(upstream, onLeaving) },
    timeouts,
  );
  const http2: SpliceHttp2 = new SpliceHttp2(clock, http1, timeouts);
  return [http1, http2];
}

async function createCompat(clock: Clock, { headMs }: EngineTimeouts): Promise<[EngineHalf, EngineHalf]> {
  const [{ createCompatHttp1 }, { createCompatHttp2 }] = await Promise.all([import("./compat/http1.ts"), import("./compat/http2.ts")]);
  return [createCompatHttp1(clock, headMs === undefined ? {} : { headTimeoutMs: headMs }), createCompatHttp2(clock)];
}
