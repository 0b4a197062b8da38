// Chooses what moves HTTP bytes (design 1, "engine"): `splice`, the default, or `compat`, the reference it is tested against. What is not chosen is not
// loaded: http-proxy and its like cost memory.
import type { Clock } from "../core/clock.ts";
import { createCompatHttp2 } from "./compat/http2.ts";
import type { Engine, EngineName } from "./engine.ts";
import type { Http1Timeouts } from "./http1/patience.ts";
import { SpliceHttp1 } from "./http1/splice-http1.ts";

/** Times, ms; what is left out has the default of `http1/patience.ts`. `compat` keeps to `headMs` and has its own for the rest. */
export type EngineTimeouts = Partial<Http1Timeouts>;

/** Makes an engine: its own HTTP/1.1, and HTTP/2 by node:http2 until that is spliced as well. */
export async function createEngine(name: EngineName, clock: Clock, timeouts: EngineTimeouts = {}): Promise<Engine> {
  const http1 = name === "splice" ? new SpliceHttp1(clock, timeouts) : await createCompatHttp1(clock, timeouts);
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

async function createCompatHttp1(clock: Clock, { headMs }: EngineTimeouts): Promise<Engine> {
  const compat = await import("./compat/http1.ts");
  return compat.createCompatHttp1(clock, headMs === undefined ? {} : { headTimeoutMs: headMs });
}
