// What `remora rollout status` shows: for each channel and version how many workloads and pods have it, and how they do. Pure.
import type { Platform, RolloutState } from "../platform/platform.ts";
import { type Fleet, keyOf, workloadsOf } from "./fleet.ts";
import type { Verdict } from "./judge.ts";
import type { Observation } from "./observation.ts";
import { ratioOf } from "./proportion.ts";

/** One version on one channel. Ratios are 0..1, null where nothing was seen that could have one. */
export interface VersionStatus {
  readonly channel: string;
  readonly version: string;
  readonly workloads: number;
  readonly pods: number;
  readonly instances: number;
  /** Requests, of this version on all channels, that the ratios stand on. */
  readonly requests: number;
  readonly errorRatio: number | null;
  readonly refusedRatio: number | null;
  readonly heartbeatLoss: number | null;
}

/** The whole picture. */
export interface RolloutStatus {
  readonly channels: Readonly<Record<string, string>>;
  readonly rollout: RolloutState | null;
  readonly verdict: Verdict | null;
  readonly versions: readonly VersionStatus[];
  /** Workloads that have another version than new pods of theirs would get. */
  readonly stale: readonly { readonly workload: string; readonly wanted: string; readonly pods: number }[];
}

/** Puts it together after one look or several. */
export function rolloutStatus(platform: Platform, fleet: Fleet, observation: Observation): RolloutStatus {
  const workloads = workloadsOf(fleet, platform);
  const rows = new Map<string, { channel: string; version: string; workloads: Set<string>; pods: number; instances: number }>();
  const rowOf = (channel: string, version: string) => {
    const key = `${channel} ${version}`;
    const row = rows.get(key) ?? { channel, version, workloads: new Set<string>(), pods: 0, instances: 0 };
    rows.set(key, row);
    return row;
  };
  const channelOfPod = new Map<string, string>();
  for (const workload of workloads.values()) {
    for (const pod of workload.pods) {
      channelOfPod.set(pod.uid, workload.channel);
      const row = rowOf(workload.channel, pod.version ?? "");
      row.workloads.add(keyOf(pod.owner));
      row.pods += 1;
    }
  }
  for (const { instanceId, channel, version, identity } of fleet.instances) {
    const row = rowOf(channelOfPod.get(instanceId) ?? channel, version);
    row.instances += 1;
    if (!channelOfPod.has(instanceId)) row.workloads.add(identity);
  }
  const versions = [...rows.values()].map((row): VersionStatus => {
    const { errors, refused, lost } = observation.figures(row.version, platform.rolloutPolicy.heartbeatGraceMs);
    return {
      channel: row.channel,
      version: row.version,
      workloads: row.workloads.size,
      pods: row.pods,
      instances: row.instances,
      requests: Math.round(errors.of),
      errorRatio: errors.of === 0 ? null : ratioOf(errors),
      refusedRatio: refused.of === 0 ? null : ratioOf(refused),
      heartbeatLoss: lost.of === 0 ? null : ratioOf(lost),
    };
  });
  versions.sort((a, b) => (`${a.channel} ${a.version}` < `${b.channel} ${b.version}` ? -1 : 1));
  return {
    channels: Object.fromEntries(platform.channels),
    rollout: platform.rollout,
    verdict: observation.judge(platform)?.verdict ?? null,
    versions,
    stale: [...workloads.values()]
      .filter(({ stale }) => stale.length > 0)
      .map(({ key, wanted, stale }) => ({ workload: key, wanted: wanted ?? "", pods: stale.length }))
      .sort((a, b) => (a.workload < b.workload ? -1 : 1)),
  };
}
