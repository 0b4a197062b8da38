// Well-behaved traffic beside the hostile one: it is answered byte for byte as ordered, or the soak has failed. On two ways: through both hops to the
// hostile app's own `/control` (GET only: its connections break at random, and only what is safe to repeat survives that), and through the outbound
// hop alone to an app that nobody disturbs (GET and POST).
import { once } from "node:events";
import { Agent, createServer, request } from "node:http";
import type { AddressInfo } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { createSeededRandom, type SeededRandom } from "../support/seeded-random.ts";
import { answerControl } from "./control-answer.ts";
import { contentOf } from "./messages.ts";

/** Between two requests of one caller. */
const PAUSE_MS = 20;
const ANSWER_MS = 10_000;
const MAX_BYTES = 100_000;
/** Those who took part in an exchange waited longer than this for a CPU, all together: then the mesh's times, some of them 300 ms, say nothing about it. */
const STARVED_MS = 200;

/** Running control traffic. */
export interface Control {
  /** Exchanges that went as they must. */
  readonly good: number;
  /** Sentences on those that did not. */
  readonly failures: readonly string[];
  /** Exchanges that failed while the app was down. */
  readonly excused: number;
  /** Exchanges that failed while this machine had no CPU for them. */
  readonly starved: number;
  leave(): Promise<void>;
}

/**
 * Starts one caller for each way. `isAppDown(sinceMonoMs)` tells whether the hostile app was away at any time since, `waitedForCpuMs` for how long those
 * who take part have waited for a CPU.
 */
export async function startControl(options: {
  readonly outboundPort: number;
  readonly service: string;
  readonly seed: number;
  readonly isAppDown: (sinceMonoMs: number) => boolean;
  readonly waitedForCpuMs: () => number;
}): Promise<Control> {
  const app = createServer((incoming, response) => void answerControl(incoming, response)).listen(0, "127.0.0.1");
  await once(app, "listening");
  const failures: string[] = [];
  let good = 0;
  let excused = 0;
  let starved = 0;
  let isLeaving = false;

  async function call(random: SeededRandom, host: string, methods: readonly string[], isExcusable: boolean): Promise<void> {
    while (!isLeaving) {
      // One connection for a few requests, back to back: none of them finds it closed for its age.
      const agent = new Agent({ keepAlive: true, maxSockets: 1 });
      for (let left = 1 + random.below(6); left > 0; left -= 1) {
        const startedMonoMs = performance.now();
        const waitedMs = options.waitedForCpuMs();
        const flaw = await exchange(agent, options.outboundPort, host, random.pick(methods), random);
        if (flaw === null) good += 1;
        else if (isExcusable && options.isAppDown(startedMonoMs)) excused += 1;
        else if (options.waitedForCpuMs() - waitedMs > STARVED_MS) starved += 1;
        else failures.push(`${host}: ${flaw}`);
      }
      agent.destroy();
      await sleep(PAUSE_MS);
    }
  }
  const callers = [
    call(createSeededRandom(options.seed + 1), options.service, ["GET"], true),
    call(createSeededRandom(options.seed + 2), `127.0.0.1:${(app.address() as AddressInfo).port}`, ["GET", "POST"], false),
  ];

  return {
    get good() {
      return good;
    },
    failures,
    get excused() {
      return excused;
    },
    get starved() {
      return starved;
    },
    async leave() {
      isLeaving = true;
      await Promise.all(callers);
      app.close();
    },
  };
}

/** One exchange; null when it went well. */
function exchange(agent: Agent, port: number, host: string, method: string, random: SeededRandom): Promise<string | null> {
  const key = random.below(256);
  const size = random.below(random.below(5) === 0 ? MAX_BYTES : 2_000);
  const content = contentOf(key, size);
  const startedMonoMs = performance.now();
  return new Promise((resolve) => {
    const settle = (flaw: string | null) =>
      resolve(flaw === null ? null : `${method} of ${size} bytes: ${flaw}, after ${Math.round(performance.now() - startedMonoMs)} ms`);
    const call = request({
      agent,
      host: "127.0.0.1",
      port,
      method,
      path: `/control?key=${key}&size=${size}`,
      headers: { host, ...(method === "POST" ? { "content-length": size } : {}) },
      signal: AbortSignal.timeout(ANSWER_MS),
    });
    call.on("error", (error) => settle(error.message));
    call.on("response", (response) => {
      const parts: Buffer[] = [];
      response.on("data", (part: Buffer) => parts.push(part));
      response.on("error", (error) => settle(error.message));
      response.on("end", () => {
        if (response.statusCode !== 200) return settle(`status ${response.statusCode}, ${response.headers["x-remora-reason"]}`);
        if (response.headers["x-key"] !== String(key)) return settle(`another's answer, ${response.headers["x-key"]} for ${key}`);
        settle(Buffer.concat(parts).equals(content) ? null : "other bytes than ordered");
      });
    });
    call.end(method === "POST" ? content : undefined);
  });
}
