// A mesh pair in a process of its own, so that what it holds can be told from what its app and its client hold. Started by `forked-pair.ts`, with the app's
// port, the engine and what the app speaks as arguments; answers each message with one of its own, and ends with its parent.
import { readFileSync } from "node:fs";
import type { PortProtocol } from "../../core/wire/port-protocol.ts";
import type { EngineName } from "../../sidecar/engine.ts";
import type { ForkedAnswer, ForkedQuestion } from "./forked-pair.ts";
import { balances } from "./mesh-fixture.ts";
import { startMeshPair } from "./mesh-pair.ts";

const [appPort, engine, protocol] = process.argv.slice(2);
const pair = await startMeshPair({ appPort: Number(appPort), engine: engine as EngineName, protocol: protocol as PortProtocol });

/** What is held once the garbage is gone; what a first collection finds is freed behind the back of the second. */
async function memory(): Promise<ForkedAnswer> {
  for (let round = 0; round < 3; round += 1) {
    globalThis.gc?.();
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const { heapUsed, external } = process.memoryUsage();
  const rssAnonKib = Number(/^RssAnon:\s+(\d+) kB$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1]);
  return { heapBytes: heapUsed + external, rssAnonBytes: rssAnonKib * 1024 };
}

async function answer(question: ForkedQuestion): Promise<ForkedAnswer> {
  switch (question) {
    case "memory":
      return memory();
    case "drain":
      pair.drain("inbound");
      pair.drain("outbound");
      return {};
    case "close": {
      const isBalanced = await balances(pair);
      await pair.close();
      return { balances: isBalanced };
    }
  }
}

process.on("message", async (question: ForkedQuestion) => process.send?.(await answer(question)));
process.on("disconnect", () => process.exit());
process.send?.({ outboundPort: pair.outboundPort } satisfies ForkedAnswer);
