// Starts a mesh pair in a process of its own, and asks it what it holds.
import { fork } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import type { PortProtocol } from "../../core/wire/port-protocol.ts";
import type { EngineName } from "../../sidecar/engine.ts";

type Tap = { teardown(run: () => unknown): void };

/** What the process can be asked. */
export type ForkedQuestion = "memory" | "drain" | "close";

/** What it answers; which fields are set is the question's. */
export interface ForkedAnswer {
  readonly outboundPort?: number;
  /** V8's heap and the buffers outside of it. */
  readonly heapBytes?: number;
  /** Anonymous memory in RAM, of `/proc/self/status`. */
  readonly rssAnonBytes?: number;
  /** Of `close`: whether each request was finished once before. */
  readonly balances?: boolean;
}

/** A running process. */
export interface ForkedPair {
  readonly outboundPort: number;
  ask(question: ForkedQuestion): Promise<ForkedAnswer>;
}

const ANSWER_TIMEOUT_MS = 30_000;

/** Starts one in front of the app at `appPort`, which speaks `protocol`; it ends with the test. */
export async function forkMeshPair(t: Tap, appPort: number, engine: EngineName, protocol: PortProtocol = "detect"): Promise<ForkedPair> {
  const child = fork(join(import.meta.dirname, "forked-pair-main.ts"), [String(appPort), engine, protocol], { execArgv: ["--expose-gc"] });
  t.teardown(() => child.kill("SIGKILL"));
  const answered = async () => {
    const [answer] = (await once(child, "message", { signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS) })) as [ForkedAnswer];
    return answer;
  };
  const { outboundPort = 0 } = await answered();
  return {
    outboundPort,
    ask(question) {
      const answer = answered();
      child.send(question);
      return answer;
    },
  };
}
