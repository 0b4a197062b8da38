// The compat engine (design 1): http-proxy and node:http2 behind the engine interface. The reference that the splice engine is tested against.
import type { Clock } from "../../core/clock.ts";
import type { Engine } from "../engine.ts";
import { createCompatHttp1 } from "./http1.ts";
import { createCompatHttp2 } from "./http2.ts";

/** Makes the engine. `headTimeoutMs` is the time for a whole HTTP/1.1 request head, default 15 s. */
export function createCompatEngine(clock: Clock, options: { readonly headTimeoutMs?: number } = {}): Engine {
  const http1 = createCompatHttp1(clock, options);
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
