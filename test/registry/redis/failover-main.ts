// `npm run redis:failover [-- --sidecars N]`: both failovers under the heartbeats of 5000 sidecars, at the usual 5 s and 15 s; prints what was seen and
// ends with 1 when anybody who is alive was missing anywhere.
import { parseArgs } from "node:util";
import type { FailoverOptions } from "./failover.ts";
import { describeFailover, playFailover } from "./failover.ts";

const { values } = parseArgs({ options: { sidecars: { type: "string", default: "5000" } } });
const sidecars = Number(values.sidecars);

for (const kind of ["sentinel", "cluster"] as const) {
  const report = await playAndEnd({ kind, sidecars, heartbeatMs: 5000, leaseMs: 15_000, rampMs: sidecars * 4 });
  process.stdout.write(`${describeFailover(kind, report).join("\n  ")}\n`);
  if (report.missing.length > 0) {
    process.stdout.write(`  missing: ${report.missing.slice(0, 10).join(", ")}\n`);
    process.exitCode = 1;
  }
}

async function playAndEnd(options: FailoverOptions) {
  const ends: (() => unknown)[] = [];
  try {
    return await playFailover({ teardown: (run) => void ends.unshift(run) }, options);
  } finally {
    for (const end of ends) await end();
  }
}
