// `remora rollout status`: one look at the mesh, as a table or as JSON.
import { createObservation, describeVerdict } from "../../injector/rollout/observation.ts";
import { describe } from "../../injector/rollout/platform-edit.ts";
import { percent } from "../../injector/rollout/judge.ts";
import { type RolloutStatus, rolloutStatus } from "../../injector/rollout/status.ts";
import type { RolloutFlags } from "../rollout-command.ts";
import { connectMesh, print } from "./connect.ts";

const EXIT_HALTED = 3;
const SHOWN_STALE = 20;

/** Prints it; 3 when the rollout is halted. */
export async function showStatus(flags: RolloutFlags): Promise<number> {
  const mesh = await connectMesh(flags);
  const [platform, fleet] = await Promise.all([mesh.platform(), mesh.fleet()]);
  const observation = createObservation();
  observation.look(fleet, Date.now());
  const status = rolloutStatus(platform, fleet, observation);
  const judgement = observation.judge(platform);
  print(flags, status, formatStatus(status, judgement === null ? null : describeVerdict(judgement)));
  return status.rollout?.halted == null ? 0 : EXIT_HALTED;
}

/** The text of a status. */
export function formatStatus({ channels, rollout, versions, stale }: RolloutStatus, verdict: string | null): string {
  const named = Object.entries(channels).map(([channel, version]) => `${channel} ${version}`);
  const lines = [`channels: ${named.length === 0 ? "none; every sidecar is of the control plane's version" : named.join(", ")}`];
  if (rollout !== null) {
    const since = rollout.startedAt === null ? "" : ` since ${rollout.startedAt}`;
    lines.push(`${describe(rollout)}: ${rollout.percent} %${since}`);
    if (rollout.halted !== null) lines.push(`HALTED ${rollout.halted.at}: ${rollout.halted.why}`);
    else if (verdict !== null) lines.push(verdict);
  }
  const ratio = (value: number | null) => (value === null ? "-" : percent(value));
  const header = ["CHANNEL", "VERSION", "WORKLOADS", "PODS", "INSTANCES", "REQUESTS", "ERRORS", "REFUSED", "LOST HEARTBEATS"];
  const rows = versions.map((row) => [
    row.channel,
    row.version,
    String(row.workloads),
    String(row.pods),
    String(row.instances),
    String(row.requests),
    ratio(row.errorRatio),
    ratio(row.refusedRatio),
    ratio(row.heartbeatLoss),
  ]);
  lines.push("", ...table([header, ...rows]));
  if (stale.length > 0) {
    lines.push("", `${stale.length} stale ${stale.length === 1 ? "workload" : "workloads"} (remora rollout restart brings them on):`);
    for (const { workload, wanted, pods } of stale.slice(0, SHOWN_STALE)) lines.push(`  ${workload}: ${pods} pods should have ${wanted}`);
    if (stale.length > SHOWN_STALE) lines.push(`  and ${stale.length - SHOWN_STALE} more`);
  }
  return lines.join("\n");
}

function table(rows: readonly (readonly string[])[]): readonly string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join("  ")
      .trimEnd(),
  );
}
