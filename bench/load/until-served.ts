// Waits until a port answers HTTP, asking often: start-up times are measured with it.
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const BETWEEN_MS = 5;
const ANSWER_TIMEOUT_MS = 1_000;

/** Resolves when a GET is answered with `status` (default 200). Rejects after `timeoutMs`. */
export async function untilServed(options: {
  readonly port: number;
  readonly path?: string;
  readonly host?: string | null;
  readonly status?: string;
  readonly timeoutMs: number;
}): Promise<void> {
  const endMonoMs = performance.now() + options.timeoutMs;
  for (;;) {
    const outcome = await ask(options.port, options.path ?? "/", options.host ?? null);
    if (outcome === (options.status ?? "200")) return;
    if (performance.now() > endMonoMs) throw new Error(`port ${options.port} does not serve after ${options.timeoutMs} ms: ${outcome}`);
    await sleep(BETWEEN_MS);
  }
}

function ask(port: number, path: string, host: string | null): Promise<string> {
  return new Promise((resolve) => {
    const headers = host === null ? {} : { host };
    const asked = request({ host: "127.0.0.1", port, path, headers, timeout: ANSWER_TIMEOUT_MS, agent: false }, (response) => {
      response.resume();
      response.on("close", () => resolve(String(response.statusCode)));
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
    asked.on("error", (error) => resolve(error.message));
    asked.end();
  });
}
