// Chooses what moves HTTP bytes (design 1, "engine"): `splice`, the default, or `compat`, the reference it is tested against. What is not chosen is not
// loaded: http-proxy and its like cost memory.
import type { Clock } from "../core/clock.ts";
import { createCompatHttp2 } from "./compat/http2.ts";
import type { Engine, EngineName } from "./engine.ts";
import type { Http1Timeouts } from "./http1/patience.ts";
import { SpliceHttp1 } from "./http1/splice-http1.ts";

/** Times, ms; what is left out has the default of `http1/patience.ts`. `compat` keeps to `headMs` and has its own for the rest. */
export type EngineTimeouts = Partial<Http1Timeouts>;

/** Makes an engine. */
export async function createEngine(name: EngineName, clock: Clock, timeouts: EngineTimeouts = {}): Promise<Engine> {
  if (name === "splice") return createSpliceEngine(clock, timeouts);
  const { createCompatEngine } = await import("./compat/compat-engine.ts");
  return createCompatEngine(clock, timeouts.headMs === undefined ? {} : { headTimeoutMs: timeouts.headMs });
}

/** HTTP/1.1 spliced on sockets; HTTP/2 by node:http2 until it is spliced as well. */
function createSpliceEngine(clock: Clock, timeouts: EngineTimeouts): Engine {
  const http1 = new SpliceHttp1(clock, timeouts);
  const http2 = createCompatHttp2(clock);
  return {
    serve(connection) {
      if (connection.context.protocol === "http1") http1.serve(connection);
      else http2.serve(connection);
    },
    drain(direction) {
      http1.drain(direction);
      http2.drain(direction);
    },
    close() {
      http1.close();
      http2.close();
    },
  };
}
