// The process under soak: both data planes, alone, so that its memory, sockets and timers are theirs. Run with --expose-gc; answers to `look`.
import { createHook } from "node:async_hooks";
import { sniFor } from "../../core/spiffe.ts";
import type { EngineName } from "../../sidecar/engine.ts";
import { type FinishedExchange, type Ledger, startMeshPair } from "../support/mesh-pair.ts";
import type { MeshLook, MeshReady } from "./messages.ts";

/** Short, so that each of them ends connections all the time. */
const TIMEOUTS = {
  headMs: 1_000,
  stallMs: 1_500,
  keepAliveMs: 2_000,
  queueMs: 2_000,
  tunnelIdleMs: 2_000,
  discardMs: 500,
  lingerMs: 300,
  upstreamIdleMs: 1_000,
};

const timers = new Set<number>();
// The sidecar's timers are unreferenced, and getActiveResourcesInfo() does not tell those.
createHook({
  init(id, type) {
    if (type === "Timeout") timers.add(id);
  },
  destroy: (id) => void timers.delete(id),
  trackPromises: false,
}).enable();

const [engine, appPort] = process.argv.slice(2) as [EngineName, string];
const pair = await startMeshPair({
  engine,
  appPort: Number(appPort),
  mode: "permissive", // plaintext at the inbound port is served as well
  timeouts: TIMEOUTS,
});
const ledgers = [pair.callerLedger, pair.calleeLedger];
const refused = new Map<string, number>();
let finished = 0;

/** Counts what has finished, and forgets it: the fixture would remember it all. */
function settleLedger(ledger: Ledger): void {
  for (const { refusal } of ledger.finished) if (refusal !== null) refused.set(refusal.reason, (refused.get(refusal.reason) ?? 0) + 1);
  finished += ledger.finished.length;
  (ledger.finished as FinishedExchange[]).length = 0; // an array of the fixture's own, read by nobody else
}

function look(): MeshLook {
  for (const ledger of ledgers) settleLedger(ledger);
  const begun = pair.callerLedger.begun + pair.calleeLedger.begun;
  globalThis.gc?.();
  const { heapUsed, heapTotal, external } = process.memoryUsage();
  const resources: Record<string, number> = {};
  for (const kind of process.getActiveResourcesInfo()) resources[kind] = (resources[kind] ?? 0) + 1;
  return {
    begun,
    finished,
    finishedTwice: pair.callerLedger.finishedTwice + pair.calleeLedger.finishedTwice,
    inFlight: pair.callerShed.inFlight + pair.calleeShed.inFlight,
    refused: Object.fromEntries(refused),
    heapUsedBytes: heapUsed,
    heapTotalBytes: heapTotal,
    externalBytes: external,
    resources,
    timers: timers.size,
  };
}

process.on("message", () => process.send?.(look()));
process.on("disconnect", () => process.exit(0));

const { certPem, keyPem } = pair.ca.leaf("demo/web");
process.send?.({
  outboundPort: pair.outboundPort,
  inboundPort: pair.inboundPort,
  servername: sniFor(pair.callee.identity, Number(appPort)),
  leaf: { certPem, keyPem },
} satisfies MeshReady);
