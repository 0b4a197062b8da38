// Which version a workload gets: the channel that it follows, and its place in a rollout of that channel. The place is a stable hash of the owner, so
// that all replicas and all restarts of one workload agree without anything being stored.
import { createHash } from "node:crypto";
import { matchesPattern } from "./pattern.ts";
import type { Assignment, Platform } from "./platform.ts";

/** The object that makes the pods: a Deployment rather than its ReplicaSet. */
export interface WorkloadOwner {
  readonly namespace: string;
  /** As the API writes it, e.g. `Deployment`. */
  readonly kind: string;
  readonly name: string;
}

/** What {@link versionFor} found. */
export interface ChannelChoice {
  readonly channel: string;
  /** Null where the platform names no versions: the injector's own is used. */
  readonly version: string | null;
  /** A sentence for people without a full stop. */
  readonly why: string;
}

/** Places are this fine: hundredths of a percent. */
const PLACES = 10_000;

/** Place of the owner, 0 to 99.99: it belongs to the first `percent` percent when this is below `percent`. */
export function placeOf(owner: WorkloadOwner): number {
  return placeUnder("rollout", owner);
}

/** Channel and version of a workload. `channelAnnotation` is what the pod or its namespace asks for, null for nothing. */
export function versionFor(platform: Platform, owner: WorkloadOwner, channelAnnotation: string | null): ChannelChoice {
  const { channel, why } = channelOf(platform, owner, channelAnnotation);
  const { rollout } = platform;
  if (rollout?.channel === channel) {
    if (rollout.halted !== null) {
      return { channel, version: rollout.from, why: `${why}; the rollout from ${rollout.from} to ${rollout.to} is halted` };
    }
    const place = placeOf(owner);
    const isNew = place < rollout.percent;
    const side = isNew ? "is among" : "is not among";
    return {
      channel,
      version: isNew ? rollout.to : rollout.from,
      why: `${why}; its place ${place} ${side} the first ${rollout.percent} % of the rollout from ${rollout.from} to ${rollout.to}`,
    };
  }
  return { channel, version: platform.channels.get(channel) ?? null, why };
}

function channelOf(platform: Platform, owner: WorkloadOwner, asked: string | null): { readonly channel: string; readonly why: string } {
  if (asked !== null) return { channel: asked, why: `annotation remora.io/channel asks for ${asked}` };
  const index = platform.assignments.findIndex((rule, at) => fits(rule, owner, at));
  const rule = platform.assignments[index];
  if (rule !== undefined) return { channel: rule.channel, why: `rule ${index + 1} of the platform assigns ${rule.channel}` };
  return { channel: platform.defaultChannel, why: `${platform.defaultChannel} is the default` };
}

/** Each rule draws its own lot, or the same workloads would be the first everywhere. */
function fits(rule: Assignment, owner: WorkloadOwner, index: number): boolean {
  if (rule.namespace !== null && !matchesPattern(rule.namespace, owner.namespace)) return false;
  if (rule.workload !== null && !matchesPattern(rule.workload, `${owner.kind.toLowerCase()}/${owner.name}`)) return false;
  return rule.percent >= 100 || placeUnder(`assign ${index} ${rule.channel}`, owner) < rule.percent;
}

function placeUnder(purpose: string, { namespace, kind, name }: WorkloadOwner): number {
  const digest = createHash("sha256").update([purpose, namespace, kind.toLowerCase(), name].join("\0")).digest();
  return (digest.readUInt32BE(0) % PLACES) / 100;
}
