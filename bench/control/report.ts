// Results as lines for a person and as a table for the README.
import type { Result } from "./scenarios.ts";
import type { Latency } from "./tally.ts";

const ms = (value: number) => (Number.isNaN(value) ? "-" : value.toFixed(value < 10 ? 2 : 0));

function sayLatency({ p50, p90, p99, max }: Latency): string {
  return `p50 ${ms(p50)}, p90 ${ms(p90)}, p99 ${ms(p99)}, most ${ms(max)} ms`;
}

/** One result in a few lines. */
export function sayResult(result: Result): string {
  const failures = Object.entries(result.failures).map(([what, count]) => `${count}x ${what}`);
  return [
    `${result.scenario}: ${result.sidecars} sidecars on ${result.connections} connections, ${result.replicas} replica(s), ${result.seconds.toFixed(1)} s`,
    `  heartbeats ${result.perSecond.toFixed(0)}/s, answered to the probe after ${sayLatency(result.probe.answer)} (${result.probe.answers} of them)`,
    `  to the simulator, which is busy, after ${sayLatency(result.answer)}; it was late itself by ${sayLatency(result.late)}`,
    `  CPU ${result.cores.toFixed(3)} cores, ${result.microsPerHeartbeat.toFixed(1)} µs a heartbeat; private memory ${result.idleMb.toFixed(0)} MB idle, ${result.privateMb.toFixed(0)} MB now, ${result.peakMb.toFixed(0)} MB at most`,
    ...(result.redisCores === null || result.redisMicrosPerHeartbeat === null
      ? []
      : [
          `  redis ${result.redisCores.toFixed(3)} cores, ${result.redisMicrosPerHeartbeat.toFixed(1)} µs a heartbeat, ${result.redisMb?.toFixed(0)} MB`,
        ]),
    `  updates ${result.updates}; a change was with its last watcher after ${sayLatency(result.spread)}`,
    `  refused ${result.refusals}, leases expired ${result.expired}, streams open ${result.streams}, interval asked for ${result.intervalMs} ms${result.settledSeconds === null ? "" : `, all settled after ${result.settledSeconds.toFixed(1)} s`}`,
    `  failures: ${failures.length === 0 ? "none" : failures.join("; ")}`,
  ].join("\n");
}

/** Results as a table of Markdown. */
export function sayTable(results: readonly Result[]): string {
  const rows = results.map((result) => {
    const { sidecars, perSecond, cores, microsPerHeartbeat, privateMb, peakMb } = result;
    const { answer } = result.probe;
    const cells = [
      sidecars,
      perSecond.toFixed(0),
      cores.toFixed(3),
      microsPerHeartbeat.toFixed(0),
      privateMb.toFixed(0),
      peakMb.toFixed(0),
    ];
    return `| ${[...cells, ms(answer.p50), ms(answer.p90), ms(answer.p99)].join(" | ")} |`;
  });
  return [
    "| sidecars | heartbeats/s | cores | CPU µs a heartbeat | private MB | at most | p50 ms | p90 | p99 |",
    "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ...rows,
  ].join("\n");
}
