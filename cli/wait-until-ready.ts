// Asks an admin server's /ready until it says yes (design 2). For the commands that start something or wait for it.
import { request } from "node:http";
import { setTimeout as sleep } from "node:timers/promises";

const BETWEEN_ASKING_MS = 50;
const ANSWER_TIMEOUT_MS = 2_000;
const MAX_ANSWER_BYTES = 64 * 1024;

/** What is waited for. */
export interface Waiting {
  readonly host: string;
  readonly port: number;
  /** How long, in ms. */
  readonly timeoutMs: number;
  /** Ends the wait early; the promise is then rejected with its reason. */
  readonly signal?: AbortSignal;
}

/** Thrown when the time is over; the message says what was still missing. */
export class NotReadyError extends Error {
  readonly code = "not_ready";
}

/** Resolves when `/ready` answers 200. @throws NotReadyError */
export async function waitUntilReady({ host, port, timeoutMs, signal }: Waiting): Promise<void> {
  const endMonoMs = performance.now() + timeoutMs;
  for (;;) {
    signal?.throwIfAborted();
    const missing = await askReady(host, port);
    if (missing === null) return;
    if (performance.now() >= endMonoMs) throw new NotReadyError(`${host}:${port} is not ready after ${timeoutMs} ms: ${missing}`);
    await sleep(BETWEEN_ASKING_MS);
  }
}

/** Null when ready, otherwise what is missing. */
function askReady(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const asked = request({ host, port, path: "/ready", timeout: ANSWER_TIMEOUT_MS, agent: false }, (response) => {
      let body = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        if (body.length < MAX_ANSWER_BYTES) body += chunk;
      });
      response.on("end", () => resolve(response.statusCode === 200 ? null : `it answers ${response.statusCode} ${body.trim()}`));
      response.on("error", (error) => resolve(error.message));
    });
    asked.on("timeout", () => asked.destroy(new Error("no answer in time")));
    asked.on("error", (error) => resolve(error.message));
    asked.end();
  });
}
